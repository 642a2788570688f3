//! What surrounds the environments of a cluster? Their namespace, and what their network lets through.

use std::net::{IpAddr, SocketAddr};

use events::env::PortPurpose;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kit::sentry_protocol::INNER_PORT;

use crate::kube_objects::{APP, LABEL_APP};
use crate::kube_pod::inside;
use crate::kube_settings::Settings;

/// The one policy of the namespace.
pub const POLICY: &str = "dev-env";
/// Which of our own Pods this is, wherever the system itself runs.
const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Many have a component that is called so.
const LABEL_NAME: &str = "app.kubernetes.io/name";
const NAME: &str = "portreeve";
const DNS_PORT: i32 = 53;
/// Where clouds tell a machine its secrets.
const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

/// The apiserver itself refuses Pods there that may do more than ours.
pub fn namespace(settings: &Settings) -> Namespace {
    let labels =
        [("app.kubernetes.io/managed-by", "portreeve"), ("pod-security.kubernetes.io/enforce", "baseline")];
    Namespace {
        metadata: ObjectMeta {
            name: Some(settings.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// People come in from outside the cluster and from our gateway; environments go out to the world, to
/// names and to our provisioner. They reach neither each other nor any other Pod, where the addresses
/// of Pods are known (`pod_cidrs`) or the network tells Pods from addresses by itself.
pub fn network_policy(settings: &Settings, apiservers: &[IpAddr]) -> NetworkPolicy {
    let doors = [PortPurpose::Ssh, PortPurpose::Jupyter].map(|purpose| port("TCP", inside(purpose)));
    let entrances = [pods_of("gateway"), pods_of("api")].into_iter();
    let entrances = entrances.chain(control_plane(&settings.sentry_url)).collect();
    let link_local = LINK_LOCAL.iter().filter_map(|range| range.parse().ok());
    let apiservers = apiservers.iter().copied().map(IpNet::from);
    let closed: Vec<IpNet> = settings.pod_cidrs.iter().copied().chain(link_local).chain(apiservers).collect();
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(POLICY.to_owned()),
            namespace: Some(settings.namespace.clone()),
            ..Default::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labelled(&[(LABEL_APP, APP)])),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    from: Some(world(&settings.pod_cidrs)),
                    ports: Some(doors.to_vec()),
                },
                // a world without Pods may hold addresses of ours; the inner door is not for it
                NetworkPolicyIngressRule {
                    from: Some(entrances),
                    ports: Some(doors.into_iter().chain([port("TCP", INNER_PORT.into())]).collect()),
                },
            ]),
            egress: Some(
                vec![
                    NetworkPolicyEgressRule {
                        to: None,
                        ports: Some(vec![port("UDP", DNS_PORT), port("TCP", DNS_PORT)]),
                    },
                    NetworkPolicyEgressRule { to: Some(vec![pods_of("provisioner")]), ports: None },
                    NetworkPolicyEgressRule { to: Some(world(&closed)), ports: None },
                ]
                .into_iter()
                .chain(sentry_rule(&settings.sentry_url))
                .collect(),
            ),
        }),
    }
}

/// Every address but these.
fn world(closed: &[IpNet]) -> Vec<NetworkPolicyPeer> {
    let all = |everything: &str, is_ours: fn(&&IpNet) -> bool| {
        let except: Vec<String> = closed.iter().filter(is_ours).map(|net| net.trunc().to_string()).collect();
        NetworkPolicyPeer {
            ip_block: Some(IPBlock {
                cidr: everything.to_owned(),
                except: (!except.is_empty()).then_some(except),
            }),
            ..Default::default()
        }
    };
    vec![all("0.0.0.0/0", |net| matches!(net, IpNet::V4(_))), all("::/0", |net| matches!(net, IpNet::V6(_)))]
}

/// The way to our provisioner where it is no Pod.
fn sentry_rule(url: &str) -> Option<NetworkPolicyEgressRule> {
    let ports = vec![port("TCP", address_of(url)?.port().into())];
    Some(NetworkPolicyEgressRule { to: Some(vec![control_plane(url)?]), ports: Some(ports) })
}

/// Where we run when we are no Pods: gateway and web terminal come from where the sentries find us.
fn control_plane(url: &str) -> Option<NetworkPolicyPeer> {
    let cidr = IpNet::from(address_of(url)?.ip()).to_string();
    Some(NetworkPolicyPeer { ip_block: Some(IPBlock { cidr, except: None }), ..Default::default() })
}

/// Our own Pods of one kind, in whatever namespace the system runs.
fn pods_of(component: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: Some(labelled(&[(LABEL_NAME, NAME), (LABEL_COMPONENT, component)])),
        ..Default::default()
    }
}

fn labelled(labels: &[(&str, &str)]) -> LabelSelector {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    LabelSelector { match_labels: Some(labels.collect()), ..Default::default() }
}

fn port(protocol: &str, number: i32) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        ..Default::default()
    }
}

/// `http://host:port`, when the host is an address.
fn address_of(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::kube_pod::testing::settings;
    use serde_json::json;

    #[test]
    fn environments_reach_the_world_and_our_provisioner_but_no_pod_and_no_apiserver() {
        let apiservers = ["198.51.100.7".parse().unwrap()];
        let policy = serde_json::to_value(network_policy(&settings(), &apiservers)).unwrap();
        let spec = &policy["spec"];
        assert_eq!(spec["podSelector"]["matchLabels"], json!({"app": "dev-env"}));
        let from = &spec["ingress"][0]["from"];
        assert_eq!(from[0]["ipBlock"], json!({"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}));
        assert_eq!(from[1]["ipBlock"], json!({"cidr": "::/0"}));
        let inner = json!({"port": 2022, "protocol": "TCP"});
        let world = spec["ingress"][0]["ports"].as_array().unwrap();
        assert!(!world.contains(&inner), "the inner door is not for the world");
        let ours = &spec["ingress"][1];
        assert!(ours["ports"].as_array().unwrap().contains(&inner));
        let component = |peer: &serde_json::Value| {
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"].as_str().map(str::to_owned)
        };
        let from: Vec<_> = ours["from"].as_array().unwrap().iter().filter_map(component).collect();
        assert_eq!(from, ["gateway", "api"]);
        let ours_alone = json!("portreeve");
        for peer in &ours["from"].as_array().unwrap()[..2] {
            assert_eq!(peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"], ours_alone);
        }
        assert_eq!(ours["from"][2]["ipBlock"], json!({"cidr": "10.0.0.1/32"}), "where we are no Pods");
        let to = &spec["egress"][2]["to"];
        let closed = json!(["10.244.0.0/16", "169.254.0.0/16", "198.51.100.7/32"]);
        assert_eq!(to[0]["ipBlock"]["except"], closed);
        assert_eq!(to[1]["ipBlock"]["except"], json!(["fe80::/10"]));
        let control = &spec["egress"][3];
        assert_eq!(control["to"][0]["ipBlock"], json!({"cidr": "10.0.0.1/32"}));
        assert_eq!(control["ports"], json!([{"port": 8082, "protocol": "TCP"}]));
    }

    #[test]
    fn the_host_of_a_url_may_be_a_name() {
        assert_eq!(address_of("http://[2001:db8::1]:80"), Some("[2001:db8::1]:80".parse().unwrap()));
        assert!(sentry_rule("http://provisioner.portreeve.svc:8082").is_none());
    }
}
