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
# services.sh makes the images of Portreeve's own services the same way; steps.sh has what both share.
set -euo pipefail

# shellcheck source=deploy/image/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
python=3.11

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

base_key=$(root_key packages.txt rootfs.sh)
wheels_key=$(digest "$python" "$arch" jupyter.txt)
jupyter_key=$(digest "$base_key" "$wheels_key" install_jupyter.sh jupyter.Containerfile)
sentry_sum=$(sha256sum <"$sentry")

ensure_base() { # the Debian root with packages.txt
  base_tag=${local_prefix}portreeve/env-base:$base_key
  # --fresh builds it once, also for two variants.
  [[ -z $fresh || $base_done ]] && has "$base_tag" && return
  base_done=yes
  make_root "$base_tag" "$cache/root-$base_key.tar" packages.txt rootfs.sh
  forget_old "$cache"/root-*.tar
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
  name_it "$name"
  [[ $1 == base ]] || forget_other_tags "$jupyter_tag"
  forget_other_tags "$base_tag"
  say "built $name:dev with $engine"
}

take_turn
for v in "${variants[@]}"; do ensure_env "$v"; done
