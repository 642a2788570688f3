# shellcheck shell=bash
# Which programs make a cluster, with which arguments, and when are they ready? Sourced by cluster.sh,
# after settings.sh.

# In the order of their start. Each has run_NAME (what is run) and may have ready_NAME (whether it answers).
case $variant in
  node) components=(etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy
    network-policies) ;;
  control) components=(etcd kube-apiserver kube-controller-manager kube-scheduler) ;;
esac

look_every_s=0.2
# No proxy of this machine: what the cluster talks to is here.
environment=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "HOME=$HOME" LANG=C.UTF-8)

run_etcd() {
  command=("$bin/etcd" --name test --data-dir "$dir/etcd"
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port"
    --listen-peer-urls "http://127.0.0.1:$etcd_peer_port"
    --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer_port"
    --initial-cluster "test=http://127.0.0.1:$etcd_peer_port" --unsafe-no-fsync)
}
ready_etcd() { curl -fs "http://127.0.0.1:$etcd_port/health"; }

run_containerd() {
  command=(/usr/bin/containerd --config "$dir/config/containerd.toml")
}
ready_containerd() { ctr_inside version; }

run_kube-apiserver() {
  command=("$bin/kube-apiserver" "--etcd-servers=http://127.0.0.1:$etcd_port" "--secure-port=$apiserver_port"
    "--authorization-mode=Node,RBAC" --enable-admission-plugins=NodeRestriction --allow-privileged=true
    --service-cluster-ip-range="$service_cidr" --service-node-port-range="$node_ports"
    --service-account-issuer=https://kubernetes.default.svc
    --service-account-key-file="$pki/accounts.pub" --service-account-signing-key-file="$pki/accounts.key"
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
    --audit-policy-file="$dir/config/audit.yaml" --audit-log-path="$dir/logs/audit.log"
    --audit-log-maxsize=100 --audit-log-maxbackup=2)
  # No Pod asks a cluster without a node, and 127.0.0.1 is no address that may be announced.
  if [[ $variant == control ]]; then
    command+=(--bind-address=127.0.0.1 --endpoint-reconciler-type=none)
  else
    command+=(--bind-address=0.0.0.0 --advertise-address="$node_ip"
      --kubelet-client-certificate="$pki/apiserver-kubelet.crt" --kubelet-client-key="$pki/apiserver-kubelet.key"
      --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP)
  fi
}
ready_kube-apiserver() { kubectl get --raw /readyz; }

# 20 and 50 requests a second, the defaults, make a creation of many environments wait for nothing else.
controllers_qps=200

run_kube-controller-manager() {
  local kubeconfig=$dir/kube-controller-manager.kubeconfig
  command=("$bin/kube-controller-manager" --kubeconfig="$kubeconfig"
    --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig"
    --bind-address=127.0.0.1 --secure-port="$controllers_port" --leader-elect=false
    --service-account-private-key-file="$pki/accounts.key" --root-ca-file="$pki/ca.crt"
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
    --use-service-account-credentials=true --enable-hostpath-provisioner=true
    --kube-api-qps="$controllers_qps" --kube-api-burst="$((2 * controllers_qps))")
  # Nobody reports for the pretended nodes: they would be found lost.
  [[ $variant == node ]] || command+=(--controllers='*,-node-lifecycle-controller')
}
ready_kube-controller-manager() { curl -fsk "https://127.0.0.1:$controllers_port/healthz"; }

run_kube-scheduler() {
  local kubeconfig=$dir/kube-scheduler.kubeconfig
  command=("$bin/kube-scheduler" --kubeconfig="$kubeconfig"
    --authentication-kubeconfig="$kubeconfig" --authorization-kubeconfig="$kubeconfig"
    --bind-address=127.0.0.1 --secure-port="$scheduler_port" --leader-elect=false
    --kube-api-qps="$controllers_qps" --kube-api-burst="$((2 * controllers_qps))")
}
ready_kube-scheduler() { curl -fsk "https://127.0.0.1:$scheduler_port/healthz"; }

run_kubelet() {
  command=("$bin/kubelet" --config="$dir/config/kubelet.yaml" --kubeconfig="$dir/kubelet.kubeconfig"
    --hostname-override="$node" --node-ip="$node_ip")
}
ready_kubelet() { curl -fs "http://127.0.0.1:$kubelet_health_port/healthz"; }

run_kube-proxy() { command=("$bin/kube-proxy" --config="$dir/config/kube-proxy.yaml"); }
ready_kube-proxy() { curl -fs "http://127.0.0.1:$proxy_health_port/healthz"; }

run_network-policies() {
  command=("$bin/network-policies" --kubeconfig="$dir/network-policies.kubeconfig" --table="$bridge"
    --bridge="$bridge" --health-address="127.0.0.1:$policies_health_port")
}
ready_network-policies() { curl -fs "http://127.0.0.1:$policies_health_port/healthz"; }

kubectl() { "$bin/kubectl" --kubeconfig="$kubeconfig" "$@"; }
ctr_inside() { ctr --address "$containerd_socket" --namespace k8s.io "$@"; }

known() { [[ " ${components[*]} " == *" $1 "* ]] || fail "no component $1 here; there are: ${components[*]}" 64; }

pid_of() { # NAME: its id in the room, when it runs
  local pid proc
  read -r pid 2>/dev/null <"$run/$1.pid" || return 1
  proc=/proc/$(room)/root/proc/$pid
  # An id may have been given to another program since.
  [[ -d $proc ]] && tr '\0' '\n' 2>/dev/null <"$proc/cmdline" | head -n 1 | grep -q "/$1\$" && echo "$pid"
}

start_component() { # NAME
  local command
  pid_of "$1" >/dev/null && return
  "run_$1"
  # The room's first process becomes its parent, and reaps it.
  inside "${environment[@]}" bash -c 'setsid "${@:3}" >>"$1" 2>&1 </dev/null & echo $! >"$2"' - \
    "$dir/logs/$1.log" "$run/$1.pid" "${command[@]}" 8>&-
}

await_component() { # NAME
  until_ready "$1 answers" "$1" "ready_$1"
}

until_ready() { # WHAT COMPONENT COMMAND...: at most ready_wait_s; ends when the component ended
  local what=$1 component=$2 until=$((SECONDS + ready_wait_s)) seen
  shift 2
  until seen=$("$@" 2>&1); do
    if ! pid_of "$component" >/dev/null || ((SECONDS >= until)); then
      tail -n 20 "$dir/logs/$component.log" >&2
      fail "not within $ready_wait_s s: $what; last seen: $seen (whole log: $dir/logs/$component.log)"
    fi
    pause_shortly
  done
}

stop_component() { # NAME SIGNAL
  local pid looks=$((stop_wait_s * 5))
  pid=$(pid_of "$1") || return 0
  inside kill "-$2" "$pid"
  while pid_of "$1" >/dev/null; do
    ((looks-- > 0)) || inside kill -KILL "$pid" 2>/dev/null || true
    ((looks > -looks_after_kill)) || fail "$1 cannot be killed"
    pause_shortly
  done
  rm -f "$run/$1.pid"
}
looks_after_kill=50
