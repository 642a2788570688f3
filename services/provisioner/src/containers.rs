//! How are environments containers? Through the Docker Engine API, which Docker and Podman speak.
//!
//! Tried with Podman 4.3: a name in use answers 500 there and 409 with Docker, a port in use is
//! found at start, creating a volume twice answers 201 twice, and states come that Docker does not
//! have: `stopped` for a container that ended and is not cleaned up yet. Of several provisioners that make the
//! same container one succeeds and the other finds it: the name is the guard.

use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummaryStateEnum, EndpointSettings, EventMessage,
    EventMessageTypeEnum, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, EventsOptionsBuilder,
    InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
};
use chrono::Utc;
use events::Resources;
use events::env::Phase;
use events::ids::{EnvId, TenantId};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::{OnceCell, Semaphore};

use crate::bridge;
use crate::compute::{Compute, ComputeError, Ending, File, Listed, Seen, Spec};
use crate::container_body;
use crate::engine_answers::{
    already_so, is_made_already, is_missing, is_name_conflict, is_unchanged, ports_taken, refused,
    unreachable, without_states, words,
};
use crate::machine_limits::MachineLimits;

/// The engine does at most this many things for us at once; it does more of them slower, not faster.
pub const ENGINE_OPERATIONS_MAX: usize = 16;
/// An engine that says nothing for this long does not answer.
const ENGINE_ANSWER_S: u64 = 120;
/// Finding, removing and making again races with nobody for longer than this.
const ENSURE_TRIES_MAX: usize = 3;
/// A container that is made anew gets this long to end.
const REPLACE_GRACE_S: i32 = 10;
/// A folder larger than this is not read.
const FOLDER_BYTES_MAX: usize = 96 << 20;

/// What is the same for every container of this installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `unix:///path` or `tcp://host:port`; `None`: `DOCKER_HOST`, or the engine's usual socket.
    pub host: Option<String>,
    /// The installation's id, a label of everything it makes.
    pub instance: String,
    /// Published ports are bound here.
    pub bind_host: IpAddr,
    /// Mounted read-only at `/run/portreeve`; holds `sentry.sock`.
    pub sentry_socket_dir: PathBuf,
    pub machine_limits: MachineLimits,
}

pub struct Containers {
    settings: Settings,
    client: OnceCell<Docker>,
    operations: Semaphore,
}

/// The container's name.
pub fn container_name(env: &EnvId) -> String {
    format!("portreeve-{env}")
}

impl Containers {
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: OnceCell::new(), operations: Semaphore::new(ENGINE_OPERATIONS_MAX) }
    }

    /// The connection, in the newest version of the API that both sides speak.
    async fn client(&self) -> Result<&Docker, ComputeError> {
        let connect = || async {
            let client = match &self.settings.host {
                Some(host) => Docker::connect_with_host(host),
                None => Docker::connect_with_defaults(),
            };
            let client = client.map_err(unreachable)?.with_timeout(Duration::from_secs(ENGINE_ANSWER_S));
            client.negotiate_version().await.map_err(unreachable)
        };
        self.client.get_or_try_init(connect).await
    }

    async fn create(&self, spec: &Spec) -> Result<String, Error> {
        let Some(client) = self.client.get() else { return Err(Error::RequestTimeoutError) };
        let options = CreateContainerOptionsBuilder::new().name(&container_name(&spec.env)).build();
        let body = container_body::body(spec, &self.settings);
        client.create_container(Some(options), body).await.map(|made| made.id)
    }

    async fn ensure(&self, spec: &Spec) -> Result<String, ComputeError> {
        if !spec.datasets.is_empty() {
            let reason = "this engine has no datasets; Kubernetes has".to_owned();
            return Err(ComputeError::Refused { phase: Phase::Volume, reason });
        }
        let client = self.client().await?;
        let name = container_name(&spec.env);
        let mut last = String::new();
        for _ in 0..ENSURE_TRIES_MAX {
            let error = match self.create(spec).await {
                Ok(id) => return Ok(id),
                Err(error) => error,
            };
            if !is_name_conflict(&error) {
                return Err(refused(Phase::Create, Some(&spec.image), error));
            }
            last = error.to_string();
            let there = match inspect(client, &name).await {
                Ok(there) => there,
                Err(error) if is_missing(&error) => continue, // removed meanwhile
                Err(error) => return Err(refused(Phase::Create, None, error)),
            };
            let labels = there.config.and_then(|config| config.labels).unwrap_or_default();
            let wanted = container_body::digest(spec, &self.settings);
            match there.id {
                Some(id) if labels.get(container_body::LABEL_SPEC) == Some(&wanted) => return Ok(id),
                Some(_) | None => {
                    self.stop(&spec.env, REPLACE_GRACE_S).await?;
                    self.remove(&spec.env).await?;
                }
            }
        }
        Err(ComputeError::Refused { phase: Phase::Create, reason: last })
    }

    async fn stop(&self, env: &EnvId, grace_s: i32) -> Result<(), ComputeError> {
        let options = StopContainerOptionsBuilder::new().t(grace_s).build();
        let stopped = self.client().await?.stop_container(&container_name(env), Some(options)).await;
        already_so(stopped, Phase::Stop)
    }

    async fn remove(&self, env: &EnvId) -> Result<(), ComputeError> {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        let removed = self.client().await?.remove_container(&container_name(env), Some(options)).await;
        already_so(removed, Phase::Delete)
    }

    async fn observe(&self, env: &EnvId) -> Result<Seen, ComputeError> {
        let name = container_name(env);
        match inspect(self.client().await?, &name).await {
            Err(error) if is_missing(&error) => Ok(Seen::Missing),
            Err(error) => Err(refused(Phase::Run, None, error)),
            Ok(seen) => {
                let state = seen.state.unwrap_or_default();
                if state.running == Some(true) {
                    return Ok(Seen::Up);
                }
                let memory = if state.oom_killed == Some(true) { ", out of memory" } else { "" };
                let code = state.exit_code.unwrap_or_default();
                Ok(Seen::Down(format!("its container ended with exit code {code}{memory}")))
            }
        }
    }

    async fn address(&self, env: &EnvId) -> Result<Option<IpAddr>, ComputeError> {
        match inspect(self.client().await?, &container_name(env)).await {
            Ok(seen) => {
                if let Some(gateway) = address_in(&seen, |network| network.gateway.clone()) {
                    bridge::hold_still(gateway).await;
                }
                Ok(address_of(&seen))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(refused(Phase::Ready, None, error)),
        }
    }

    async fn list(&self) -> Result<Vec<Listed>, ComputeError> {
        let label = format!("{}={}", container_body::LABEL_INSTANCE, self.settings.instance);
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = self.client().await?.list_containers(Some(options)).await;
        let listed = listed.or_else(|error| without_states(error, &["State"]));
        let listed = listed.map_err(|error| refused(Phase::Run, None, error))?;
        Ok(listed
            .into_iter()
            .filter_map(|container| {
                let labels = container.labels?;
                let up = container.state == Some(ContainerSummaryStateEnum::RUNNING);
                let (env, tenant) = (label_env(&labels)?, label_tenant(&labels)?);
                Some(Listed { env, tenant, up, storage_only: false })
            })
            .collect())
    }

    async fn read_folder(&self, env: &EnvId, folder: &str) -> Result<Vec<File>, ComputeError> {
        let options = DownloadFromContainerOptionsBuilder::new().path(folder).build();
        let mut archive =
            Box::pin(self.client().await?.download_from_container(&container_name(env), Some(options)));
        let mut bytes = Vec::new();
        while let Some(chunk) = archive.next().await {
            match chunk {
                Ok(chunk) if bytes.len() + chunk.len() > FOLDER_BYTES_MAX => {
                    let reason = format!("{folder} is larger than {FOLDER_BYTES_MAX} bytes");
                    return Err(ComputeError::Refused { phase: Phase::Delete, reason });
                }
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(error) if is_missing(&error) => return Ok(Vec::new()),
                Err(error) => return Err(refused(Phase::Delete, None, error)),
            }
        }
        files_of(&bytes)
            .map_err(|error| ComputeError::Refused { phase: Phase::Delete, reason: error.to_string() })
    }
}

impl Compute for Containers {
    fn ensure_storage<'a>(
        &'a self,
        tenant: &'a TenantId,
        env: &'a EnvId,
        _resources: &'a Resources,
    ) -> BoxFuture<'a, Result<(), ComputeError>> {
        async move {
            let client = self.client().await?;
            let _operation = self.operations.acquire().await;
            for name in container_body::volume_names(env) {
                let labels = container_body::labels(&self.settings.instance, tenant, env);
                let volume =
                    VolumeCreateRequest { name: Some(name), labels: Some(labels), ..Default::default() };
                match client.create_volume(volume).await {
                    Err(error) if !is_made_already(&error) => {
                        return Err(refused(Phase::Volume, None, error));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn ensure<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Result<String, ComputeError>> {
        async move {
            let _operation = self.operations.acquire().await;
            Self::ensure(self, spec).await
        }
        .boxed()
    }

    fn start<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Result<(), ComputeError>> {
        async move {
            let client = self.client().await?;
            let _operation = self.operations.acquire().await;
            let started =
                client.start_container(&container_name(&spec.env), None::<StartContainerOptions>).await;
            match started {
                Ok(()) => Ok(()),
                Err(error) if is_unchanged(&error) => Ok(()),
                Err(error) => Err(match ports_taken(spec, &error) {
                    ports if ports.is_empty() => refused(Phase::Start, Some(&spec.image), error),
                    ports => ComputeError::PortsTaken { ports, reason: words(&error) },
                }),
            }
        }
        .boxed()
    }

    fn stop<'a>(&'a self, env: &'a EnvId, grace: Duration) -> BoxFuture<'a, Result<(), ComputeError>> {
        async move {
            let _operation = self.operations.acquire().await;
            Self::stop(self, env, i32::try_from(grace.as_secs()).unwrap_or(REPLACE_GRACE_S)).await
        }
        .boxed()
    }

    fn remove<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<(), ComputeError>> {
        async move {
            let _operation = self.operations.acquire().await;
            Self::remove(self, env).await
        }
        .boxed()
    }

    fn remove_storage<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<(), ComputeError>> {
        async move {
            let client = self.client().await?;
            let _operation = self.operations.acquire().await;
            for name in container_body::volume_names(env) {
                let options = RemoveVolumeOptionsBuilder::new().force(true).build();
                already_so(client.remove_volume(&name, Some(options)).await, Phase::Delete)?;
            }
            Ok(())
        }
        .boxed()
    }

    fn observe<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<Seen, ComputeError>> {
        Self::observe(self, env).boxed()
    }

    fn address<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<Option<IpAddr>, ComputeError>> {
        Self::address(self, env).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ComputeError>> {
        Self::list(self).boxed()
    }

    fn read_folder<'a>(
        &'a self,
        env: &'a EnvId,
        folder: &'a str,
    ) -> BoxFuture<'a, Result<Vec<File>, ComputeError>> {
        async move {
            let _operation = self.operations.acquire().await;
            Self::read_folder(self, env, folder).await
        }
        .boxed()
    }

    fn endings(&self) -> BoxStream<'_, Result<Ending, ComputeError>> {
        let open = async move {
            let label = format!("{}={}", container_body::LABEL_INSTANCE, self.settings.instance);
            let filters = HashMap::from([("label", vec![label]), ("type", vec!["container".to_owned()])]);
            let options = EventsOptionsBuilder::new().filters(&filters).build();
            let events: BoxStream<'_, Result<Ending, ComputeError>> = match self.client().await {
                Err(error) => stream::iter([Err(error)]).boxed(),
                Ok(client) => client
                    .events(Some(options))
                    .filter_map(|event| async move {
                        match event {
                            Ok(event) => ending(event).map(Ok),
                            Err(error) => Some(Err(refused(Phase::Run, None, error))),
                        }
                    })
                    .boxed(),
            };
            events
        };
        open.into_stream().flatten().boxed()
    }
}

async fn inspect(client: &Docker, name: &str) -> Result<ContainerInspectResponse, Error> {
    let seen = client.inspect_container(name, None::<InspectContainerOptions>).await;
    seen.or_else(|error| without_states(error, &["State", "Status"]))
}

/// On the network it is in, IPv4 before IPv6. Ended containers have none, or an empty text.
fn address_of(seen: &ContainerInspectResponse) -> Option<IpAddr> {
    address_in(seen, |network| network.ip_address.clone())
        .or_else(|| address_in(seen, |network| network.global_ipv6_address.clone()))
}

/// An address that the first of its networks has.
fn address_in(
    seen: &ContainerInspectResponse,
    text: fn(&EndpointSettings) -> Option<String>,
) -> Option<IpAddr> {
    let networks = seen.network_settings.as_ref()?.networks.as_ref()?;
    let mut networks: Vec<_> = networks.iter().collect();
    networks.sort_by_key(|(name, _)| *name);
    networks.into_iter().find_map(|(_, network)| text(network)?.parse().ok())
}

/// The environment, when the event says that its container ended or went away. Why: looking tells.
fn ending(event: EventMessage) -> Option<Ending> {
    let ended = matches!(event.action.as_deref(), Some("die" | "died" | "destroy" | "remove"));
    let container = event.typ == Some(EventMessageTypeEnum::CONTAINER);
    let labels = event.actor.filter(|_| ended && container)?.attributes?;
    Some(Ending { env: label_env(&labels)?, reason: None, seen_at: Utc::now() })
}

fn label_env(labels: &HashMap<String, String>) -> Option<EnvId> {
    EnvId::parse(labels.get(container_body::LABEL_ENV)?.as_str()).ok()
}

fn label_tenant(labels: &HashMap<String, String>) -> Option<TenantId> {
    TenantId::parse(labels.get(container_body::LABEL_TENANT)?.as_str()).ok()
}

fn files_of(archive: &[u8]) -> std::io::Result<Vec<File>> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.file_name().map(|name| name.to_string_lossy().into_owned());
        if let (Some(name), true) = (name, entry.header().entry_type().is_file()) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.push(File { name, bytes });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_address_is_that_of_its_network_and_an_ended_container_has_none() {
        let seen = |text: &str| serde_json::from_str::<ContainerInspectResponse>(text).unwrap();
        let docker = r#"{"NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.3"}}}}"#;
        assert_eq!(address_of(&seen(docker)), Some("172.17.0.3".parse().unwrap()));
        let ended =
            r#"{"NetworkSettings": {"Networks": {"podman": {"IPAddress": "", "GlobalIPv6Address": ""}}}}"#;
        assert_eq!(address_of(&seen(ended)), None);
        let six =
            r#"{"NetworkSettings": {"Networks": {"n": {"IPAddress": "", "GlobalIPv6Address": "fd00::3"}}}}"#;
        assert_eq!(address_of(&seen(six)), Some("fd00::3".parse().unwrap()));
        assert_eq!(address_of(&seen("{}")), None);
    }
}
