#!/usr/bin/env bash
# Which crates are changed before they are compiled, and are they in place?
#
# For each services/*/patches/<crate>-<version>.patch: the crate's source as the registry has it, checked
# against the digest below, with the patch applied, at .patched/<crate>, where [patch.crates-io] of the
# workspace looks. Cargo reads nothing of the workspace before that folder is there, so this runs first
# (tools.sh calls it, as does every target of make). It takes milliseconds when nothing is to do.
#
#   patched_crates.sh FOLDER    FOLDER keeps the sources; .patched/<crate> links to them
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=${1:?usage: patched_crates.sh FOLDER}
cargo=$(command -v cargo || echo "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin/cargo")

# What crates.io publishes, as Cargo.lock would name it: a patch is made for exactly these bytes.
declare -A published=(
  [russh-0.65.1]=94be3d86c71b9ed220a675c405e35c7a02565a009bf8da2e9cc13a700320a5c5
  [socketioxide-parser-common-0.17.3]=782f1161df52e2be178cb93536af87a101751ce7a0bb9718751e79476b3df14e
)

part=''
trap '[[ -z $part ]] || rm -rf "$part"' EXIT

# The archive in cargo's own cache. `cargo info` downloads one crate and nothing that it needs; outside
# the workspace, which cannot be read yet.
archive_of() { # CRATE-VERSION
  local name=$1 home=${CARGO_HOME:-${HOME:-/root}/.cargo} found
  found=$(find "$home/registry/cache" -name "$name.crate" -print -quit 2>/dev/null || true)
  if [[ -z $found ]]; then
    (cd / && "$cargo" info --quiet "${name%-*}@${name##*-}" >/dev/null)
    found=$(find "$home/registry/cache" -name "$name.crate" -print -quit)
  fi
  [[ $found ]] || { echo "patched_crates.sh: cargo did not bring $name" >&2; exit 69; }
  echo "$found"
}

ensure() { # PATCH
  local name crate key place archive
  name=$(basename "$1" .patch)
  crate=${name%-*}
  key=$(sha256sum <"$1" | cut -c1-12)
  place=$folder/crates/$name-$key
  if [[ ! -d $place ]]; then
    archive=$(archive_of "$name")
    echo "${published[$name]:?patched_crates.sh: no digest for $name}  $archive" | sha256sum --check --quiet
    mkdir -p "$folder/crates"
    part=$(mktemp -d "$folder/crates/part.XXXXXX")
    tar -xzf "$archive" -C "$part"
    patch --quiet --strip=1 --fuzz=0 --directory="$part/$name" <"$1"
    # another worktree may have been faster
    mv -T "$part/$name" "$place" 2>/dev/null || [[ -d $place ]]
    rm -rf "$part"; part=''
    echo "patched: $name in $place"
  fi
  [[ $(readlink "$repo/.patched/$crate" || true) == "$place" ]] && return
  mkdir -p "$repo/.patched"
  ln -sfn "$place" "$repo/.patched/$crate"
}

for patch in "$repo"/services/*/patches/*.patch; do ensure "$patch"; done
