# shellcheck shell=bash
# What does the cluster hold from its beginning? A storage class, DNS, its node. Sourced by cluster.sh,
# after components.sh.

apply_beginnings() {
  { storage_class; [[ $variant == control ]] || name_service; } | kubectl apply -f - >/dev/null
  until_ready 'the default service account is there' kube-controller-manager \
    kubectl -n default get serviceaccount default
}

storage_class() {
  cat <<END
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: hostpath, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/host-path
reclaimPolicy: Delete
volumeBindingMode: Immediate
---
END
}

# Named and labelled as everywhere, so that a NetworkPolicy which lets DNS through means this one.
name_service() {
  local forward=''
  if [[ -s $dir/config/resolv.conf ]]; then forward='forward . /etc/resolv.conf'; fi
  cat <<END
apiVersion: v1
kind: ServiceAccount
metadata: {name: coredns, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: system:coredns}
rules:
- {apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: system:coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:coredns}
subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
      errors
      cache 5
      kubernetes cluster.local in-addr.arpa ip6.arpa {
        fallthrough in-addr.arpa ip6.arpa
      }
      $forward
    }
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  clusterIP: $dns_ip
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      serviceAccountName: coredns
      priorityClassName: system-cluster-critical
      dnsPolicy: Default
      containers:
      - name: coredns
        image: $parts_image
        imagePullPolicy: Never
        command: [/coredns, -conf, /config/Corefile]
        readinessProbe: {tcpSocket: {port: 53}, periodSeconds: 1}
        resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 256Mi}}
        volumeMounts: [{name: config, mountPath: /config}]
      volumes: [{name: config, configMap: {name: coredns}}]
---
END
}

name_service_answers() { kubectl -n kube-system rollout status deployment/coredns --timeout=1s; }

# GPUs that no device plugin offers. A kubelet that starts sets them to 0 once, before its first report.
await_node() { # HEARTBEAT of before the kubelet's start
  until_ready 'the node reports' kubelet reported_since "$1"
  kubectl patch node "$node" --subresource=status --type=merge -p \
    '{"status":{"capacity":{"nvidia.com/gpu":"'$gpus'"},"allocatable":{"nvidia.com/gpu":"'$gpus'"}}}' >/dev/null
  until_ready 'the node is Ready' kubelet node_is_ready
}
heartbeat() { kubectl get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}'; }
reported_since() { local now; now=$(heartbeat) && [[ $now && $now != "$1" ]] || { echo "last report: $now"; false; }; }
node_is_ready() { kubectl get node "$node" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -x True; }

pretend_node() { # as large as anybody asks for
  local resources='{"cpu":"100k","memory":"100Ti","pods":"100k","ephemeral-storage":"100Ti","nvidia.com/gpu":"100k"}'
  kubectl apply -f - >/dev/null <<END
{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "$node", "labels": {"kubernetes.io/os": "linux"}}}
END
  kubectl patch node "$node" --subresource=status --type=merge -p \
    '{"status":{"capacity":'"$resources"',"allocatable":'"$resources"',
      "conditions":[{"type":"Ready","status":"True","reason":"Pretended","message":"no kubelet stands behind it"}]}}' >/dev/null
  # Every new node has it, and the controller that takes it away does not run here.
  kubectl patch node "$node" --type=merge -p '{"spec":{"taints":null}}' >/dev/null
}
