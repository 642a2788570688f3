# shellcheck shell=bash
# What do the parts of the test cluster read? Sourced by cluster.sh, after settings.sh.

write_configuration() {
  mkdir -p "$dir"/{config/cni,logs,etcd}
  audit_policy >"$dir/config/audit.yaml"
  [[ $variant == node ]] || return 0
  name_servers >"$dir/config/resolv.conf"
  containerd_configuration >"$dir/config/containerd.toml"
  network_configuration >"$dir/config/cni/portreeve.conflist"
  kubelet_configuration >"$dir/config/kubelet.yaml"
  # kube-proxy ends when its file is written again, also with the same words.
  proxy_configuration >"$dir/config/kube-proxy.new"
  cmp -s "$dir/config/kube-proxy.new" "$dir/config/kube-proxy.yaml" ||
    cp "$dir/config/kube-proxy.new" "$dir/config/kube-proxy.yaml"
  rm "$dir/config/kube-proxy.new"
}

audit_policy() { # one line for each request of the system under test, none for anybody else's
  cat <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: [portreeve]}
- {level: None}
END
}

# Those that Pods reach too: 127.0.0.53 would be the Pod itself.
name_servers() {
  awk '$1 == "nameserver" && $2 !~ /^127\./ && !seen[$2]++ && n++ < 3' \
    <(cat /etc/resolv.conf /run/systemd/resolve/resolv.conf 2>/dev/null || true)
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE a sandbox may not be made less likely to be killed
# than containerd itself; runc then says only "can't get final child's PID from pipe: EOF".
containerd_configuration() {
  cat <<END
version = 2
root = "$dir/containerd"
state = "/run/containerd/state"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "$containerd_socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$parts_image"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "$stream_port"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$dir/config/cni"
END
}

# No ipMasq and no portmap: each would write rules for every Pod; host.sh has one for all.
network_configuration() {
  cat <<END
{
  "cniVersion": "0.4.0",
  "name": "portreeve-kube",
  "plugins": [{
    "type": "bridge", "bridge": "$bridge", "isGateway": true, "hairpinMode": true,
    "ipam": {
      "type": "host-local", "dataDir": "/var/lib/cni/addresses",
      "ranges": [[{"subnet": "$pod_cidr", "gateway": "$node_ip"}]], "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
END
}

kubelet_configuration() {
  cat <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
port: $kubelet_port
healthzPort: $kubelet_health_port
containerRuntimeEndpoint: unix://$containerd_socket
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-server.crt
tlsPrivateKeyFile: $pki/kubelet-server.key
clusterDomain: cluster.local
clusterDNS: [$dns_ip]
resolvConf: $dir/config/resolv.conf
maxPods: $pods_max
cgroupDriver: cgroupfs
cgroupRoot: /$bridge
failCgroupV1: false
failSwapOn: false
serializeImagePulls: false
# Images come from this machine only: one that is thrown away cannot be fetched again.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard:
  memory.available: 100Mi
  nodefs.available: 1%
  imagefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.inodesFree: 1%
nodeStatusUpdateFrequency: 5s
nodeStatusReportFrequency: 10s
syncFrequency: 10s
END
}

# iptables, not nftables: only so do NodePorts answer on 127.0.0.1.
proxy_configuration() {
  cat <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $dir/kube-proxy.kubeconfig}
clusterCIDR: $pod_cidr
hostnameOverride: $node
bindAddress: $node_ip
healthzBindAddress: 127.0.0.1:$proxy_health_port
metricsBindAddress: 127.0.0.1:$proxy_metrics_port
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {localhostNodePorts: true, syncPeriod: 30s, minSyncPeriod: 0s}
END
}
