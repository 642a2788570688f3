# shellcheck shell=bash
# What does the cluster change on this machine, and how is that put back? Settings of the kernel, a
# bridge, rules of iptables, cgroups. Sourced by cluster.sh, after settings.sh.

# Ours, kubelet's and kube-proxy's.
settings=(net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables
  net.ipv4.conf.all.route_localnet
  vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops
  kernel.keys.root_maxkeys kernel.keys.root_maxbytes)
rule_mark=(-m comment --comment "$bridge")

refuse_foreign_cluster() {
  local chains
  chains=$(iptables -w -t nat -S | grep -c '^-N KUBE-' || true)
  ((chains == 0)) || fail "this machine has rules of another Kubernetes (iptables -t nat -S | grep KUBE-): \
the test cluster would take them away with its own" 75
}

prepare_host() {
  local name
  # Where they are modules; elsewhere they are in the kernel, or what needs them says so.
  modprobe -qa overlay br_netfilter nf_conntrack 2>/dev/null || true
  [[ -f $run/sysctl ]] || {
    for name in "${settings[@]}"; do echo "$name=$(sysctl -n "$name")"; done >"$run/sysctl.new"
    mv "$run/sysctl.new" "$run/sysctl"
  }
  sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
  ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge
  ip addr replace "$node_ip/${pod_cidr#*/}" dev "$bridge"
  ip link set "$bridge" up
  write_rules
  make_cgroups
}

write_rules() {
  remove_rules
  # Pods reach what this machine reaches, under its address.
  iptables -w -t nat -A POSTROUTING -s "$pod_cidr" ! -o "$bridge" "${rule_mark[@]}" -j MASQUERADE
  # Where another container engine made DROP the default.
  iptables -w -A FORWARD -i "$bridge" "${rule_mark[@]}" -j ACCEPT
  iptables -w -A FORWARD -o "$bridge" "${rule_mark[@]}" -j ACCEPT
}

# Rules of ours, then the chains of kubelet and kube-proxy (up refuses to start where others have some).
remove_rules() {
  local table
  for table in nat filter; do delete_rules iptables $table "--comment \"\?$bridge\"\? "; done
}

remove_kubernetes_rules() {
  local tables table chains chain
  for tables in iptables ip6tables; do
    for table in nat filter mangle; do
      delete_rules $tables $table '-j KUBE-' KUBE-
      mapfile -t chains < <($tables -w -t $table -S 2>/dev/null | sed -n 's/^-N \(KUBE-.*\)/\1/p')
      ((${#chains[@]})) || continue
      # One call for all: they name each other, and there are some for each Service.
      { echo "*$table"; for chain in "${chains[@]}"; do echo ":$chain - [0:0]"; done
        for chain in "${chains[@]}"; do echo "-X $chain"; done; echo COMMIT
      } | $tables-restore -w --noflush
    done
  done
}

delete_rules() { # PROGRAM TABLE PATTERN [PREFIX of chains to leave alone]
  local rule words
  $1 -w -t "$2" -S 2>/dev/null | { grep -e "$3" || true; } | { grep -v "^-A ${4:-/}" || true; } |
    while read -r rule; do
      # The listing quotes words as a shell does.
      eval "words=(${rule/#-A/-D})"
      "$1" -w -t "$2" "${words[@]}"
    done
}

cgroup_trees() { # one line a hierarchy; old machines have one for each kind of limit
  awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/self/mounts
}

make_cgroups() {
  local tree file controllers
  while read -r tree; do
    if [[ -f $tree/cgroup.controllers ]]; then
      controllers=$(<"$tree/cgroup.controllers")
      # One by one: what the kernel keeps to itself must not take the others along.
      for file in $controllers; do { echo "+$file" >"$tree/cgroup.subtree_control"; } 2>/dev/null || true; done
    fi
    mkdir -p "$tree/$bridge"
    # A new group has no processors and no memory until it is told.
    for file in cpuset.cpus cpuset.mems; do
      [[ ! -f $tree/$file || -f $tree/cgroup.controllers ]] || cat "$tree/$file" >"$tree/$bridge/$file"
    done
  done < <(cgroup_trees)
}

remove_cgroups() {
  local tree
  while read -r tree; do
    [[ ! -d $tree/$bridge ]] || find "$tree/$bridge" -depth -type d -delete || true
  done < <(cgroup_trees)
}

restore_host() {
  local setting
  [[ -f $run/sysctl ]] || return 0
  remove_rules
  remove_kubernetes_rules
  if nft list table inet "$bridge" >/dev/null 2>&1; then nft delete table inet "$bridge"; fi
  ip link delete "$bridge" 2>/dev/null || true
  remove_cgroups
  while read -r setting; do sysctl -qw "$setting"; done <"$run/sysctl"
  rm "$run/sysctl"
}
