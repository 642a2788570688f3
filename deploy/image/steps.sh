# What do the scripts that make images share? Sourced by build.sh and services.sh: the engine, digests
# that tell whether a step must be done again, and Debian roots kept in a cache.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
script=$(basename "$0")
cache=${PORTREEVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portreeve}/image
suite=bookworm
label=io.portreeve.inputs
pull_wait_s=120   # bound for asking an image registry
kept_max=2        # root file systems and wheel folders of a kind kept in the cache

fail() { echo "$script: $1" >&2; exit "${2:-1}"; }
usage() { sed -n '4p' "$here/$script" | sed 's/^# */usage: /' >&2; exit 64; }

find_engine() {
  local e
  for e in ${PORTREEVE_ENGINE:-podman docker}; do
    command -v "$e" >/dev/null || continue
    # A docker client without its daemon is no engine; podman needs no daemon.
    [[ $e == podman ]] || "$e" version >/dev/null 2>&1 || continue
    echo "$e"; return
  done
  fail "no container engine answers: run deploy/dev/tools.sh, which installs podman" 69
}
engine=$(find_engine)
if [[ $engine == podman ]]; then
  # The settings that `portreeve up` uses, or RUN steps fail where crun cannot run.
  export CONTAINERS_CONF=${CONTAINERS_CONF:-$here/../dev/containers.conf}
  local_prefix=localhost/
  # One layer per step of ours, and no unnamed image left behind for each line of its file.
  build_options=(--layers=false)
  import_options=(-q)
else
  local_prefix='' build_options=() import_options=()
fi

# A short digest of what a step depends on: files here by name, anything else as text.
digest() { (cd "$here" || exit; for i; do if [[ -f $i ]]; then sha256sum "$i"; else echo "$i"; fi; done) | sha256sum | cut -c1-16; }
arch=$(uname -m)
# Without --skip mmdebstrap takes back two things that rootfs.sh puts there: policy-rc.d, /run/sshd.
mmdebstrap_options=(--variant=minbase "--skip=chroot/policy-rc.d,cleanup/run")
root_key() { digest "$suite" "$arch" "${mmdebstrap_options[*]}" "$@" base.Containerfile; } # PACKAGES SCRIPT

has() { "$engine" image inspect "$1" >/dev/null 2>&1; }
label_of() { "$engine" image inspect --format "{{index .Config.Labels \"$label\"}}" "$1" 2>/dev/null || true; }
say() { printf '%s (%d s)\n' "$1" $((SECONDS - began)); }
# Removes the other versions of TAG's image, unless something is still built or running on them.
forget_other_tags() {
  local tag
  for tag in $("$engine" images --format '{{.Repository}}:{{.Tag}}' "${1%:*}"); do
    [[ $tag == "$1" ]] || "$engine" rmi "$tag" >/dev/null 2>&1 || true
  done
}
# Keeps the newest kept_max of the files or folders given: the cache has a bound.
forget_old() { ls -dt -- "$@" 2>/dev/null | tail -n +$((kept_max + 1)) | xargs -r rm -rf --; }

# All builds go through one temporary folder, so that a build sees only what it names.
work=''
trap '[[ -z $work ]] || rm -rf "$work"' EXIT

build() { # TAG KEY CONTAINERFILE BASE: one step, without a network; its files are in $work
  local tag=$1 key=$2 file=$3 base=$4
  DOCKER_BUILDKIT=1 "$engine" build -q --network=none "${build_options[@]}" -f "$here/$file" \
    --build-arg "BASE=$base" --label "$label=$key" -t "$tag" "$work" >/dev/null
}

name_it() { # NAME: what was built as NAME:dev, under every name it is asked for by
  # To a Podman service with its default settings the short name means Docker Hub's; answer to both.
  [[ $engine == docker ]] || podman tag "$local_prefix$1:dev" "docker.io/$1:dev"
  # What the tags pointed at before is nobody's now, unless a container still uses it.
  "$engine" image prune -f --filter "label=$label" >/dev/null 2>&1 || true
}

# TAG TAR PACKAGES SCRIPT: a Debian root with these packages as an image. On debian:bookworm-slim
# where a registry answers, else from TAR in the cache, which mmdebstrap makes; $fresh ignores TAR.
make_root() {
  local tag=$1 tar=$2 packages=$3 root_script=$4 began=$SECONDS how=cache name
  name=${tag##*/} name=${name%:*}
  if [[ $fresh || ! -f $tar ]]; then
    work=$(mktemp -d)
    install -m 0644 "$here/$packages" "$work/packages.txt"
    install -m 0755 "$here/$root_script" "$work/rootfs.sh"
    if timeout $pull_wait_s "$engine" pull -q "docker.io/library/debian:$suite-slim" >/dev/null 2>&1; then
      "$engine" build -q "${build_options[@]}" --no-cache -f "$here/base.Containerfile" -t "$tag" "$work" >/dev/null
      rm -rf "$work"; work=''
      say "built $name on debian:$suite-slim"; return
    fi
    command -v mmdebstrap >/dev/null || fail "no image registry answers and mmdebstrap is missing: run deploy/dev/tools.sh" 69
    how='the Debian archive'
    mmdebstrap --quiet "${mmdebstrap_options[@]}" \
      --customize-hook='mkdir "$1/tmp/build"' \
      --customize-hook="copy-in '$work/packages.txt' '$work/rootfs.sh' /tmp/build" \
      --customize-hook='chroot "$1" /tmp/build/rootfs.sh /tmp/build/packages.txt' \
      --customize-hook='rm -rf "$1/tmp/build" "$1/etc/hostname" "$1/etc/resolv.conf"' \
      "$suite" "$cache/part.tar" >"$cache/mmdebstrap.log" 2>&1 ||
      { tail -n 20 "$cache/mmdebstrap.log" >&2; fail "mmdebstrap failed (whole log: $cache/mmdebstrap.log)"; }
    mv "$cache/part.tar" "$tar"
    rm -rf "$work"; work=''
  fi
  "$engine" import "${import_options[@]}" "$tar" "$tag" >/dev/null
  say "built $name from $how"
}

take_turn() { # two builds at once would do the same work twice, into the same places
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
}
