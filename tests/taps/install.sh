#!/usr/bin/env bash
# How does the client get what it is made of that follows by NATS? From PyPI, once for each lock file.
#
#   tests/taps/install.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

tools=${PORTREEVE_TOOLS:-$(../../deploy/dev/tools.sh --print-dir)}
python=$tools/taps-python
if ! cmp -s requirements.txt "$python/.installed"; then
  rm -rf "$python"
  /usr/bin/python3 -m pip -q --disable-pip-version-check install --root-user-action=ignore \
    --require-hashes --no-deps --target "$python" -r requirements.txt
  cp requirements.txt "$python/.installed"
  echo "installed: what tests/taps needs, in $python"
fi
