#!/usr/bin/env bash
# How do the cluster's programs come to be? From the Go module proxy, pinned by go.sum:
#
#   kubernetes   kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl,
#                and network-policies, which makes NetworkPolicies hold
#   etcd         keeps what the cluster knows
#   helm         installs the chart
#   image.tar    the image of what runs as Pods: pause, which holds a Pod's namespaces open, and CoreDNS
#
# They lie outside the clone when CI is set (deploy/dev/tools.sh --print-dir), and are built again only
# when what is in this folder changed. A first build takes 14 minutes of processor time, about 7 on two idle
# cores, and keeps some 6 GB in Go's own caches.
set -euo pipefail

# shellcheck source=tests/harness/kubernetes/settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

old_max=1   # other versions kept

image() { # FOLDER with pause and coredns: an archive as Docker writes them, of one layer
  local work config layer
  work=$(mktemp -d)
  tar -C "$1" --owner=0 --group=0 --mtime=@0 -cf "$work/layer.tar" pause coredns
  layer=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(go env GOARCH)" "$layer" >"$work/config.json"
  printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$parts_image" >"$work/manifest.json"
  tar -C "$work" -cf "$1/image.tar" manifest.json config.json layer.tar
  rm -rf "$work"
}

inputs() { # what decides what is built, one line each
  echo "$kubernetes_version $helm_version $parts_image"
  cd "$here"
  git ls-files -co --exclude-standard -- '*.go' '*go.mod' '*go.sum' pause/pause.c build.sh | sort | xargs sha256sum
}

# 1.27 brings a JSON decoder on by default with which /openapi/v2 fails, and with it `kubectl apply`.
export GOEXPERIMENT=nojsonv2
export CGO_ENABLED=0 GOFLAGS='-mod=readonly -trimpath -buildvcs=false'
export PATH=$tools/go/bin:/usr/local/go/bin:$PATH

go_build() { # OUTPUT FOLDER PACKAGE LINKER_FLAGS
  (cd "$2" && go build -ldflags "-s -w $4" -o "$1" "$3")
}

mkdir -p "$tools/kubernetes"
exec 9>"$tools/kubernetes/lock"
flock 9   # two builds at once would do the same work twice
if [[ -f $bin/inputs ]] && inputs | cmp -s - "$bin/inputs"; then exit; fi
command -v go >/dev/null || { echo "build.sh: go is missing: deploy/dev/tools.sh kubernetes installs it" >&2; exit 69; }

began=$SECONDS
# Made beside its place and renamed into it: a build that was cut short leaves nothing usable.
part=$(mktemp -d "$tools/kubernetes/part.XXXXXX")
trap 'rm -rf "$part"' EXIT
chmod 0755 "$part"
version=k8s.io/component-base/version
major=${kubernetes_version%%.*} minor=${kubernetes_version#*.}
echo "building Kubernetes $kubernetes_version and helm $helm_version (the first time: some minutes)"
go_build "$part/kubernetes" "$here" . \
  "-X $version.gitVersion=v$kubernetes_version -X $version.gitMajor=$major -X $version.gitMinor=${minor%%.*}"
go_build "$part/etcd" "$here/etcd" go.etcd.io/etcd/server/v3 ''
go_build "$part/helm" "$here/helm" helm.sh/helm/v4/cmd/helm \
  "-X helm.sh/helm/v4/internal/version.version=v$helm_version"
go_build "$part/coredns" "$here/dns" . ''
for name in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl network-policies; do
  ln -s kubernetes "$part/$name"
done
cc -static -Os -o "$part/pause" "$here/pause/pause.c"
image "$part"
rm "$part/coredns"
inputs >"$part/inputs"
# A cluster may be running from there.
if [[ -d $bin ]]; then mv "$bin" "$tools/kubernetes/old.$$"; fi
mv "$part" "$bin"
trap - EXIT
rm -rf "$tools/kubernetes/old.$$"
find "$tools/kubernetes" -mindepth 1 -maxdepth 1 -type d ! -path "$bin" -printf '%T@ %p\n' |
  sort -rn | tail -n +$((old_max + 1)) | cut -d' ' -f2- | xargs -r rm -rf --
echo "installed: Kubernetes $kubernetes_version and helm $helm_version in $bin ($((SECONDS - began)) s)"
