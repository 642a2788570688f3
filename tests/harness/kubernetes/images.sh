# shellcheck shell=bash
# How does an image get from Podman into the cluster? As an archive through a pipe; one that is already
# there is not sent again. Sourced by cluster.sh, after settings.sh.

podman() { CONTAINERS_CONF=$repo/deploy/dev/containers.conf command podman "$@"; }

load_image() { # NAME as Podman knows it
  local id name began=$SECONDS got
  id=$(podman image inspect --format '{{.Id}}' "$1" 2>/dev/null) ||
    fail "Podman has no image $1: deploy/image/build.sh makes portreeve/env:dev" 66
  name=$(full_name "$1")
  [[ $(image_label "$name") == "$id" ]] && return
  got=$(podman save --quiet --format docker-archive "$1" | ctr_inside images import --digests=false - | awk 'NR == 1 {print $2}')
  [[ $got == "$name" ]] || ctr_inside images tag --force "$got" "$name" >/dev/null
  ctr_inside images label "$name" "$image_id_label=$id" >/dev/null
  echo "loaded $name ($((SECONDS - began)) s)"
}

image_id_label=portreeve.dev/podman-id
image_label() { # NAME
  ctr_inside images ls "name==$1" 2>/dev/null | grep -o "$image_id_label=[0-9a-f]*" | cut -d= -f2
}

full_name() { # as Kubernetes reads it: a name without a host is Docker Hub's
  local image=$1 tag=latest path
  path=${image##*/}
  if [[ $path == *:* ]]; then tag=${path##*:}; image=${image%:*}; fi
  case $image in
    localhost/* | *.*/* | *:*/*) ;;
    */*) image=docker.io/$image ;;
    *) image=docker.io/library/$image ;;
  esac
  echo "$image:$tag"
}

# What the cluster itself runs as Pods. Importing what is there takes a moment.
load_parts() { ctr_inside images import --digests=false "$bin/image.tar" >/dev/null; }
