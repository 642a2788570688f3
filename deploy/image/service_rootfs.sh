#!/bin/sh
# What turns a bare Debian root into the ground of a service? Runs inside it as root, whether that is
# a RUN step on debian:bookworm-slim or a chroot made by mmdebstrap: rootfs.sh PACKAGES_FILE
set -eu
export DEBIAN_FRONTEND=noninteractive

printf 'path-exclude=/usr/share/%s/*\n' doc man info locale >/etc/dpkg/dpkg.cfg.d/portreeve
echo 'path-include=/usr/share/doc/*/copyright' >>/etc/dpkg/dpkg.cfg.d/portreeve
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d
# Debian makes a database when PostgreSQL is installed; ours is made in a volume, at the first start.
mkdir -p /etc/postgresql-common/createcluster.d
echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.d/portreeve.conf

apt-get -q update
sed 's/#.*//' "$1" | xargs apt-get -qy install --no-install-recommends

# Nobody logs in, nothing is root. The number is what the chart's security contexts say.
useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin portreeve
# Nothing in a service needs to become somebody else.
find / -xdev -type f -perm /6000 -exec chmod ug-s {} +
: >/etc/machine-id

apt-get -q clean
find /usr/share/doc -type f ! -name copyright -delete
find /usr/share/doc -type l -delete
find /usr/share/doc -mindepth 1 -type d -empty -delete
rm -rf /usr/share/man /usr/share/info /usr/share/locale
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/*.log /var/log/faillog
