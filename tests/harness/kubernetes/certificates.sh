# shellcheck shell=bash
# Who may say what to whom in the test cluster? One authority, a certificate for each component, and
# the kubeconfigs made of them. Sourced by cluster.sh, after settings.sh.

pki=$dir/pki
valid_days=30   # a test cluster is younger

make_certificates() {
  [[ -f $pki/done ]] && return
  rm -rf "$pki"
  mkdir -p "$pki"
  chmod 0700 "$pki"
  new_key ca
  openssl req -x509 -new -key "$pki/ca.key" -out "$pki/ca.crt" -days $valid_days -subj /CN=portreeve-test-cluster \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign,digitalSignature'
  certificate apiserver /CN=kube-apiserver "IP:127.0.0.1,IP:$service_ip,IP:$node_ip,DNS:localhost,\
DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate kubelet-server "/CN=$node" "DNS:$node,IP:$node_ip"
  certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate admin /O=system:masters/CN=admin
  # The same rights under a name of its own: what the system under test asks for can be counted.
  certificate portreeve /O=system:masters/CN=portreeve
  certificate kube-controller-manager /CN=system:kube-controller-manager
  certificate kube-scheduler /CN=system:kube-scheduler
  certificate kube-proxy /CN=system:kube-proxy
  certificate network-policies /O=system:masters/CN=network-policies
  certificate kubelet "/O=system:nodes/CN=system:node:$node"
  new_key accounts
  openssl pkey -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub"
  local user
  for user in admin portreeve kube-controller-manager kube-scheduler kube-proxy network-policies \
    kubelet; do kubeconfig_of $user; done
  touch "$pki/done"
}

new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$pki/$1.key"; }

certificate() { # NAME SUBJECT [ALTERNATIVE_NAMES]
  new_key "$1"
  openssl req -new -key "$pki/$1.key" -subj "$2" |
    openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days $valid_days -out "$pki/$1.crt" \
      -extfile <(printf '%s\n' basicConstraints=CA:FALSE keyUsage=digitalSignature \
        extendedKeyUsage=serverAuth,clientAuth ${3:+"subjectAltName=$3"}) 2>/dev/null
}

kubeconfig_of() { # NAME of a certificate
  (umask 077; cat >"$dir/$1.kubeconfig") <<END
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: $1}}]
clusters:
- name: test
  cluster: {server: "https://127.0.0.1:$apiserver_port", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}
END
}
