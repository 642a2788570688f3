#!/usr/bin/env bash
# How does the environment image get from these files into the container engine?
#
#   deploy/image/build.sh --sentry PATH [--variant base|jupyter|all] [--fresh]
#
# makes portreeve/env:dev (base) and portreeve/env-jupyter:dev (jupyter; the default is all) for
# Podman or Docker, whichever answers (PORTREEVE_ENGINE names one). Three layers, each rebuilt only
# when its inputs changed:
#
#   env-base      packages.txt, rootfs.sh      on debian:bookworm-slim where a registry answers,
#                                              else made by mmdebstrap from the Debian archive
#   env-jupyter-  jupyter.txt                  wheels fetched by pip on this machine
#     base
#   env[-jupyter] sshd_config and sentry       no network, about a second
#
# Root file system and wheels are kept in PORTREEVE_CACHE (default ~/.cache/portreeve), so an engine
# that was wiped is served without a network. --fresh ignores what is kept: newest security fixes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PORTREEVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/portreeve}/image
suite=bookworm python=3.11
label=io.portreeve.inputs
pull_wait_s=120   # bound for asking an image registry
kept_max=2        # root file systems and wheel folders kept in the cache

fail() { echo "build.sh: $1" >&2; exit "${2:-1}"; }
usage() { sed -n '4p' "$here/build.sh" | sed 's/^# */usage: /' >&2; exit 64; }

sentry='' variant=all fresh='' base_done=''
while (($#)); do
  case $1 in
    --sentry) sentry=${2:-}; shift 2 || usage ;;
    --variant) variant=${2:-}; shift 2 || usage ;;
    --fresh) fresh=yes; shift ;;
    *) usage ;;
  esac
done
case $variant in
  base) variants=(base) ;;
  jupyter) variants=(jupyter) ;;
  all) variants=(base jupyter) ;;
  *) usage ;;
esac
[[ $sentry ]] || usage
[[ -f $sentry && -x $sentry ]] || fail "no program at --sentry $sentry: build it first" 66

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
digest() { (cd "$here"; for i; do if [[ -f $i ]]; then sha256sum "$i"; else echo "$i"; fi; done) | sha256sum | cut -c1-16; }
arch=$(uname -m)
# Without --skip mmdebstrap takes back two things that rootfs.sh puts there: policy-rc.d, /run/sshd.
mmdebstrap_options=(--variant=minbase "--skip=chroot/policy-rc.d,cleanup/run")
base_key=$(digest "$suite" "$arch" "${mmdebstrap_options[*]}" packages.txt rootfs.sh base.Containerfile)
wheels_key=$(digest "$python" "$arch" jupyter.txt)
jupyter_key=$(digest "$base_key" "$wheels_key" install_jupyter.sh jupyter.Containerfile)
sentry_sum=$(sha256sum <"$sentry")

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

ensure_base() { # the Debian root with packages.txt
  base_tag=${local_prefix}portreeve/env-base:$base_key
  # --fresh builds it once, also for two variants.
  [[ -z $fresh || $base_done ]] && has "$base_tag" && return
  base_done=yes
  local began=$SECONDS tar=$cache/root-$base_key.tar how=cache
  if [[ $fresh || ! -f $tar ]]; then
    if timeout $pull_wait_s "$engine" pull -q "docker.io/library/debian:$suite-slim" >/dev/null 2>&1; then
      "$engine" build -q "${build_options[@]}" --no-cache -f "$here/base.Containerfile" -t "$base_tag" "$here" >/dev/null
      say "built env-base on debian:$suite-slim"; return
    fi
    command -v mmdebstrap >/dev/null || fail "no image registry answers and mmdebstrap is missing: run deploy/dev/tools.sh" 69
    how='the Debian archive'
    mmdebstrap --quiet "${mmdebstrap_options[@]}" \
      --customize-hook='mkdir "$1/tmp/build"' \
      --customize-hook="copy-in '$here/packages.txt' '$here/rootfs.sh' /tmp/build" \
      --customize-hook='chroot "$1" /tmp/build/rootfs.sh /tmp/build/packages.txt' \
      --customize-hook='rm -rf "$1/tmp/build" "$1/etc/hostname" "$1/etc/resolv.conf"' \
      "$suite" "$cache/part.tar" >"$cache/mmdebstrap.log" 2>&1 ||
      { tail -n 20 "$cache/mmdebstrap.log" >&2; fail "mmdebstrap failed (whole log: $cache/mmdebstrap.log)"; }
    mv "$cache/part.tar" "$tar"
    forget_old "$cache"/root-*.tar
  fi
  "$engine" import "${import_options[@]}" "$tar" "$base_tag" >/dev/null
  say "built env-base from $how"
}

ensure_wheels() { # a folder with every wheel of jupyter.txt, for the Python inside the image
  wheels=$cache/wheels-$wheels_key
  [[ -z $fresh && -d $wheels ]] && return
  local began=$SECONDS platform platforms=()
  for platform in manylinux_2_28 manylinux_2_17 manylinux2014 manylinux_2_12 manylinux2010; do
    platforms+=(--platform "${platform}_$arch")
  done
  rm -rf "$wheels.part" "$wheels"
  python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version $python --implementation cp --abi "cp${python/./}" --abi abi3 --abi none \
    "${platforms[@]}" -d "$wheels.part" -r "$here/jupyter.txt"
  cp "$here/jupyter.txt" "$wheels.part/"
  mv "$wheels.part" "$wheels"
  forget_old "$cache"/wheels-*
  say 'fetched the wheels of jupyter.txt'
}

ensure_jupyter() { # the root with JupyterLab in /opt/jupyter
  jupyter_tag=${local_prefix}portreeve/env-jupyter-base:$jupyter_key
  [[ -z $fresh ]] && has "$jupyter_tag" && return
  ensure_wheels
  local began=$SECONDS
  work=$(mktemp -d)
  cp -r "$wheels" "$work/wheels"
  cp "$here/install_jupyter.sh" "$work/"
  build "$jupyter_tag" "$jupyter_key" jupyter.Containerfile "$base_tag"
  rm -rf "$work"; work=''
  say 'built env-jupyter-base'
}

ensure_env() { # VARIANT: sshd_config and sentry on top
  local name=portreeve/env key=$base_key from began=$SECONDS
  [[ $1 == base ]] || { name=portreeve/env-jupyter; key=$jupyter_key; }
  key=$(digest "$key" "$sentry_sum" sshd_config env.Containerfile)
  local tag=$local_prefix$name:dev
  if [[ -z $fresh && $(label_of "$tag") == "$key" ]]; then echo "$name:dev is up to date"; return; fi
  ensure_base
  from=$base_tag
  [[ $1 == base ]] || { ensure_jupyter; from=$jupyter_tag; }
  work=$(mktemp -d)
  install -m 0755 "$sentry" "$work/sentry"
  install -m 0644 "$here/sshd_config" "$work/sshd_config"
  build "$tag" "$key" env.Containerfile "$from"
  rm -rf "$work"; work=''
  # To a Podman service with its default settings the short name means Docker Hub's; answer to both.
  [[ $engine == docker ]] || podman tag "$tag" "docker.io/$name:dev"
  # What the tags pointed at before is nobody's now, unless a container still uses it.
  "$engine" image prune -f --filter "label=$label" >/dev/null 2>&1 || true
  [[ $1 == base ]] || forget_other_tags "$jupyter_tag"
  forget_other_tags "$base_tag"
  say "built $name:dev with $engine"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9   # two builds at once would do the same work twice, into the same places
for v in "${variants[@]}"; do ensure_env "$v"; done
