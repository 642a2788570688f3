# shellcheck shell=bash
# Where do the cluster's processes run? In a room: a process-id and a mount namespace of their own. When
# its first process is killed the kernel ends all of them and takes their mounts along, so nothing of a
# cluster outlives it, however it ends. Sourced by cluster.sh, after settings.sh.
#
# Process ids below are those of the room, except the room's own.

# Folders of the machine that Kubernetes has fixed names for, and what lies there in the room.
room_binds=(/var/lib/kubelet:kubelet /var/lib/cni:cni /var/log/pods:logs/pods /var/log/containers:logs/containers
  /tmp/hostpath_pv:volumes)
room_tmpfs=(/run/netns /run/containerd)

enter_room_wait_s=10

# Made by whichever cluster came first, removed by the last: taking away a folder takes away the mounts
# that others have on it.
made=/run/portreeve-kube/made

room() { # [FILE]: the process id of the room's first process, when it still runs
  local pid began
  read -r pid began 2>/dev/null <"${1:-$run/room}" || return 1
  [[ $(began_at "$pid") == "$began" ]] && echo "$pid"
}

began_at() { # PID: when it began, in ticks; tells it from a later process with the same id
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  # The name stands in parentheses and may hold anything; the 22nd field is the 20th after it.
  read -ra stat <<<"${stat##*) }"
  # A zombie's namespaces are gone.
  [[ ${stat[0]} != Z ]] && echo "${stat[19]}"
}

open_room() {
  local place until=$((SECONDS + enter_room_wait_s))
  for place in "${room_tmpfs[@]}" "${room_binds[@]%%:*}"; do
    [[ -d $place ]] || { mkdir "$place"; echo "$place" >>"$made"; }
  done
  for place in "${room_binds[@]#*:}"; do mkdir -p "$dir/$place"; done
  setsid unshare --pid --fork --mount --propagation private \
    bash "$here/room.sh" "$variant" "$dir" "$bin/pause" </dev/null >"$dir/logs/room.log" 2>&1 8>&- &
  until room >/dev/null; do
    ((SECONDS < until)) || fail "the namespaces cannot be made: $(<"$dir/logs/room.log")"
    pause_shortly
  done
}

inside() { nsenter --target "$(room)" --mount --pid -- "$@"; }

close_room() {
  local pid until=$((SECONDS + room_wait_s))
  if pid=$(room); then
    kill -KILL "$pid"
    # It is gone only when every other process of the room is.
    while room >/dev/null; do
      ((SECONDS < until)) || fail "processes of the cluster cannot be killed: see those below process $pid"
      pause_shortly
    done
  fi
  rm -f "$run/room"
  remove_places
}

remove_places() {
  local place file
  for file in "$(dirname "$made")"/*/room; do if room "$file" >/dev/null; then return; fi; done
  [[ ! -f $made ]] || while read -r place; do rmdir "$place" 2>/dev/null || true; done <"$made"
  rm -f "$made"
}

# As a program of its own: the first process of the room.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  set -euo pipefail
  variant=$1 dir=$2 pause=$3
  run=/run/portreeve-kube/$variant
  # The machine's /proc is still the one seen here: its id there.
  read -r pid _ </proc/self/stat
  began=$(began_at "$pid")
  mount -t proc proc /proc
  for place in "${room_tmpfs[@]}"; do mount -t tmpfs -o mode=0755 tmpfs "$place"; done
  for place in "${room_binds[@]}"; do mount --bind "$dir/${place#*:}" "${place%%:*}"; done
  echo "$pid $began" >"$run/room.new"
  mv "$run/room.new" "$run/room"
  exec "$pause"
fi
