#!/usr/bin/env bash
# Is sshpiper, which leads SSH connections on by user name, here to be measured beside the gateway? It needs a fork
# of golang.org/x/crypto as a submodule, so no `go install` builds it: PORTREEVE_SSHPIPER names a folder with its
# sources, the submodule in them. Built once for each folder.
#
#   PORTREEVE_SSHPIPER=~/src/sshpiper tests/bench/peers/sshpiper.sh
#     prints the folder that holds sshpiperd and its plugin yaml, or nothing where there are no sources
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

[[ -n ${PORTREEVE_SSHPIPER:-} ]] || exit 0
tools=${PORTREEVE_TOOLS:-$(../../../deploy/dev/tools.sh --print-dir)}
sources=$(realpath "$PORTREEVE_SSHPIPER")
peer=$tools/peers/sshpiper-$(echo "$sources" | sha256sum | cut -c1-12)

if [[ ! -x $peer/sshpiperd || ! -x $peer/yaml ]]; then
  for go in "$tools/go/bin/go" "$(command -v go || true)" /usr/local/go/bin/go; do
    [[ -x $go ]] || continue
    mkdir -p "$peer"
    # a module of its own in some versions, a package of the root in others
    (cd "$sources/cmd/sshpiperd" && "$go" build -o "$peer/sshpiperd" . >&2)
    (cd "$sources/plugin/yaml" && "$go" build -tags full -o "$peer/yaml" . >&2)
    break
  done
fi
[[ -x $peer/sshpiperd && -x $peer/yaml ]] || { echo "peers: no Go to build sshpiper with" >&2; exit 1; }
echo "$peer"
