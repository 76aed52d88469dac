package disk

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// writeOVA writes an appliance: a tar of its description (OVF 1.0, as ESXi and vCenter import it), the checksums, the disk.
func writeOVA(ctx context.Context, in, out *os.File, m meta) (err error) {
	name := strings.TrimSuffix(m.name, ".ova")
	// The description comes first and knows the disk's size: the disk is written beside.
	d, err := os.CreateTemp(filepath.Dir(out.Name()), filepath.Base(out.Name())+".vmdk-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := os.Remove(d.Name()); err != nil { // so it goes with its last user, however that ends
		return err
	}
	inner := m
	inner.name = name + "-disk1.vmdk"
	if err := writeVMDK(ctx, in, d, inner); err != nil {
		return err
	}
	size, err := d.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	raw, err := in.Stat()
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(d, 0, size)); err != nil {
		return err
	}
	ovf := fmt.Sprintf(ovfXML, inner.name, size, raw.Size(), name)
	mf := fmt.Sprintf("SHA256(%s.ovf)= %x\nSHA256(%s)= %x\n", name, sha256.Sum256([]byte(ovf)), inner.name, sum.Sum(nil))
	t := tar.NewWriter(out)
	for _, f := range []struct {
		name string
		size int64
		body io.Reader
	}{
		{name + ".ovf", int64(len(ovf)), strings.NewReader(ovf)},
		{name + ".mf", int64(len(mf)), strings.NewReader(mf)},
		{inner.name, size, io.NewSectionReader(d, 0, size)},
	} {
		// ESXi reads plain ustar only.
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: f.size, ModTime: m.at, Format: tar.FormatUSTAR}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(t, f.body); err != nil {
			return err
		}
	}
	return t.Close()
}

// ovfXML is the least that importers want: %s file, %d its bytes, %d the disk's, %s the machine. Ids: CIM's resource types.
const ovfXML = `<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:id="file1" ovf:href="%[1]s" ovf:size="%[2]d"/>
  </References>
  <DiskSection>
    <Info>The disks</Info>
    <Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="%[3]d" ovf:capacityAllocationUnits="byte" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The networks</Info>
    <Network ovf:name="cluster"><Description>The network of the cluster</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id="%[4]s">
    <Info>A machine of a PostgreSQL cluster, made by pgbake. It needs its seed.</Info>
    <Name>%[4]s</Name>
    <OperatingSystemSection ovf:id="96"><Info>Debian, 64-bit</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>%[4]s</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:ElementName>2 virtual CPUs</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:ElementName>2048 MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>2048</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:ElementName>SCSI controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>disk 0</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>cluster</rasd:Connection>
        <rasd:ElementName>network card 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>VmxNet3</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
`
