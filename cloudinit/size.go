package cloudinit

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
)

// Limit is how much user-data a cloud takes.
type Limit struct {
	Cloud string
	// Bytes are the most of it, as the cloud counts them: what the machine gets, or the base64 that it travels in.
	Bytes  int
	Base64 bool
}

// limits are the clouds' own, the tightest first:
//
//	https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html ("16 KB, in raw form")
//	https://docs.openstack.org/nova/stein/user/user-data.html ("must be base64 encoded and is restricted to 65535 bytes")
//	https://github.com/vmware-tanzu/vm-operator/issues/138 (GUESTMSG_MAX_IN_SIZE; what is binary goes in base64)
//	https://learn.microsoft.com/en-us/javascript/api/@azure/arm-compute/osprofileprovisioningdata (customData: "the binary array is 65535 bytes")
//	https://cloud.google.com/dotnet/docs/reference/Google.Cloud.Compute.V1/latest/Google.Cloud.Compute.V1.Items (a value: "262144 bytes"; what is binary goes in base64)
var limits = []Limit{
	{Cloud: "Amazon EC2", Bytes: 16384},
	{Cloud: "OpenStack", Bytes: 65535, Base64: true},
	{Cloud: "VMware's guestinfo", Bytes: 65536, Base64: true},
	{Cloud: "Azure", Bytes: 65535},
	{Cloud: "Google Cloud", Bytes: 262144, Base64: true},
}

// EC2 is the tightest limit: text of up to so many bytes every cloud takes as it is.
var EC2 = limits[0]

// size is how many bytes the cloud counts of n.
func (l Limit) size(n int) int {
	if l.Base64 {
		return base64.StdEncoding.EncodedLen(n)
	}
	return n
}

// TooLarge are the clouds that do not take the seed's user-data. A disk has no limit.
func (s Seed) TooLarge() (all []Limit) {
	for _, l := range limits {
		if l.size(len(s.UserData)) > l.Bytes {
			all = append(all, l)
		}
	}
	return all
}

// Compressed tells whether user-data is no text.
func (s Seed) Compressed() bool { return compressed(s.UserData) }

var gzipMagic = []byte{0x1f, 0x8b}

func compressed(userData []byte) bool { return bytes.HasPrefix(userData, gzipMagic) }

// fit compresses a text that EC2 would not take. Everything that reads user-data is cloud-init's in the end, which takes gzip
// wherever it gets it from (https://cloudinit.readthedocs.io/en/latest/explanation/format.html). A gzip'ed part of a MIME message would be text, and
// a third larger: the largest seeds would not fit. A smaller one stays text, for people and for forms.
func fit(text []byte) ([]byte, error) {
	if len(text) <= EC2.Bytes {
		return text, nil
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// Text is the #cloud-config document that user-data is, whether it is compressed or not.
func Text(userData []byte) ([]byte, error) {
	if !compressed(userData) {
		return userData, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(userData))
	if err != nil {
		return nil, fmt.Errorf("decompress user-data: %w", err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("decompress user-data: %w", err)
	}
	return text, nil
}
