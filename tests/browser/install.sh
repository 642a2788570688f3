#!/usr/bin/env bash
# How do the tests in a browser get what they need from npm? Installed once for each lock file.
#
#   tests/browser/install.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tools=${PORTREEVE_TOOLS:-$(../../deploy/dev/tools.sh --print-dir)}
[[ ! -x $tools/node/bin/node ]] || export PATH=$tools/node/bin:$PATH
# each job has a new clone: what was downloaded is kept beside the other tools
[[ -z ${CI:-} ]] || export npm_config_cache=$tools/npm

if cmp -s package-lock.json node_modules/.installed; then exit; fi
npm ci --no-audit --no-fund --loglevel=error
cp package-lock.json node_modules/.installed
echo "installed: what tests/browser needs, in its node_modules"
