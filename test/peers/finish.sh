#!/bin/sh
# finish.sh: what is left to do in every peer's root, run inside it. pgha's packages, the image's units, and without
# what belongs to no machine yet. In /pgha lie the packages and a list of units.
set -eu

export DEBIAN_FRONTEND=noninteractive
dpkg --install /pgha/*.deb
while read -r arguments; do
	# shellcheck disable=SC2086 # words for systemctl
	systemctl --quiet $arguments
done </pgha/units
apt-get clean
rm -rf /pgha /var/lib/apt/lists/* /etc/ssh/ssh_host_* /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/peers \
	/etc/apt/apt.conf.d/99peers /etc/postgresql-common/createcluster.d/peers.conf
: >/etc/machine-id
