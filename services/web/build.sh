#!/usr/bin/env bash
# How do the pages get into services/web/dist? Built once for each state of the source, and kept.
#
#   services/web/build.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tools=${PORTREEVE_TOOLS:-$(../../deploy/dev/tools.sh --print-dir)}
[[ ! -x $tools/node/bin/node ]] || export PATH=$tools/node/bin:$PATH
keep_max=5 # states that are kept

sources=(src public index.html package.json package-lock.json .npmrc tsconfig.json vite.config.ts compress.mjs build.sh)
digest=$(find "${sources[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-32)
kept=$tools/web/$digest
if [[ -e dist/.digest && $(<dist/.digest) == "$digest" ]]; then exit; fi

if [[ ! -e $kept/index.html ]]; then
  npm ci --no-audit --no-fund --loglevel=error
  mkdir -p "$tools/web"
  part=$(mktemp -d "$tools/web/part.XXXXXX")
  trap 'rm -rf "$part"' EXIT
  npx --no-install tsc --noEmit
  npx --no-install vite build --logLevel warn --outDir "$part/dist" --emptyOutDir
  node compress.mjs "$part/dist"
  rm -rf "$kept"
  mv "$part/dist" "$kept"
  # shellcheck disable=SC2012 # names are digests
  ls -t "$tools/web" | tail -n +$((keep_max + 1)) | while read -r old; do rm -rf "${tools:?}/web/$old"; done
fi
find dist -mindepth 1 ! -name README.md -delete
cp -r "$kept/." dist/
echo "$digest" >dist/.digest
echo "built: the pages ($(du -sh dist | cut -f1)) in services/web/dist"
