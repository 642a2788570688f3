//! How is a cluster reached, and what is the same for all environments in it?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use events::Milli;
use ipnet::IpNet;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

/// Set in every Pod that has a service account.
const IN_CLUSTER: &str = "KUBERNETES_SERVICE_HOST";
/// A connection to the apiserver is made within this time.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Who we are to which apiserver. The file is read once, so a wrong one is found before anything is opened.
#[derive(Debug, Clone)]
pub enum Access {
    Kubeconfig(Box<Kubeconfig>),
    /// The service account of the Pod we run in; its token is read again as it changes.
    InCluster,
}

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("cannot be read as a kubeconfig")]
    Unreadable(#[source] KubeconfigError),
    #[error("no cluster is named: give a kubeconfig, set KUBECONFIG, or run in a Pod with a service account")]
    Nowhere,
    #[error("the kubeconfig names no usable cluster")]
    Kubeconfig(#[source] KubeconfigError),
    #[error("the Pod's service account cannot be used")]
    InCluster(#[source] kube::config::InClusterError),
}

/// How people get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// The port of our pool on every node.
    NodePort,
    /// Through the gateway only; no port of the pool is taken.
    GatewayOnly,
    /// The port of our pool at the address of a load balancer.
    LoadBalancer,
}

/// How much of what an environment may use its node keeps for it alone, in percent; the rest is shared
/// with whoever needs it. 100 promises all of it, less lets more environments onto a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    pub cpu_percent: u8,
    pub memory_percent: u8,
}

impl Kept {
    pub const ALL: Self = Self { cpu_percent: 100, memory_percent: 100 };
}

/// What is the same for every environment of this installation.
#[derive(Debug, Clone)]
pub struct Settings {
    pub access: Access,
    /// One for all environments; made at the start when we may.
    pub namespace: String,
    /// The installation's id, a label of everything it makes.
    pub instance: String,
    pub exposure: Exposure,
    /// What the sentries dial: `http://host:port`.
    pub sentry_url: String,
    /// `None`: the cluster's default.
    pub storage_class: Option<String>,
    /// GiB of an environment that names no size.
    pub code_gib: Milli,
    /// GiB of `/gemini/output`.
    pub output_gib: Milli,
    pub node_selector: BTreeMap<String, String>,
    pub priority_class: Option<String>,
    pub image_pull_secret: Option<String>,
    pub kept: Kept,
    /// Annotations of the Services, for example to share one address.
    pub load_balancer_annotations: BTreeMap<String, String>,
    /// Where Pods have their addresses: closed to environments, in both directions.
    pub pod_cidrs: Vec<IpNet>,
}

impl Access {
    /// The file named; else the one of `KUBECONFIG`, else the Pod's service account, else the usual file.
    pub fn find(named: Option<&Path>) -> Result<Self, AccessError> {
        let read = |path: &Path| Kubeconfig::read_from(path).map_err(AccessError::Unreadable);
        if let Some(path) = named {
            return Ok(Self::Kubeconfig(Box::new(read(path)?)));
        }
        if let Some(found) = Kubeconfig::from_env().map_err(AccessError::Unreadable)? {
            return Ok(Self::Kubeconfig(Box::new(found)));
        }
        if std::env::var_os(IN_CLUSTER).is_some() {
            return Ok(Self::InCluster);
        }
        let usual = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".kube/config"));
        match usual.filter(|path| path.exists()) {
            Some(path) => Ok(Self::Kubeconfig(Box::new(read(&path)?))),
            None => Err(AccessError::Nowhere),
        }
    }

    /// The apiserver as it is written down, for example `https://10.0.0.1:6443`; `None` where nothing
    /// usable is.
    pub fn server(&self) -> Option<String> {
        match self {
            Self::Kubeconfig(file) => {
                let current = file.current_context.as_ref()?;
                let context = file.contexts.iter().find(|context| context.name == *current)?;
                let cluster = &context.context.as_ref()?.cluster;
                let cluster = file.clusters.iter().find(|named| named.name == *cluster)?;
                cluster.cluster.as_ref()?.server.clone()
            }
            Self::InCluster => {
                let host = std::env::var(IN_CLUSTER).ok()?;
                Some(if host.contains(':') { format!("https://[{host}]") } else { format!("https://{host}") })
            }
        }
    }

    pub(crate) async fn config(&self) -> Result<kube::Config, AccessError> {
        let mut config = match self {
            Self::Kubeconfig(file) => {
                let options = KubeConfigOptions::default();
                kube::Config::from_custom_kubeconfig((**file).clone(), &options)
                    .await
                    .map_err(AccessError::Kubeconfig)?
            }
            Self::InCluster => kube::Config::incluster().map_err(AccessError::InCluster)?,
        };
        config.connect_timeout = Some(CONNECT_WAIT);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443'}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
";

    #[tokio::test]
    async fn a_file_that_is_named_is_read_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        assert!(matches!(Access::find(Some(&path)), Err(AccessError::Unreadable(_))), "it is not there");
        std::fs::write(&path, FILE).unwrap();
        let access = Access::find(Some(&path)).unwrap();
        assert_eq!(access.server().as_deref(), Some("https://127.0.0.1:6443"));
        std::fs::write(&path, FILE.replace("current-context: x", "current-context: y")).unwrap();
        let access = Access::find(Some(&path)).unwrap();
        assert_eq!(access.server(), None, "there is no such context");
        assert!(matches!(access.config().await, Err(AccessError::Kubeconfig(_))));
    }
}
