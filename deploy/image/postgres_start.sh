#!/bin/bash
# How does the trial database come up? The cluster is made in the volume at the first start; later
# starts find it. PGDATA is a folder inside the volume, POSTGRES_PASSWORD_FILE holds the password of
# the user portreeve, who owns the database portreeve. Further words go to the server.
set -euo pipefail

bin=$(echo /usr/lib/postgresql/*/bin)
: "${PGDATA:?names the folder of the cluster}" "${POSTGRES_PASSWORD_FILE:?names a file with the password}"

# A folder of another major version is refused by the server itself, with its reason.
if [[ ! -e $PGDATA ]]; then
  # Beside its place and renamed into it: a first start that was cut short leaves nothing that looks whole.
  part=$PGDATA.part
  rm -rf "$part"
  "$bin/initdb" -D "$part" -U portreeve --auth=scram-sha-256 -E UTF8 --locale=C --pwfile "$POSTGRES_PASSWORD_FILE"
  echo 'host all all all scram-sha-256' >>"$part/pg_hba.conf"
  "$bin/postgres" --single -j -D "$part" postgres <<<'CREATE DATABASE portreeve;'
  mv "$part" "$PGDATA"
fi

# No socket in the file system, which is read-only. fsync and the like keep their defaults: an
# acknowledged commit is on disk.
exec "$bin/postgres" -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories='' "$@"
