# shellcheck shell=bash
# Which names, places, ports and bounds does the test cluster have? Sourced; sets variables only.
#
# PORTREEVE_CLUSTER_DIR    its state; default target/kubernetes in the clone
# PORTREEVE_CLUSTER_PORTS  the first of the 31 ports it may listen on; default 61400
# PORTREEVE_CLUSTER_NET    the first two numbers of the Pods' addresses; default 10.244

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../../.." && pwd)

kubernetes_version=1.36.2
helm_version=4.2.4       # as in helm/go.mod
tools=$("$repo/deploy/dev/tools.sh" --print-dir)
bin=$tools/kubernetes/$kubernetes_version

variant=${variant:-node}   # "control" is a cluster without a node of its own

# What a killed run leaves must be found from another clone: what ends a cluster lies in a place that
# all share. The rest is state that goes with its folder.
run=/run/portreeve-kube/$variant
dir=$(realpath -m "${PORTREEVE_CLUSTER_DIR:-$repo/target/kubernetes}")/$variant

ports=${PORTREEVE_CLUSTER_PORTS:-61400}
[[ $variant == node ]] || ports=$((ports + 20))   # both may run at once
etcd_port=$ports
etcd_peer_port=$((ports + 1))
apiserver_port=$((ports + 2))
controllers_port=$((ports + 3))
scheduler_port=$((ports + 4))
kubelet_port=$((ports + 5))
kubelet_health_port=$((ports + 6))
proxy_health_port=$((ports + 7))
proxy_metrics_port=$((ports + 8))
stream_port=$((ports + 9))
policies_health_port=$((ports + 10))

node=node1
bridge=portreeve-kube        # 15 characters at most; also marks our rules, cgroups and folders
net=${PORTREEVE_CLUSTER_NET:-10.244}
pod_cidr=$net.0.0/22         # 1,021 Pods
# The node's address is the bridge's: it exists on every machine, and nobody outside reaches it.
node_ip=$net.0.1
[[ $variant == node ]] || node_ip=127.0.0.1
service_cidr=10.96.0.0/16
service_ip=10.96.0.1
dns_ip=10.96.0.10
node_ports=30000-32767
pods_max=250
gpus=2
parts_image=localhost/portreeve/kube:dev   # made by build.sh
containerd_socket=$run/containerd.sock
kubeconfig=$dir/admin.kubeconfig

ready_wait_s=120   # for each component, on two busy cores
stop_wait_s=5      # then it is killed
room_wait_s=60     # for every process of the cluster to be gone, with 100 Pods on busy cores
lock_wait_s=300    # for another start or end
others_wait_s=1200 # for another run to be done with its cluster
