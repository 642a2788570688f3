#!/usr/bin/env bash
# How do the images of Portreeve's services get from this repository into the container engine?
#
#   deploy/image/services.sh --portreeve PATH [--nats-server PATH] [--only system|postgres|agent] [--save DIR] [--fresh]
#
# makes portreeve/system:dev (the one program, nats-server and its configuration) and
# portreeve/postgres:dev (Debian's PostgreSQL, for trials), which deploy/helm/portreeve runs. Each is
# rebuilt only when its inputs changed. nats-server is looked for where deploy/dev/tools.sh puts it.
# --only agent makes portreeve/agent:dev, our relay agent alone (deploy/agent/Containerfile).
# --save DIR also writes DIR/system.tar and DIR/postgres.tar, for a cluster without a registry:
#
#   ctr -n k8s.io images import DIR/system.tar
set -euo pipefail

# shellcheck source=deploy/image/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/steps.sh"

portreeve='' nats_server='' images=(system postgres) save='' fresh=''
while (($#)); do
  case $1 in
    --portreeve) portreeve=${2:-}; shift 2 || usage ;;
    --nats-server) nats_server=${2:-}; shift 2 || usage ;;
    --only) images=("${2:-}"); shift 2 || usage ;;
    --save) save=${2:-}; shift 2 || usage ;;
    --fresh) fresh=yes; shift ;;
    *) usage ;;
  esac
done
nats_server=${nats_server:-$("$here/../dev/tools.sh" --print-dir)/bin/nats-server}
case ${images[*]} in
  'system postgres' | system)
    [[ $portreeve ]] || usage
    [[ -f $portreeve && -x $portreeve ]] || fail "no program at --portreeve $portreeve: build it first" 66
    [[ -x $nats_server ]] || fail "no nats-server at $nats_server: run deploy/dev/tools.sh" 66 ;;
  agent)
    [[ $portreeve ]] || usage
    [[ -f $portreeve && -x $portreeve ]] || fail "no program at --portreeve $portreeve: build it first" 66 ;;
  postgres) ;;
  *) usage ;;
esac

gather_system() { # what system.Containerfile copies
  install -m 0755 "$portreeve" "$work/portreeve"
  install -m 0755 "$nats_server" "$work/nats-server"
  install -m 0644 "$here/../../nats/server.conf" "$work/server.conf"
}
gather_agent() { # as little as runs: the program without its symbols, and what it is linked against
  local root=$work/root library
  mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$work/spool"
  strip -o "$root/usr/local/bin/portreeve" "$portreeve"
  for library in $(ldd "$portreeve" | grep -o '/[^ ]*'); do
    install -D -m 0755 "$library" "$root$library"
  done
  install -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  echo 'portreeve:x:10001:10001::/nonexistent:/nonexistent' >"$root/etc/passwd"
  chmod -R a+rX "$root"
}
gather_postgres() { install -m 0755 "$here/postgres_start.sh" "$work/start.sh"; }

ensure_base() { # NAME: the Debian root with NAME_packages.txt, as $base_tag
  base_tag=${local_prefix}portreeve/$1-base:$base_key
  [[ -z $fresh ]] && has "$base_tag" && return
  make_root "$base_tag" "$cache/$1-root-$base_key.tar" "$1_packages.txt" service_rootfs.sh
  forget_old "$cache/$1"-root-*.tar
}

ensure_image() { # NAME
  local name=portreeve/$1 began=$SECONDS base_key=scratch base_tag=scratch key file=$1.Containerfile
  local tag=$local_prefix$name:dev
  if [[ $1 == agent ]]; then file=../agent/Containerfile
  else base_key=$(root_key "$1_packages.txt" service_rootfs.sh); fi
  work=$(mktemp -d)
  "gather_$1"
  key=$(digest "$base_key" "$file" "$(cd "$work" && find . -type f -print0 | sort -z | xargs -0 sha256sum)")
  local gathered=$work
  work=''
  if [[ -z $fresh && $(label_of "$tag") == "$key" ]]; then
    rm -rf "$gathered"
    echo "$name:dev is up to date"
    return
  fi
  [[ $base_key == scratch ]] || ensure_base "$1"
  work=$gathered
  build "$tag" "$key" "$file" "$base_tag"
  rm -rf "$work"; work=''
  name_it "$name"
  [[ $base_key == scratch ]] || forget_other_tags "$base_tag"
  say "built $name:dev with $engine"
}

save_image() { # NAME: under the name that a cluster looks for
  local began=$SECONDS name=portreeve/$1:dev
  [[ $engine == docker ]] || name=docker.io/$name
  mkdir -p "$save"
  rm -f "$save/$1.tar.part"
  "$engine" save "$name" >"$save/$1.tar.part"
  mv "$save/$1.tar.part" "$save/$1.tar"
  say "saved $save/$1.tar"
}

take_turn
for image in "${images[@]}"; do
  ensure_image "$image"
  [[ -z $save ]] || save_image "$image"
done
