//! How is the apiserver asked? One request at a time has a name, is counted, and has an end.

use std::fmt::Debug;
use std::net::IpAddr;

use events::env::Phase;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kit::health::Health;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::compute::ComputeError;
use crate::kube_answers::{ANSWER_MAX, AskError, refused};
use crate::kube_namespace::{POLICY, namespace, network_policy};
use crate::kube_settings::{AccessError, Settings};

/// Signs every field that is ours.
const MANAGER: &str = "portreeve";

/// The cluster cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the cluster cannot be reached")]
    Access(#[from] AccessError),
    #[error("no client can be made for the cluster")]
    Client(#[source] kube::Error),
}

/// Who the cluster is could not be learnt.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the cluster does not say its version")]
    Compute(#[from] ComputeError),
}

/// The version of the cluster that is named, when it answers.
pub async fn version(settings: &Settings) -> Result<String, VersionError> {
    Ok(Requests::new(settings).await?.version().await?)
}

/// Requests about the objects of our namespace. The client has no limit of its own on requests a
/// second; the apiserver's fairness is the bound.
#[derive(Clone)]
pub struct Requests {
    client: Client,
    namespace: String,
    apiserver: Option<IpAddr>,
    counted: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Requests {
    /// Asks nothing of the cluster yet.
    pub async fn new(settings: &Settings) -> Result<Self, ConnectError> {
        let config = settings.access.config().await?;
        let host = config.cluster_url.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        let client = Client::try_from(config).map_err(ConnectError::Client)?;
        let apiserver = host.and_then(|host| host.parse().ok());
        Ok(Self { client, namespace: settings.namespace.clone(), apiserver, counted: Family::default() })
    }

    pub fn client(&self) -> Client {
        self.client.clone()
    }

    pub fn register(&self, health: &Health) {
        let counted = self.counted.clone();
        health.register(move |registry| {
            registry.register(
                "portreeve_provisioner_kube_requests",
                "Requests to the apiserver by kind, without watches",
                counted,
            );
        });
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One request, counted and within its time.
    pub async fn ask<T>(
        &self,
        what: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, AskError> {
        self.counted.get_or_create(&[("request", what)]).inc();
        match tokio::time::timeout(ANSWER_MAX, request).await {
            Ok(answer) => answer.map_err(AskError::Kube),
            Err(_) => Err(AskError::Silent),
        }
    }

    /// Server-side apply: ours are the fields that we name, whoever set them before.
    pub async fn apply<K>(&self, what: &'static str, object: &K) -> Result<K, AskError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        self.apply_to(what, &self.api(), object).await
    }

    async fn apply_to<K>(&self, what: &'static str, api: &Api<K>, object: &K) -> Result<K, AskError>
    where
        K: Resource + Serialize + DeserializeOwned + Clone + Debug,
    {
        let parameters = PatchParams::apply(MANAGER).force();
        self.ask(what, api.patch(&object.name_any(), &parameters, &Patch::Apply(object))).await
    }

    /// Refused when it is there already.
    pub async fn create<K>(&self, what: &'static str, object: &K) -> Result<K, AskError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        self.ask(what, self.api::<K>().create(&parameters, object)).await
    }

    /// Changes these fields and no others.
    pub async fn merge<K>(
        &self,
        what: &'static str,
        name: &str,
        fields: serde_json::Value,
    ) -> Result<K, AskError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
        self.ask(what, self.api::<K>().patch(name, &parameters, &Patch::Merge(fields))).await
    }

    /// `false` when it was not there.
    pub async fn delete<K>(
        &self,
        what: &'static str,
        name: &str,
        parameters: DeleteParams,
    ) -> Result<bool, ComputeError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + DeserializeOwned + Clone + Debug,
    {
        match self.ask(what, self.api::<K>().delete(name, &parameters)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(refused(Phase::Delete, error)),
        }
    }

    async fn version(&self) -> Result<String, ComputeError> {
        let answer = self.ask("version", self.client.apiserver_version()).await;
        answer.map(|version| version.git_version).map_err(|error| refused(Phase::Run, error))
    }

    /// Where the apiserver answers, as far as we may know: the address we use, and those that the
    /// cluster's own Service leads to.
    async fn apiservers(&self) -> Vec<IpAddr> {
        let slices = Api::<EndpointSlice>::namespaced(self.client.clone(), "default");
        let mut known: Vec<IpAddr> = self.apiserver.into_iter().collect();
        match self.ask("get_apiservers", slices.get("kubernetes")).await {
            Ok(slice) => {
                let addresses = slice.endpoints.into_iter().flat_map(|endpoint| endpoint.addresses);
                known.extend(addresses.filter_map(|address| address.parse::<IpAddr>().ok()));
            }
            Err(error) => tracing::debug!(%error, "the apiserver's addresses are not ours to know"),
        }
        known.sort();
        known.dedup();
        known
    }

    async fn has_policy(&self) -> bool {
        self.ask("get_policy", self.api::<NetworkPolicy>().get(POLICY)).await.is_ok()
    }

    /// The namespace and what surrounds the environments in it. May be repeated.
    pub async fn prepare(&self, settings: &Settings) -> Result<(), ComputeError> {
        let all = Api::<Namespace>::all(self.client.clone());
        match self.apply_to("apply_namespace", &all, &namespace(settings)).await {
            Ok(_) => {}
            // somebody else makes namespaces here: it is there, or the next request says that it is not
            Err(error) if error.is_forbidden() => {}
            Err(error) => return Err(refused(Phase::Create, error)),
        }
        let policy: NetworkPolicy = network_policy(settings, &self.apiservers().await);
        match self.apply("apply_policy", &policy).await {
            Ok(_) => Ok(()),
            // somebody else puts up the walls here, and we cannot move them
            Err(error) if error.is_forbidden() && self.has_policy().await => Ok(()),
            Err(error) if error.is_forbidden() => {
                tracing::warn!(
                    policy = POLICY,
                    "the network policy may not be made here: environments are as open as the namespace is"
                );
                Ok(())
            }
            Err(error) => Err(refused(Phase::Create, error)),
        }
    }
}
