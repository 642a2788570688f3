//! What does the engine get told about one environment? The body of the create call, and its labels.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, DeviceRequest, HostConfig, PortBinding, ResourcesUlimits};
use data_encoding::HEXLOWER;
use events::Milli;
use events::env::PortPurpose;
use events::ids::{EnvId, TenantId};
use kit::sentry_protocol::{ENV_CONTROL_URL, ENV_ID, ENV_TOKEN};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::capabilities::CAPABILITIES;
use crate::compute::Spec;
use crate::containers::Settings;

pub const LABEL_INSTANCE: &str = "portreeve.instance";
pub const LABEL_ENV: &str = "portreeve.env";
pub const LABEL_TENANT: &str = "portreeve.tenant";
/// Digest of everything the container was made from.
pub const LABEL_SPEC: &str = "portreeve.spec";

/// Where the sentry's socket is, inside.
const SOCKET_DIR: &str = "/run/portreeve";
const SOCKET_URL: &str = "unix:/run/portreeve/sentry.sock";
/// Processes and threads of one environment.
const PIDS_MAX: i64 = 2048;
/// Open files that a process may have without asking for more.
const FILES_SOFT: i64 = 1024;
/// The sentry ends sessions and sends its last reports in this time; then it is killed.
const STOP_GRACE_S: i64 = 10;
const GIB: u64 = 1 << 30;

/// The named volumes of an environment: the person's files, and the sentry's own state.
pub fn volume_names(env: &EnvId) -> [String; 2] {
    [format!("portreeve-{env}-code"), format!("portreeve-{env}-state")]
}

pub fn labels(instance: &str, tenant: &TenantId, env: &EnvId) -> HashMap<String, String> {
    HashMap::from([
        (LABEL_INSTANCE.to_owned(), instance.to_owned()),
        (LABEL_TENANT.to_owned(), tenant.to_string()),
        (LABEL_ENV.to_owned(), env.to_string()),
    ])
}

/// Equal digests mean that a container made before can be started as it is.
pub fn digest(spec: &Spec, settings: &Settings) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    };
    add(&spec.image);
    add(&format!("{:?}", spec.resources));
    for published in &spec.ports {
        add(&format!("{}:{}->{}", settings.bind_host, published.port, inside(published.purpose)));
    }
    add(&settings.sentry_socket_dir.to_string_lossy());
    add(spec.token.expose_secret());
    let mut text = HEXLOWER.encode(&hash.finalize());
    text.truncate(16);
    text
}

/// The body of the create call.
pub fn body(spec: &Spec, settings: &Settings) -> ContainerCreateBody {
    let mut labels = labels(&settings.instance, &spec.tenant, &spec.env);
    labels.insert(LABEL_SPEC.to_owned(), digest(spec, settings));
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        hostname: Some(spec.env.to_string()),
        env: Some(vec![
            format!("{ENV_CONTROL_URL}={SOCKET_URL}"),
            format!("{ENV_ID}={}", spec.env),
            format!("{ENV_TOKEN}={}", spec.token.expose_secret()),
        ]),
        labels: Some(labels),
        exposed_ports: Some(
            spec.ports.iter().map(|published| inside(published.purpose).to_owned()).collect(),
        ),
        stop_timeout: Some(STOP_GRACE_S),
        host_config: Some(host_config(spec, settings)),
        ..Default::default()
    }
}

fn inside(purpose: PortPurpose) -> &'static str {
    match purpose {
        PortPurpose::Ssh => "22/tcp",
        PortPurpose::Jupyter => "8888/tcp",
    }
}

fn host_config(spec: &Spec, settings: &Settings) -> HostConfig {
    let machine = settings.machine_limits;
    let [code, state] = volume_names(&spec.env);
    let bindings = spec.ports.iter().map(|published| {
        let binding = PortBinding {
            // an empty address means every address, also where Podman does not take 0.0.0.0
            host_ip: Some(match settings.bind_host.is_unspecified() {
                true => String::new(),
                false => settings.bind_host.to_string(),
            }),
            host_port: Some(published.port.to_string()),
        };
        (inside(published.purpose).to_owned(), Some(vec![binding]))
    });
    let limit = |name: &str, soft, hard| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(soft),
        hard: Some(hard),
    };
    HostConfig {
        // zero means that nothing was asked for, so nothing is limited
        memory: quantity(spec.resources.memory, GIB),
        nano_cpus: quantity(spec.resources.cpu, 1_000_000_000),
        device_requests: (spec.resources.gpu > 0).then(|| {
            vec![DeviceRequest {
                count: Some(spec.resources.gpu.into()),
                capabilities: Some(vec![vec!["gpu".to_owned()]]),
                ..Default::default()
            }]
        }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        pids_limit: Some(PIDS_MAX),
        // without a word about them Podman asks for more than a small machine allows
        ulimits: Some(vec![
            limit("nofile", FILES_SOFT.min(machine.files), machine.files),
            limit("nproc", machine.processes, machine.processes),
        ]),
        binds: Some(vec![
            format!("{code}:/gemini/code"),
            format!("{state}:/var/lib/portreeve"),
            format!("{}:{SOCKET_DIR}:ro", settings.sentry_socket_dir.display()),
        ]),
        port_bindings: Some(bindings.collect()),
        ..Default::default()
    }
}

/// `per_unit` base units each; `None` for zero.
fn quantity(milli: Milli, per_unit: u64) -> Option<i64> {
    let exact = u128::from(milli.thousandths()) * u128::from(per_unit) / 1000;
    i64::try_from(exact).ok().filter(|amount| *amount > 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::compute::Published;
    use crate::machine_limits::MachineLimits;
    use events::Resources;

    fn spec(port: u16) -> Spec {
        Spec {
            resources: Resources {
                cpu: Milli::from_thousandths(500),
                memory: Milli::from_thousandths(250),
                ..Resources::default()
            },
            ports: vec![Published { purpose: PortPurpose::Ssh, port }],
            ..crate::testing::spec()
        }
    }

    fn settings() -> Settings {
        Settings {
            host: None,
            instance: "here".into(),
            bind_host: "127.0.0.1".parse().unwrap(),
            sentry_socket_dir: "/srv/sentry".into(),
            machine_limits: MachineLimits { files: 20_000, processes: 32_768 },
        }
    }

    #[test]
    fn another_port_makes_another_container_and_the_same_port_the_same() {
        assert_eq!(digest(&spec(30000), &settings()), digest(&spec(30000), &settings()));
        assert_ne!(digest(&spec(30000), &settings()), digest(&spec(30001), &settings()));
    }

    #[test]
    fn limits_are_what_was_asked_for_and_labels_hold_no_secret() {
        let body = body(&spec(30000), &settings());
        let host = body.host_config.unwrap();
        assert_eq!((host.nano_cpus, host.memory), (Some(500_000_000), Some(268_435_456)));
        assert!(host.binds.unwrap().contains(&"/srv/sentry:/run/portreeve:ro".to_owned()));
        assert!(body.labels.unwrap().values().all(|value| !value.contains("hidden")));
        assert_eq!(quantity(Milli::default(), GIB), None);
    }
}
