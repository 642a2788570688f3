//! What is an environment's Pod told? Its container, what it may do, where its folders lie, how it is probed.

use std::collections::BTreeMap;

use events::Milli;
use events::env::PortPurpose;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecretKeySelector, SecurityContext, TCPSocketAction, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kit::sentry_protocol::{ENV_CONTROL_URL, ENV_ID, ENV_TOKEN, JUPYTER_PORT};

use crate::capabilities::CAPABILITIES;
use crate::compute::Spec;
use crate::kube_objects::{TOKEN_KEY, claim_names, gib, metadata};
use crate::kube_settings::{Kept, Settings};

/// The one container.
pub const CONTAINER: &str = "env";
/// The sentry ends sessions and sends its last reports within eight seconds.
const END_GRACE_S: i64 = 15;
/// Where the sentry says whether port 22 accepts.
const HEALTH_PORT: i32 = 8022;
const HEALTH_PATH: &str = "/healthz";
/// How often is asked whether it has started; the time to ready depends on it.
const STARTUP_PERIOD_S: i32 = 1;
/// Longer than any deadline of a start: who waits for the control plane is not helped by a new start.
const STARTUP_TRIES_MAX: i32 = 600;
const READINESS_PERIOD_S: i32 = 5;
const LIVENESS_PERIOD_S: i32 = 20;
/// A busy node answers late.
const PROBE_ANSWER_S: i32 = 3;
const PROBE_TRIES_MAX: i32 = 6;

/// The port inside.
pub fn inside(purpose: PortPurpose) -> i32 {
    match purpose {
        PortPurpose::Ssh => 22,
        PortPurpose::Jupyter => JUPYTER_PORT.into(),
    }
}

/// `dataset_claims`: name of the dataset, name of its claim.
pub fn template(spec: &Spec, dataset_claims: &[(String, String)], settings: &Settings) -> PodTemplateSpec {
    let labels = metadata(spec.env.as_str(), &spec.tenant, &spec.env, settings);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: labels.labels,
            annotations: labels.annotations,
            ..Default::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container(spec, dataset_claims, settings)],
            volumes: Some(volumes(spec, dataset_claims)),
            restart_policy: Some("Always".to_owned()),
            termination_grace_period_seconds: Some(END_GRACE_S),
            // Nobody inside speaks to the apiserver.
            automount_service_account_token: Some(false),
            // Nobody inside needs to know which Services there are.
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                // What container runtimes refuse by default stays refused.
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..Default::default()
                }),
                // No fsGroup: the sentry gives the folders to the account itself, and host keys that
                // a group may read are refused by sshd.
                ..Default::default()
            }),
            node_selector: (!settings.node_selector.is_empty()).then(|| settings.node_selector.clone()),
            priority_class_name: settings.priority_class.clone(),
            image_pull_secrets: settings
                .image_pull_secret
                .as_ref()
                .map(|name| vec![LocalObjectReference { name: name.clone() }]),
            ..Default::default()
        }),
    }
}

fn container(spec: &Spec, dataset_claims: &[(String, String)], settings: &Settings) -> Container {
    let plain = |name: &str, value: &str| EnvVar {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..Default::default()
    };
    let token = EnvVar {
        name: ENV_TOKEN.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: spec.env.to_string(),
                key: TOKEN_KEY.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let port = |name: &str, container_port| ContainerPort {
        name: Some(name.to_owned()),
        container_port,
        protocol: Some("TCP".to_owned()),
        ..Default::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(spec.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        env: Some(vec![
            plain(ENV_CONTROL_URL, &settings.sentry_url),
            plain(ENV_ID, spec.env.as_str()),
            token,
        ]),
        ports: Some(vec![
            port(PortPurpose::Ssh.name(), inside(PortPurpose::Ssh)),
            port(PortPurpose::Jupyter.name(), inside(PortPurpose::Jupyter)),
            port("health", HEALTH_PORT),
        ]),
        resources: Some(resources(spec, settings.kept)),
        security_context: Some(security()),
        volume_mounts: Some(mounts(dataset_claims)),
        startup_probe: Some(asked(STARTUP_PERIOD_S, STARTUP_TRIES_MAX)),
        readiness_probe: Some(asked(READINESS_PERIOD_S, PROBE_TRIES_MAX)),
        // Whether it lives at all: a sentry that takes nobody in, for want of room for its reports,
        // has sessions that a restart would end. Port 22 is never probed: that is a connection to
        // count and to log.
        liveness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction { port: IntOrString::Int(HEALTH_PORT), ..Default::default() }),
            ..probe(LIVENESS_PERIOD_S, PROBE_TRIES_MAX)
        }),
        ..Default::default()
    }
}

/// As strict as sshd with logins allows.
fn security() -> SecurityContext {
    SecurityContext {
        // sudo is a program with the set-user bit: without this it is an ordinary one
        allow_privilege_escalation: Some(true),
        // root in the container, but none of the node's devices and none of its kernel's settings
        privileged: Some(false),
        // the first process starts one sshd a connection, each of which becomes the account
        run_as_user: Some(0),
        run_as_non_root: Some(false),
        // people install packages; what must last is on the volumes
        read_only_root_filesystem: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        }),
        ..Default::default()
    }
}

fn probe(period_s: i32, tries_max: i32) -> Probe {
    Probe {
        period_seconds: Some(period_s),
        failure_threshold: Some(tries_max),
        timeout_seconds: Some(PROBE_ANSWER_S),
        ..Default::default()
    }
}

fn asked(period_s: i32, tries_max: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(HEALTH_PATH.to_owned()),
            port: IntOrString::Int(HEALTH_PORT),
            ..Default::default()
        }),
        ..probe(period_s, tries_max)
    }
}

/// What is asked for is the limit; of it, so much as is kept is reserved. Zero means that nothing was
/// asked for. A device cannot be shared.
fn resources(spec: &Spec, kept: Kept) -> ResourceRequirements {
    let asked = &spec.resources;
    let amounts = |cpu: Milli, memory: Milli| {
        let mut amounts = BTreeMap::new();
        if cpu.thousandths() > 0 {
            amounts.insert("cpu".to_owned(), Quantity(format!("{}m", cpu.thousandths())));
        }
        if memory.thousandths() > 0 {
            amounts.insert("memory".to_owned(), gib(memory));
        }
        if asked.gpu > 0 {
            amounts.insert("nvidia.com/gpu".to_owned(), Quantity(asked.gpu.to_string()));
        }
        (!amounts.is_empty()).then_some(amounts)
    };
    let cpu = part_of(asked.cpu, kept.cpu_percent);
    let memory = part_of(asked.memory, kept.memory_percent);
    ResourceRequirements {
        requests: amounts(cpu, memory),
        limits: amounts(asked.cpu, asked.memory),
        ..Default::default()
    }
}

/// Rounded up: of something, nothing is never reserved, for that would mean all of it.
fn part_of(asked: Milli, percent: u8) -> Milli {
    let (thousandths, percent) = (asked.thousandths(), u64::from(percent.min(100)));
    let whole = thousandths / 100 * percent;
    Milli::from_thousandths(whole + (thousandths % 100 * percent).div_ceil(100))
}

fn volumes(spec: &Spec, dataset_claims: &[(String, String)]) -> Vec<Volume> {
    let volume = |name: &str, claim: &str, read_only: bool| Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: read_only.then_some(true),
        }),
        ..Default::default()
    };
    let [code, output] = claim_names(&spec.env);
    let datasets = dataset_claims.iter().map(|(name, claim)| volume(&dataset_volume(name), claim, true));
    [volume("code", &code, false), volume("output", &output, false)].into_iter().chain(datasets).collect()
}

fn mounts(dataset_claims: &[(String, String)]) -> Vec<VolumeMount> {
    // folders of the volumes, not their roots: two have one volume, and a disk's own folders stay out of sight
    let mount = |volume: &str, sub: &str, path: &str| VolumeMount {
        name: volume.to_owned(),
        sub_path: Some(sub.to_owned()),
        mount_path: path.to_owned(),
        ..Default::default()
    };
    let datasets = dataset_claims.iter().map(|(name, _)| VolumeMount {
        name: dataset_volume(name),
        mount_path: format!("/gemini/data-{name}"),
        read_only: Some(true),
        ..Default::default()
    });
    let own = [
        mount("code", "code", "/gemini/code"),
        mount("code", "state", "/var/lib/portreeve"),
        mount("output", "output", "/gemini/output"),
    ];
    own.into_iter().chain(datasets).collect()
}

fn dataset_volume(name: &str) -> String {
    format!("data-{name}")
}

#[cfg(test)]
pub mod testing {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::kube_settings::{Access, Exposure};

    pub fn settings() -> Settings {
        Settings {
            access: Access::InCluster,
            namespace: "envs".into(),
            instance: "here".into(),
            exposure: Exposure::NodePort,
            sentry_url: "http://10.0.0.1:8082".into(),
            storage_class: None,
            code_gib: Milli::from_thousandths(10_000),
            output_gib: Milli::from_thousandths(5_000),
            node_selector: [("disk".to_owned(), "fast".to_owned())].into(),
            priority_class: Some("people".into()),
            image_pull_secret: Some("registry".into()),
            kept: Kept::ALL,
            load_balancer_annotations: [("lb/shared".to_owned(), "yes".to_owned())].into(),
            pod_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::testing::settings;
    use super::*;
    use crate::testing::spec;
    use serde_json::{Value, json};

    fn pod(dataset_claims: &[(String, String)]) -> Value {
        serde_json::to_value(template(&spec(), dataset_claims, &settings())).unwrap()["spec"].clone()
    }

    #[test]
    fn what_was_asked_for_is_reserved_and_is_the_limit() {
        let asked = json!({"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": "1"});
        let resources = &pod(&[])["containers"][0]["resources"];
        assert_eq!((&resources["requests"], &resources["limits"]), (&asked, &asked));
        let nothing = Spec { resources: Default::default(), ..spec() };
        assert_eq!(resources_of(&nothing), json!({}));
    }

    fn resources_of(spec: &Spec) -> Value {
        serde_json::to_value(resources(spec, Kept::ALL)).unwrap()
    }

    #[test]
    fn of_what_is_shared_a_part_is_reserved_and_the_limit_is_what_was_asked_for() {
        let shared = Kept { cpu_percent: 10, memory_percent: 25 };
        let resources = serde_json::to_value(resources(&spec(), shared)).unwrap();
        assert_eq!(resources["limits"], json!({"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": "1"}));
        assert_eq!(
            resources["requests"],
            json!({"cpu": "50m", "memory": "536870912", "nvidia.com/gpu": "1"}),
            "a device is not shared"
        );
        let least =
            |thousandths, percent| part_of(Milli::from_thousandths(thousandths), percent).thousandths();
        assert_eq!([least(100, 1), least(1, 1), least(0, 1), least(150, 33)], [1, 1, 0, 50]);
    }

    #[test]
    fn it_may_do_no_more_than_logging_in_needs() {
        let pod = pod(&[]);
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for absent in ["hostNetwork", "hostPID", "hostIPC", "serviceAccountName"] {
            assert_eq!(pod[absent], Value::Null, "{absent}");
        }
        let security = &pod["containers"][0]["securityContext"];
        assert_eq!(
            (&security["privileged"], &security["capabilities"]["drop"]),
            (&json!(false), &json!(["ALL"]))
        );
        assert_eq!(security["capabilities"]["add"].as_array().unwrap().len(), CAPABILITIES.len());
    }

    #[test]
    fn the_health_port_is_probed_and_port_22_never() {
        let container = pod(&[])["containers"][0].clone();
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            let probe = &container[probe];
            let port = [&probe["httpGet"]["port"], &probe["tcpSocket"]["port"]];
            assert!(port.contains(&&json!(HEALTH_PORT)), "{probe}");
        }
        assert_eq!(container["env"][2]["valueFrom"]["secretKeyRef"]["key"], "token");
    }

    #[test]
    fn datasets_are_there_to_be_read() {
        let pod = pod(&[("imagenet".to_owned(), "some-claim".to_owned())]);
        let volume = &pod["volumes"][2];
        assert_eq!(volume["persistentVolumeClaim"], json!({"claimName": "some-claim", "readOnly": true}));
        let mount = &pod["containers"][0]["volumeMounts"][3];
        assert_eq!(
            mount,
            &json!({"name": "data-imagenet", "mountPath": "/gemini/data-imagenet", "readOnly": true})
        );
        assert_eq!(pod["nodeSelector"], json!({"disk": "fast"}));
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    }
}
