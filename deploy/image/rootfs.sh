#!/bin/sh
# What turns a bare Debian root into an environment? Runs inside it as root, whether that is a RUN
# step on debian:bookworm-slim or a chroot made by mmdebstrap: rootfs.sh PACKAGES_FILE
set -eu
export DEBIAN_FRONTEND=noninteractive

# Nobody reads manuals in here: leave them out now, and out of what people install later.
cat >/etc/dpkg/dpkg.cfg.d/portreeve <<'END'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
END
# No package may start a service: sentry is the first process and the only supervisor.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d

apt-get -q update
sed 's/#.*//' "$1" | xargs apt-get -qy install --no-install-recommends

# uid 1000 on both ends of a volume; bash, because that is what VS Code and people expect.
useradd --uid 1000 --user-group --create-home --shell /bin/bash developer
# "*" is no password, not a locked account: sshd refuses a locked one even with a good key.
usermod --password '*' developer
echo 'developer ALL=(ALL:ALL) NOPASSWD:ALL' >/etc/sudoers.d/developer
chmod 0440 /etc/sudoers.d/developer
touch /home/developer/.sudo_as_admin_successful   # silences sudo's lecture in the shell's start-up
chown developer:developer /home/developer/.sudo_as_admin_successful

# A new named volume takes owner and mode from the folder it covers.
install -d -o developer -g developer -m 0755 /gemini /gemini/code /gemini/output
install -d -m 0700 /var/lib/portreeve                # sentry's: host keys, spool
install -d -m 0755 /etc/portreeve /etc/portreeve/authorized_keys
install -d -m 0755 /run/sshd                         # sshd's empty room for its unprivileged half
: >/etc/portreeve/user_ca.pub                        # no certificate authority until sentry writes one

# Clients send the names of their locales; only C.UTF-8 exists here, and perl, apt and git complain
# about any other. Debian's bash reads this file for `ssh host command` too.
cat >/etc/bash.bashrc.portreeve <<'END'
if [ -z "${LANG:-}${LC_ALL:-}" ] || [ -n "$(locale 2>&1 >/dev/null)" ]; then
  unset "${!LC_@}"; export LANG=C.UTF-8
fi
END
cat /etc/bash.bashrc >>/etc/bash.bashrc.portreeve
mv /etc/bash.bashrc.portreeve /etc/bash.bashrc

# Host keys belong to an environment, never to an image: two environments would be the same host.
rm -f /etc/ssh/ssh_host_*
# One machine id for all would be as wrong; empty means "not set yet".
: >/etc/machine-id
# ping carries a file capability, and what an environment is not given it may not even execute.
# A copy carries none; the kernel lets everyone ping where net.ipv4.ping_group_range says so.
cp /usr/bin/ping /usr/bin/ping.plain && mv /usr/bin/ping.plain /usr/bin/ping

# Trim. `apt-get update` brings the lists back.
apt-get -q clean
find /usr/share/doc -type f ! -name copyright -delete
find /usr/share/doc -type l -delete
find /usr/share/doc -mindepth 1 -type d -empty -delete
rm -rf /usr/share/man /usr/share/info /usr/share/locale
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/*.log /var/log/faillog
find /usr -name __pycache__ -prune -exec rm -rf {} +
