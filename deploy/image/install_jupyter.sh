#!/bin/sh
# What puts JupyterLab into /opt/jupyter? Runs as root inside an environment's root, without a
# network: install_jupyter.sh WHEELS_DIR
set -eu
# The person's own folder, so that `%pip install` in a notebook works.
install -d -o developer -g developer -m 0755 /opt/jupyter
# pip is run straight out of its wheel and installs itself with the rest.
pip=$(echo "$1"/pip-*.whl)/pip
su developer -c "umask 022 && cd / && python3 -m venv --without-pip /opt/jupyter &&
  /opt/jupyter/bin/python $pip install --quiet --no-cache-dir \
    --no-index --find-links $1 -r $1/jupyter.txt"
/opt/jupyter/bin/jupyter lab --version
