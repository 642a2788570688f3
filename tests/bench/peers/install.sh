#!/usr/bin/env bash
# What is measured beside the web terminal, and is it there? terminado, JupyterLab's terminal server, from
# the package index; gotty where the Go module proxy gives it. Installed once for each version.
#
#   tests/bench/peers/install.sh      prints the folder that holds them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tools=${PORTREEVE_TOOLS:-$(../../../deploy/dev/tools.sh --print-dir)}
terminado=0.18.1
gotty=1.6.0
peers=$tools/peers/terminado-$terminado-gotty-$gotty

# the digests pin what is installed, for x86_64 and aarch64
wheels=$(cat <<END
terminado==$terminado \
  --hash=sha256:a4468e1b37bb318f8a86514f65814e1afc977cf29b3992a4500d9dd305dcceb0
ptyprocess==0.7.0 \
  --hash=sha256:4b41f3967fce3af57cc7e94b888626c18bf37a083e3651ca8feeb66d492fef35
tornado==6.6.1 \
  --hash=sha256:1b6ff57cc69b339f8feb9e7b567b0e0eacb16bfaf234159496623ef7a67ba640 \
  --hash=sha256:da6ce2da215810d56539fa6cac77d9e27f4d8139c6868c53436b2fe933f43c79
END
)

if [[ ! -d $peers/python ]]; then
  mkdir -p "$peers"
  part=$(mktemp -d "$peers/part.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  echo "$wheels" >"$part/requirements.txt"
  python3 -m pip -q --disable-pip-version-check install --root-user-action=ignore \
    --require-hashes --no-deps --only-binary=:all: --target "$part/python" -r "$part/requirements.txt" >&2
  mv "$part/python" "$peers/python"
  echo "installed: terminado $terminado in $peers" >&2
fi

# go.sum pins it; without a Go or its proxy it is left out, and the bench says so
if [[ ! -x $peers/gotty ]]; then
  for go in "$tools/go/bin/go" "$(command -v go || true)" /usr/local/go/bin/go; do
    [[ -x $go ]] || continue
    (cd gotty && GOFLAGS=-mod=readonly "$go" build -o "$peers/gotty" github.com/sorenisanerd/gotty >&2) ||
      echo "peers: gotty $gotty could not be built and is left out" >&2
    break
  done
fi
echo "$peers"
