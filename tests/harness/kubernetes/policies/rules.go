// Which packets may pass, by the NetworkPolicies? A table of nftables as text, from what the cluster holds
// now: a chain for each way into or out of Pods that some policy selects. No clock, no network, no order
// of events: the same objects make the same text.
package policies

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// What the cluster holds.
type Objects struct {
	Pods       []*core.Pod
	Namespaces []*core.Namespace
	Policies   []*networking.NetworkPolicy
}

// The whole table, to be put in place of the one before. Traffic from the node to its Pods never passes
// its hooks, as Kubernetes demands; answers within a connection that was let through do not ask again.
func Table(name, bridge string, objects Objects) (string, error) {
	c := compiler{Objects: objects, bridge: bridge, chains: map[string]string{}}
	egress, err := c.verdicts(networking.PolicyTypeEgress)
	if err != nil {
		return "", err
	}
	ingress, err := c.verdicts(networking.PolicyTypeIngress)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "add table inet %s\ndelete table inet %s\ntable inet %s {\n", name, name, name)
	for _, chain := range sorted(c.chains) {
		fmt.Fprintf(&text, " chain %s {\n%s  drop\n }\n", c.chains[chain], chain)
	}
	// After DNAT, so what is compared are Pods, not Services. Pods have no IPv6 addresses but those they
	// give themselves, which no policy can name.
	start := "  ct state established,related accept\n" +
		fmt.Sprintf("  meta nfproto ipv6 iifname %q drop\n", bridge)
	fmt.Fprintf(&text, " chain forward {\n  type filter hook forward priority 10; policy accept;\n%s%s%s }\n",
		start, vmap("saddr", egress), vmap("daddr", ingress))
	fmt.Fprintf(&text, " chain input {\n  type filter hook input priority 10; policy accept;\n%s%s }\n}\n",
		start, vmap("saddr", egress))
	return text.String(), nil
}

type compiler struct {
	Objects
	bridge string
	chains map[string]string // rules -> name: Pods with the same rules share a chain
}

// Address -> chain, for each Pod that a policy of this direction selects.
func (c *compiler) verdicts(direction networking.PolicyType) (map[string]string, error) {
	found := map[string]string{}
	for _, pod := range c.Pods {
		if !hasAddress(pod) {
			continue
		}
		rules, isolated, err := c.rulesOf(pod, direction)
		if err != nil {
			return nil, err
		}
		if !isolated {
			continue
		}
		if _, known := c.chains[rules]; !known {
			c.chains[rules] = fmt.Sprintf("c%x", sha256.Sum256([]byte(rules)))[:17]
		}
		found[pod.Status.PodIP] = c.chains[rules]
	}
	return found, nil
}

// What the policies that select this Pod let through; whether any does select it.
func (c *compiler) rulesOf(pod *core.Pod, direction networking.PolicyType) (string, bool, error) {
	var lines []string
	isolated := false
	for _, policy := range c.Policies {
		selected, err := matches(&policy.Spec.PodSelector, pod.Labels)
		if err != nil {
			return "", false, err
		}
		if !selected || policy.Namespace != pod.Namespace || !slices.Contains(policy.Spec.PolicyTypes, direction) {
			continue
		}
		isolated = true
		more, err := c.rulesOfPolicy(policy, pod, direction)
		if err != nil {
			return "", false, fmt.Errorf("%s/%s: %w", policy.Namespace, policy.Name, err)
		}
		lines = append(lines, more...)
	}
	slices.Sort(lines)
	return strings.Join(slices.Compact(lines), ""), isolated, nil
}

func (c *compiler) rulesOfPolicy(policy *networking.NetworkPolicy, pod *core.Pod, direction networking.PolicyType) ([]string, error) {
	var lines []string
	if direction == networking.PolicyTypeIngress {
		for _, rule := range policy.Spec.Ingress {
			more, err := c.allow(policy.Namespace, "saddr", rule.From, rule.Ports, pod)
			if err != nil {
				return nil, err
			}
			lines = append(lines, more...)
		}
		return lines, nil
	}
	for _, rule := range policy.Spec.Egress {
		more, err := c.allow(policy.Namespace, "daddr", rule.To, rule.Ports, nil)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return lines, nil
}

// One rule of a policy. `server` is the Pod whose ports are meant, nil when each peer is its own.
func (c *compiler) allow(namespace, side string, peers []networking.NetworkPolicyPeer,
	ports []networking.NetworkPolicyPort, server *core.Pod) ([]string, error) {
	if len(peers) == 0 {
		return lines("", ports, server), nil
	}
	var all []string
	for _, peer := range peers {
		if peer.IPBlock != nil {
			all = append(all, lines(block(side, peer.IPBlock), ports, server)...)
			continue
		}
		pods, err := c.peers(namespace, peer)
		if err != nil {
			return nil, err
		}
		for _, pod := range pods {
			at := server
			if at == nil {
				at = pod
			}
			all = append(all, lines(fmt.Sprintf("ip %s %s ", side, pod.Status.PodIP), ports, at)...)
		}
	}
	return all, nil
}

func (c *compiler) peers(namespace string, peer networking.NetworkPolicyPeer) ([]*core.Pod, error) {
	in := map[string]bool{namespace: true}
	if peer.NamespaceSelector != nil {
		in = map[string]bool{}
		for _, candidate := range c.Namespaces {
			selected, err := matches(peer.NamespaceSelector, candidate.Labels)
			if err != nil {
				return nil, err
			}
			in[candidate.Name] = selected
		}
	}
	var found []*core.Pod
	for _, pod := range c.Pods {
		selected, err := true, error(nil)
		if peer.PodSelector != nil {
			selected, err = matches(peer.PodSelector, pod.Labels)
		}
		if err != nil {
			return nil, err
		}
		if selected && in[pod.Namespace] && hasAddress(pod) {
			found = append(found, pod)
		}
	}
	return found, nil
}

// Rules of nftables for one peer. Without ports all protocols pass.
func lines(peer string, ports []networking.NetworkPolicyPort, server *core.Pod) []string {
	if len(ports) == 0 {
		return []string{"  " + peer + "return\n"}
	}
	var all []string
	for _, port := range ports {
		protocol := core.ProtocolTCP
		if port.Protocol != nil {
			protocol = *port.Protocol
		}
		word := strings.ToLower(string(protocol))
		switch {
		case port.Port == nil:
			all = append(all, fmt.Sprintf("  %smeta l4proto %s return\n", peer, word))
		case port.EndPort != nil:
			all = append(all, fmt.Sprintf("  %s%s dport %d-%d return\n", peer, word, port.Port.IntValue(), *port.EndPort))
		case port.Port.StrVal == "":
			all = append(all, fmt.Sprintf("  %s%s dport %d return\n", peer, word, port.Port.IntValue()))
		default:
			for _, number := range named(server, port.Port.StrVal, protocol) {
				all = append(all, fmt.Sprintf("  %s%s dport %d return\n", peer, word, number))
			}
		}
	}
	return all
}

// A name means nothing at an address that is no Pod's.
func named(server *core.Pod, name string, protocol core.Protocol) []int32 {
	var found []int32
	if server == nil {
		return found
	}
	for _, container := range server.Spec.Containers {
		for _, port := range container.Ports {
			if port.Name == name && (port.Protocol == protocol || port.Protocol == "" && protocol == core.ProtocolTCP) {
				found = append(found, port.ContainerPort)
			}
		}
	}
	return found
}

func block(side string, b *networking.IPBlock) string {
	if strings.Contains(b.CIDR, ":") {
		return fmt.Sprintf("ip6 %s %s ", side, b.CIDR)
	}
	text := fmt.Sprintf("ip %s %s ", side, b.CIDR)
	if len(b.Except) > 0 {
		text += fmt.Sprintf("ip %s != { %s } ", side, strings.Join(b.Except, ", "))
	}
	return text
}

func vmap(side string, verdicts map[string]string) string {
	if len(verdicts) == 0 {
		return ""
	}
	var elements []string
	for _, address := range sorted(verdicts) {
		elements = append(elements, fmt.Sprintf("%s : jump %s", address, verdicts[address]))
	}
	return fmt.Sprintf("  ip %s vmap { %s }\n", side, strings.Join(elements, ", "))
}

func hasAddress(pod *core.Pod) bool {
	ended := pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed
	return pod.Status.PodIP != "" && !pod.Spec.HostNetwork && !ended
}

func matches(selector *meta.LabelSelector, of map[string]string) (bool, error) {
	compiled, err := meta.LabelSelectorAsSelector(selector)
	if err != nil {
		return false, err
	}
	return compiled.Matches(labels.Set(of)), nil
}

func sorted(of map[string]string) []string {
	keys := make([]string, 0, len(of))
	for key := range of {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
