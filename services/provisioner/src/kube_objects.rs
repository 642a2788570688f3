//! Which objects of the cluster is one environment? Its volumes, its token, its Pod's keeper, its door.
//!
//! Everything derives from the environment's id, so two who make it make the same. The password and
//! the keys are in none of them: the sentry fetches what it enforces and keeps it on its own volume.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use events::env::PortPurpose;
use events::ids::{EnvId, TenantId};
use events::{Milli, Resources};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, Secret, Service, ServicePort, ServiceSpec,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::compute::{Published, Spec};
use crate::kube_pod;
use crate::kube_settings::{Exposure, Settings};

pub const LABEL_APP: &str = "app";
pub const APP: &str = "dev-env";
pub const LABEL_ENV: &str = "env-id";
pub const LABEL_INSTANCE: &str = "portreeve.dev/instance";
pub const LABEL_TENANT: &str = "portreeve.dev/tenant";
/// A claim with this label is a dataset; the label's value is its name.
pub const LABEL_DATASET: &str = "portreeve.dev/dataset";
/// The tenant's exact id; the label is [`tenant_label`].
pub const ANNOTATION_TENANT: &str = "portreeve.dev/tenant";
/// Digest of what the Pod was made from.
pub const ANNOTATION_SPEC: &str = "portreeve.dev/spec";
/// Key of the sentry's token in the Secret.
pub const TOKEN_KEY: &str = "token";

const GIB: u128 = 1 << 30;

/// The person's files with the sentry's own state, and what the person's programs put out.
pub fn claim_names(env: &EnvId) -> [String; 2] {
    [format!("code-{env}"), format!("output-{env}")]
}

/// A StatefulSet of one names its Pod so.
pub fn pod_name(env: &EnvId) -> String {
    format!("{env}-0")
}

/// What everything that is ours is found by.
pub fn selector(instance: &str) -> String {
    format!("{LABEL_APP}={APP},{LABEL_INSTANCE}={instance}")
}

/// A label must end with a letter or a digit.
pub fn tenant_label(tenant: &TenantId) -> &str {
    tenant.as_str().trim_end_matches(['-', '_'])
}

pub fn metadata(name: &str, tenant: &TenantId, env: &EnvId, settings: &Settings) -> ObjectMeta {
    let labels = [
        (LABEL_APP, APP),
        (LABEL_ENV, env.as_str()),
        (LABEL_INSTANCE, &settings.instance),
        (LABEL_TENANT, tenant_label(tenant)),
    ];
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(settings.namespace.clone()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        annotations: Some([(ANNOTATION_TENANT.to_owned(), tenant.to_string())].into()),
        ..Default::default()
    }
}

/// The two volumes, which outlive every stop. The size asked for is that of the person's files.
pub fn claims(
    tenant: &TenantId,
    env: &EnvId,
    resources: &Resources,
    settings: &Settings,
) -> [PersistentVolumeClaim; 2] {
    let [code, output] = claim_names(env);
    let asked = resources.storage;
    let code_gib = if asked == Milli::default() { settings.code_gib } else { asked };
    [(code, code_gib), (output, settings.output_gib)].map(|(name, size)| PersistentVolumeClaim {
        metadata: metadata(&name, tenant, env, settings),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: settings.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), gib(size))].into()),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// Keeps one Pod, or none. Made with none: it starts when all that it needs is there.
pub fn stateful_set(spec: &Spec, dataset_claims: &[(String, String)], settings: &Settings) -> StatefulSet {
    let mut metadata = metadata(spec.env.as_str(), &spec.tenant, &spec.env, settings);
    let template = kube_pod::template(spec, dataset_claims, settings);
    let digest = digest(&template, spec);
    metadata.annotations.get_or_insert_default().insert(ANNOTATION_SPEC.to_owned(), digest);
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(0),
            selector: LabelSelector {
                match_labels: Some([(LABEL_ENV.to_owned(), spec.env.to_string())].into()),
                ..Default::default()
            },
            service_name: Some(spec.env.to_string()),
            // one Pod has no order to keep, and none to wait for
            pod_management_policy: Some("Parallel".to_owned()),
            revision_history_limit: Some(1),
            template,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Equal digests mean that the Pod need not be made anew. Ports are not in it: they are the Service's.
fn digest(template: &impl serde::Serialize, spec: &Spec) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(template).unwrap_or_default());
    hash.update(spec.token.expose_secret());
    let mut text = HEXLOWER.encode(&hash.finalize());
    text.truncate(16);
    text
}

/// Goes with its owner. The owner waits for it when it is deleted in the foreground.
fn owned_by(mut metadata: ObjectMeta, uid: &str) -> ObjectMeta {
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "StatefulSet".to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: uid.to_owned(),
        block_owner_deletion: Some(true),
        ..Default::default()
    }]);
    metadata
}

/// The bearer token of this environment's sentry, and nothing else.
pub fn secret(spec: &Spec, owner: &str, settings: &Settings) -> Secret {
    let token = ByteString(spec.token.expose_secret().as_bytes().to_vec());
    Secret {
        metadata: owned_by(metadata(spec.env.as_str(), &spec.tenant, &spec.env, settings), owner),
        data: Some([(TOKEN_KEY.to_owned(), token)].into()),
        // the kubelets need not watch it; another token makes another StatefulSet and another Secret
        immutable: Some(true),
        ..Default::default()
    }
}

pub fn service(spec: &Spec, owner: &str, settings: &Settings) -> Service {
    let mut metadata = owned_by(metadata(spec.env.as_str(), &spec.tenant, &spec.env, settings), owner);
    // an environment without a port of its own has nothing to show outside
    let exposure = if spec.ports.is_empty() { Exposure::GatewayOnly } else { settings.exposure };
    if exposure == Exposure::LoadBalancer {
        metadata.annotations.get_or_insert_default().extend(settings.load_balancer_annotations.clone());
    }
    let outside = exposure != Exposure::GatewayOnly;
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(
                match exposure {
                    Exposure::NodePort => "NodePort",
                    Exposure::GatewayOnly => "ClusterIP",
                    Exposure::LoadBalancer => "LoadBalancer",
                }
                .to_owned(),
            ),
            selector: Some([(LABEL_ENV.to_owned(), spec.env.to_string())].into()),
            ports: Some(service_ports(spec, exposure)),
            // The sentry sees who comes: locks and allow-lists are about the client's own address.
            external_traffic_policy: outside.then(|| "Local".to_owned()),
            // A load balancer leads to our port by itself; node ports are few.
            allocate_load_balancer_node_ports: (exposure == Exposure::LoadBalancer).then_some(false),
            // The sentry says when it opens, not the probe: the way to it is there before, and a
            // probe that is late on a busy node does not cut sessions off.
            publish_not_ready_addresses: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn service_ports(spec: &Spec, exposure: Exposure) -> Vec<ServicePort> {
    let port = |purpose: PortPurpose, published: Option<u16>| ServicePort {
        name: Some(purpose.name().to_owned()),
        protocol: Some("TCP".to_owned()),
        port: match (exposure, published) {
            (Exposure::LoadBalancer, Some(port)) => port.into(),
            (Exposure::NodePort | Exposure::GatewayOnly | Exposure::LoadBalancer, _) => {
                kube_pod::inside(purpose)
            }
        },
        target_port: Some(IntOrString::Int(kube_pod::inside(purpose))),
        node_port: published.filter(|_| exposure == Exposure::NodePort).map(i32::from),
        ..Default::default()
    };
    if exposure == Exposure::GatewayOnly {
        return vec![port(PortPurpose::Ssh, None)];
    }
    spec.ports.iter().map(|Published { purpose, port: number }| port(*purpose, Some(*number))).collect()
}

/// The environment's ports in the order of the Service's, for its apiserver's complaints.
pub fn published(spec: &Spec) -> Vec<u16> {
    spec.ports.iter().map(|published| published.port).collect()
}

/// Whole GiB are written as such, for those who read it.
pub fn gib(amount: Milli) -> Quantity {
    let thousandths = amount.thousandths();
    Quantity(match thousandths % 1000 {
        0 => format!("{}Gi", thousandths / 1000),
        _ => (u128::from(thousandths) * GIB / 1000).to_string(),
    })
}

/// The environment, by its label.
pub fn env_of(metadata: &ObjectMeta) -> Option<EnvId> {
    EnvId::parse(metadata.labels.as_ref()?.get(LABEL_ENV)?.as_str()).ok()
}

pub fn tenant_of(metadata: &ObjectMeta) -> Option<TenantId> {
    let named = |of: &Option<BTreeMap<String, String>>, key| of.as_ref()?.get(key).cloned();
    let tenant = named(&metadata.annotations, ANNOTATION_TENANT);
    TenantId::parse(tenant.or_else(|| named(&metadata.labels, LABEL_TENANT))?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::kube_pod::testing::settings;
    use crate::testing::spec;
    use serde_json::{Value, json};

    fn shown(object: impl serde::Serialize) -> Value {
        serde_json::to_value(object).unwrap()
    }

    #[test]
    fn volumes_have_the_size_asked_for_and_outlive_the_rest() {
        let (spec, settings) = (spec(), settings());
        let asked = Resources { storage: Milli::from_thousandths(1500), ..spec.resources };
        let [code, output] = claims(&spec.tenant, &spec.env, &asked, &settings).map(shown);
        assert_eq!(code["metadata"]["name"], format!("code-{}", spec.env));
        assert_eq!(code["spec"]["resources"]["requests"]["storage"], "1610612736");
        assert_eq!(output["spec"]["resources"]["requests"]["storage"], "5Gi");
        assert_eq!(code["metadata"]["ownerReferences"], Value::Null);
        let [code, _] = claims(&spec.tenant, &spec.env, &Resources::default(), &settings).map(shown);
        assert_eq!(code["spec"]["resources"]["requests"]["storage"], "10Gi", "what is usual here");
    }

    #[test]
    fn the_secret_holds_the_token_alone_and_nothing_else_holds_it() {
        let (spec, settings) = (spec(), settings());
        let secret = shown(secret(&spec, "uid-1", &settings));
        assert_eq!(secret["data"], json!({"token": "aGlkZGVu"}));
        let set = shown(stateful_set(&spec, &[], &settings)).to_string();
        assert!(!set.contains("hidden") && !set.contains("aGlkZGVu"), "{set}");
        assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], "uid-1");
    }

    #[test]
    fn the_door_is_a_port_of_the_pool_or_none() {
        let (spec, mut settings) = (spec(), settings());
        let door = shown(service(&spec, "u", &settings));
        assert_eq!(door["spec"]["type"], "NodePort");
        assert_eq!(door["spec"]["externalTrafficPolicy"], "Local");
        let ports = &door["spec"]["ports"];
        assert_eq!((&ports[0]["nodePort"], &ports[0]["targetPort"]), (&json!(30000), &json!(22)));
        assert_eq!((&ports[1]["nodePort"], &ports[1]["targetPort"]), (&json!(30001), &json!(8888)));

        settings.exposure = Exposure::LoadBalancer;
        let door = shown(service(&spec, "u", &settings));
        assert_eq!(
            (&door["spec"]["type"], &door["spec"]["ports"][0]["port"]),
            (&json!("LoadBalancer"), &json!(30000))
        );
        assert_eq!(door["spec"]["allocateLoadBalancerNodePorts"], false);
        assert_eq!(door["metadata"]["annotations"]["lb/shared"], "yes");

        settings.exposure = Exposure::GatewayOnly;
        let door = shown(service(&spec, "u", &settings));
        assert_eq!(
            (&door["spec"]["type"], &door["spec"]["ports"][0]["port"]),
            (&json!("ClusterIP"), &json!(22))
        );
        assert_eq!(door["spec"]["externalTrafficPolicy"], Value::Null);
        settings.exposure = Exposure::NodePort;
        let none = Spec { ports: vec![], ..spec };
        assert_eq!(shown(service(&none, "u", &settings))["spec"]["type"], "ClusterIP");
    }

    #[test]
    fn another_image_makes_another_pod_and_another_port_does_not() {
        let (one, settings) = (spec(), settings());
        let digest = |spec: &Spec, settings: &Settings| {
            shown(stateful_set(spec, &[], settings))["metadata"]["annotations"][ANNOTATION_SPEC].clone()
        };
        let mut other = one.clone();
        other.ports[0].port = 30007;
        assert_eq!(digest(&one, &settings), digest(&other, &settings));
        other.image = "two".into();
        assert_ne!(digest(&one, &settings), digest(&other, &settings));
        let token = Spec { token: "another".into(), ..one.clone() };
        assert_ne!(digest(&one, &settings), digest(&token, &settings));
        let elsewhere = Settings { sentry_url: "http://elsewhere:1".into(), ..settings.clone() };
        assert_ne!(digest(&one, &settings), digest(&one, &elsewhere));
    }

    #[test]
    fn what_is_ours_is_found_again_by_its_labels() {
        let (mut spec, settings) = (spec(), settings());
        spec.tenant = TenantId::parse("acme-").unwrap();
        let set = stateful_set(&spec, &[], &settings);
        assert_eq!(set.metadata.labels.as_ref().unwrap()[LABEL_TENANT], "acme", "a label ends well");
        assert_eq!((env_of(&set.metadata), tenant_of(&set.metadata)), (Some(spec.env), Some(spec.tenant)));
        assert_eq!(set.spec.unwrap().replicas, Some(0), "it is started when all is there");
        assert_eq!(selector("here"), "app=dev-env,portreeve.dev/instance=here");
    }
}
