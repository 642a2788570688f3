#!/usr/bin/env bash
# Is parallel-ssh, which runs one command on many servers from Python, here to be measured beside batches? From the
# package index, for Debian 12's Python; installed once for each version, and left out where there are no wheels.
#
#   tests/bench/peers/parallel_ssh.sh      prints the folder that holds it, or nothing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tools=${PORTREEVE_TOOLS:-$(../../../deploy/dev/tools.sh --print-dir)}
version=2.16.0.post1
peer=$tools/peers/parallel-ssh-$version

# the digests pin what is installed, for x86_64 and aarch64
wheels=$(cat <<END
parallel-ssh==$version \
  --hash=sha256:caf185609bef24f20ccac75adf4babf8baee83996bfc50d9d617e23d9cb75475
gevent==26.9.0 \
  --hash=sha256:8e47e8c24135936bc01198f93aa97061e543a8b0d7a339d34182c35901b41da0 \
  --hash=sha256:c47c70f1bc131178a7b7ec1f5afb8ac6b1573ed1caf5c31889261e8b5caae0e6
greenlet==3.5.6 \
  --hash=sha256:1c20ea32a73d17b9b60e3371240e17b0068120c98a5ec01a224a7dd8c89733ba \
  --hash=sha256:45bfd2b51e38aaa5f9849f114d9c7c1d75f69187c849b3549cd64c465283abfa
ssh2-python==1.2.0.post1 \
  --hash=sha256:fe103dabbaa166357251626bf83cb91be30a430506d8607db88c0ac8c4a3974e \
  --hash=sha256:bf2b086e31360d94032888ee541fcaeceae8512a12549395b0d29185ea965b18
ssh-python==1.2.0.post1 \
  --hash=sha256:1145321a1b424d79521bcb4e82a97c08bcd6e5c71c9882ac44e89d4b18df1c38 \
  --hash=sha256:c44a97eae726a17434be096b8a47b4fff119e57f355f6c7a4f9414ea6fb10e3f
zope-event==6.2 \
  --hash=sha256:5e755153ac4faf64c10a4b6dd3307680166a3edf65b38df22df592610f8fa874
zope-interface==8.7 \
  --hash=sha256:1613beb1fb1b4f457818c5443e985142ec9e71af391bfb26e583e0353f206792 \
  --hash=sha256:45d7294d7a513ce81913c42ff14e0f54e75444563e50433546e7bc6406f1d1ae
END
)

if [[ ! -d $peer ]]; then
  mkdir -p "$tools/peers"
  part=$(mktemp -d "$tools/peers/part.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  echo "$wheels" >"$part/requirements.txt"
  if ! /usr/bin/python3 -m pip -q --disable-pip-version-check install --root-user-action=ignore \
    --require-hashes --no-deps --only-binary=:all: --target "$part/python" -r "$part/requirements.txt" >&2; then
    echo "peers: parallel-ssh $version could not be installed and is left out" >&2
    exit 0
  fi
  mv "$part/python" "$peer"
  echo "installed: parallel-ssh $version in $peer" >&2
fi
echo "$peer"
