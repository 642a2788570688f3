#!/usr/bin/env bash
# How do the relays of others get what they are made of? From PyPI, npm and the Go module proxy, once for each lock
# file; the one in Go is built, once for each state of its sources.
#
#   tests/relays/install.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tools=${PORTREEVE_TOOLS:-$(../../deploy/dev/tools.sh --print-dir)}
[[ ! -x $tools/node/bin/node ]] || export PATH=$tools/node/bin:$PATH
# each job has a new clone: what was downloaded is kept beside the other tools
[[ -z ${CI:-} ]] || export npm_config_cache=$tools/npm

if ! cmp -s node/package-lock.json node/node_modules/.installed; then
  (cd node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp node/package-lock.json node/node_modules/.installed
  echo "installed: what tests/relays/node needs, in its node_modules"
fi

python=$tools/relays-python
if ! cmp -s python/requirements.txt "$python/.installed"; then
  rm -rf "$python"
  /usr/bin/python3 -m pip -q --disable-pip-version-check install --root-user-action=ignore \
    --require-hashes --no-deps --target "$python" -r python/requirements.txt
  cp python/requirements.txt "$python/.installed"
  echo "installed: what tests/relays/python needs, in $python"
fi

built=$tools/relays-go
sources=$(sha256sum go/*)
if [[ $(cat "$built/.installed" 2>/dev/null) != "$sources" ]]; then
  ../../deploy/dev/tools.sh go
  rm -rf "$built"
  (cd go && PATH=$tools/go/bin:/usr/local/go/bin:$PATH CGO_ENABLED=0 \
    go build -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o "$built/relay" .)
  echo "$sources" >"$built/.installed"
  echo "built: tests/relays/go, in $built"
fi
