#!/usr/bin/env bash
# How does a test get a real Kubernetes? One node on this machine: etcd, containerd and the unmodified
# programs of Kubernetes, in namespaces of their own, reached through 127.0.0.1.
#
#   cluster.sh build             make the programs (build.sh), unless they are there
#   cluster.sh up                start it and wait until the node is Ready; what another run left ends first
#   cluster.sh load IMAGE...     give it images that Podman holds
#   cluster.sh env               what a shell needs to talk to it: eval "$(cluster.sh env)"
#   cluster.sh stop NAME         stop one component (SIGTERM, after 5 s SIGKILL) ...
#   cluster.sh kill NAME         ... or kill it at once ...
#   cluster.sh start NAME        ... and start it again, and wait until it answers
#   cluster.sh status            which components run
#   cluster.sh down [--wipe]     end it and put back what the machine had; --wipe: forget its state, keep its logs
#
# With --no-node it is another cluster, without containerd, kubelet and kube-proxy, for tests of scale:
# one pretended node takes every Pod, and nobody runs it. Both may run at once.
#
# PORTREEVE_CLUSTER_OWNER=PID: while that process lives nobody else's down ends the cluster, and nobody
# else's up: it waits for up to 20 minutes.
# Needs root, and what deploy/dev/tools.sh kubernetes installs. Places and ports: settings.sh.
set -Eeuo pipefail
# Not all that may fail says so.
trap 'echo "cluster.sh: failed: $BASH_COMMAND (${BASH_SOURCE[0]##*/}:$LINENO)" >&2' ERR

variant=node arguments=()
for argument; do
  if [[ $argument == --no-node ]]; then variant=control; else arguments+=("$argument"); fi
done
set -- "${arguments[@]}"

fail() { echo "cluster.sh: $1" >&2; exit "${2:-1}"; }
usage() { sed -n "/^#   cluster.sh/s/^#   /usage: /p" "${BASH_SOURCE[0]}" >&2; exit 64; }
pause_shortly() { sleep "$look_every_s"; }
say() { printf '%3d s  %s\n' $((SECONDS - began)) "$1"; }
began=$SECONDS

# shellcheck source=tests/harness/kubernetes/settings.sh
. "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
for part in certificates configuration room host components beginnings images; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

up() {
  local before
  [[ -x $bin/kubectl ]] || fail "its programs are missing: make kubernetes" 69
  mkdir -p "$run"
  must_be_ours
  # Whoever began it is gone, or it is this folder's: its state is kept, its processes are not.
  if [[ -f $run/dir || -f $run/room ]]; then end_cluster; say 'ended what another run had left'; fi
  [[ $variant == control ]] || refuse_foreign_cluster
  # A start that failed leaves nothing that runs, and belongs to nobody.
  trap 'end_cluster; rm -rf "$run"' EXIT
  echo "$dir" >"$run/dir"
  [[ -z ${PORTREEVE_CLUSTER_OWNER:-} ]] || echo "$PORTREEVE_CLUSTER_OWNER $(began_at "$PORTREEVE_CLUSTER_OWNER")" >"$run/owner"
  mkdir -p "$dir/logs"
  rm -f "$dir"/logs/*.log
  make_certificates
  write_configuration
  [[ $variant == control ]] || prepare_host
  open_room
  start_component etcd
  [[ $variant == control ]] || start_component containerd
  await_component etcd
  start_component kube-apiserver
  [[ $variant == control ]] || { await_component containerd; load_parts; }
  await_component kube-apiserver
  say 'the apiserver answers'
  start_component kube-controller-manager
  start_component kube-scheduler
  if [[ $variant == node ]]; then
    before=$(heartbeat 2>/dev/null || true)
    start_component kubelet
    start_component kube-proxy
    start_component network-policies
    apply_beginnings
    await_node "$before"
    await_component kube-proxy
    await_component network-policies
    until_ready 'Services have names' kubelet name_service_answers
  else
    apply_beginnings
    pretend_node
  fi
  await_component kube-controller-manager
  await_component kube-scheduler
  trap - EXIT
  say "the cluster is up: eval \"\$(${BASH_SOURCE[0]} env)\""
}

owner_alive() { # the process that the running cluster belongs to, if it is another than ours
  local pid start
  room >/dev/null || return 1
  read -r pid start 2>/dev/null <"$run/owner" || return 1
  [[ $pid != "${PORTREEVE_CLUSTER_OWNER:-}" && $(began_at "$pid") == "$start" ]] && echo "$pid"
}

await_others() { # until whoever has the cluster is done with it
  local owner until=$((SECONDS + others_wait_s))
  owner=$(owner_alive) || return 0
  say "waiting for process $owner, which the cluster that runs belongs to"
  while owner_alive >/dev/null && ((SECONDS < until)); do sleep 1; done
}

must_be_ours() {
  local owner
  if owner=$(owner_alive); then fail "the cluster that runs belongs to process $owner, which still runs" 75; fi
}

end_cluster() {
  close_room
  [[ $variant == control ]] || restore_host
  rm -rf "$run"
  mkdir -p "$run"
}

down() {
  must_be_ours
  end_cluster
  rm -rf "$run"
  rmdir "$(dirname "$run")" 2>/dev/null || true
  # No mount of the room is seen from here, so nothing else can be reached below it.
  [[ ${1:-} != --wipe || ! -d $dir ]] || find "$dir" -mindepth 1 -maxdepth 1 ! -name logs -exec rm -rf --one-file-system {} +
}

must_run() { room >/dev/null || fail "no cluster runs: make test-kubernetes, or $0 up" 69; }

start() { # NAME
  local before=''
  known "$1"; must_run
  [[ $1 != kubelet ]] || before=$(heartbeat)
  pid_of "$1" >/dev/null && return
  start_component "$1"
  await_component "$1"
  [[ $1 != kubelet ]] || await_node "$before"
}

status() {
  local name
  room >/dev/null || { echo 'no cluster runs'; return 1; }
  for name in "${components[@]}"; do
    if pid_of "$name" >/dev/null; then echo "$name runs"; else echo "$name does not run"; fi
  done
}

print_env() {
  [[ -f $kubeconfig ]] || fail "no cluster in $dir: $0 up" 69
  cat <<END
export KUBECONFIG=$kubeconfig
export PORTREEVE_CLUSTER=$variant
export PORTREEVE_CLUSTER_DIR=$(dirname "$dir")
export PORTREEVE_CLUSTER_STATE=$dir
export PORTREEVE_CLUSTER_BIN=$bin
export PORTREEVE_CLUSTER_NODE_IP=$node_ip
END
}

verb=${1:-}
(($# == 0)) || shift
case $verb in
  up | down | load | start | stop | kill) ((EUID == 0)) || fail 'needs root: containers, cgroups and iptables' 77 ;;
esac
# Two at once would each take the other's half-made cluster for one that was left. What is started below
# does not keep the lock (8>&-).
[[ $verb != up ]] || await_others
case $verb in
  up | down)
    exec 8>/run/portreeve-kube.lock
    flock --wait "$lock_wait_s" 8 || fail "another start or end of a cluster takes longer than $lock_wait_s s" 75 ;;
esac
case $verb:$# in
  build:0) exec "$here/build.sh" ;;
  up:0) up ;;
  down:0) down ;;
  down:1) [[ $1 == --wipe ]] || usage; down --wipe ;;
  load:[1-9]*) must_run; for image; do load_image "$image"; done ;;
  env:0) print_env ;;
  start:1) start "$1" ;;
  stop:1) known "$1"; must_run; stop_component "$1" TERM ;;
  kill:1) known "$1"; must_run; stop_component "$1" KILL ;;
  status:0) status ;;
  *) usage ;;
esac
