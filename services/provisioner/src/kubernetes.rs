//! How are environments Pods of a cluster? A StatefulSet of one each, beside two volumes, a token and a door.
//!
//! What is known comes from watches (`kube_watch.rs`); requests are for changes: six for a create.
//! The StatefulSet is created, not applied: its name is the guard against another provisioner at work
//! on the same environment, and an apply would take back the number of Pods that a start has set.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::Resources;
use events::env::Phase;
use events::ids::{EnvId, TenantId};
use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use kit::health::Health;
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::compute::{Compute, ComputeError, Ending, File, Listed, Notice, Seen, Spec, Weight};
use crate::kube_answers::refused;
use crate::kube_datasets;
use crate::kube_objects::{self, ANNOTATION_SPEC, claim_names, env_of, pod_name, tenant_of};
use crate::kube_reasons::{is_ready, pods_wanted, seen, trouble};
use crate::kube_requests::{ConnectError, Requests};
use crate::kube_settings::Settings;
use crate::kube_watch::{self, Watched, Watching};

/// Finding, removing and making again races with nobody for longer than this.
const ENSURE_TRIES_MAX: usize = 3;
/// A Pod that was told to end is gone within its own grace and this; a node that is silent keeps it.
const POD_GONE_MAX: Duration = Duration::from_secs(45);
/// A Pod comes before its volumes when they take longer than this: it is told then what they wait for.
const BOUND_MAX: Duration = Duration::from_secs(10);
/// What was deleted is gone within this, garbage collection and unmounting included.
const GONE_MAX: Duration = Duration::from_secs(60);
/// The first lists are there within this, or the cluster does not answer.
const FILLED_MAX: Duration = Duration::from_secs(20);
/// Pause before the namespace is tried again.
const PREPARE_AGAIN: Duration = Duration::from_secs(2);

pub struct Kubernetes {
    settings: Settings,
    requests: Requests,
    watched: Arc<Watched>,
    /// What was applied for which StatefulSet, so that a start that is looked at again asks for nothing.
    owned: Mutex<HashMap<EnvId, (String, u64)>>,
}

/// What runs beside an engine: the namespace is made ready, then watched.
pub struct Keeping {
    engine: Arc<Kubernetes>,
    watching: Watching,
}

/// Asks nothing of the cluster yet.
pub async fn connect(
    settings: Settings,
    health: &Health,
) -> Result<(Arc<Kubernetes>, Keeping), ConnectError> {
    let requests = Requests::new(&settings).await?;
    requests.register(health);
    if settings.pod_cidrs.is_empty() {
        tracing::warn!(
            "the addresses of Pods are not named (--kube-pod-cidrs): a network that does not tell Pods from \
             other addresses lets environments reach each other's port 22"
        );
    }
    let (watched, watching) = kube_watch::open(requests.client(), &settings);
    let engine = Arc::new(Kubernetes { settings, requests, watched, owned: Mutex::default() });
    Ok((Arc::clone(&engine), Keeping { engine, watching }))
}

impl Keeping {
    /// Does not end.
    pub async fn run(self) {
        let engine = &self.engine;
        while let Err(error) = engine.requests.prepare(&engine.settings).await {
            let error = kit::error::chain(&error);
            tracing::warn!(error, "the namespace of environments cannot be made ready: trying again");
            tokio::time::sleep(PREPARE_AGAIN).await;
        }
        self.watching.run().await;
    }
}

impl Kubernetes {
    async fn ensure_storage(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        resources: &Resources,
    ) -> Result<(), ComputeError> {
        if self.watched.claims(env).len() == claim_names(env).len() {
            return Ok(());
        }
        let claims = kube_objects::claims(tenant, env, resources, &self.settings);
        let make = claims.iter().map(|claim| async {
            match self.requests.apply("apply_claim", claim).await {
                Ok(_) => Ok(()),
                // made to another size before: it keeps that
                Err(error) if error.is_invalid() || error.is_forbidden() => {
                    let claims = self.requests.api::<PersistentVolumeClaim>();
                    let there = self.requests.ask("get_claim", claims.get(&claim.name_any())).await;
                    there.map(drop).map_err(|_| refused(Phase::Volume, error))
                }
                Err(error) => Err(refused(Phase::Volume, error)),
            }
        });
        future::try_join_all(make).await.map(drop)
    }

    async fn ensure(&self, spec: &Spec) -> Result<String, ComputeError> {
        let datasets = kube_datasets::claims(&self.requests, spec).await?;
        let set = kube_objects::stateful_set(spec, &datasets, &self.settings);
        let wanted = set.annotations().get(ANNOTATION_SPEC);
        for _ in 0..ENSURE_TRIES_MAX {
            let there = self.find_or_make(&spec.env, &set).await?;
            let same = there.annotations().get(ANNOTATION_SPEC) == wanted;
            match there.uid() {
                Some(uid) if same && there.metadata.deletion_timestamp.is_none() => {
                    self.ensure_owned(spec, &uid).await?;
                    return Ok(uid);
                }
                seen => self.remove(&spec.env, seen).await?,
            }
        }
        Err(ComputeError::Busy("its StatefulSet changes all the time".to_owned()))
    }

    async fn find_or_make(&self, env: &EnvId, set: &StatefulSet) -> Result<StatefulSet, ComputeError> {
        if let Some(there) = self.watched.set(env) {
            return Ok((*there).clone());
        }
        match self.requests.create("create_set", set).await {
            Ok(made) => Ok(made),
            Err(error) if error.is_there() => {
                let sets = self.requests.api::<StatefulSet>();
                let there = self.requests.ask("get_set", sets.get(env.as_str())).await;
                there.map_err(|error| match error.is_missing() {
                    true => ComputeError::Busy("its StatefulSet was just removed".to_owned()),
                    false => refused(Phase::Create, error),
                })
            }
            Err(error) => Err(refused(Phase::Create, error)),
        }
    }

    /// What goes with the StatefulSet.
    async fn ensure_owned(&self, spec: &Spec, uid: &str) -> Result<(), ComputeError> {
        let secret = kube_objects::secret(spec, uid, &self.settings);
        let service = kube_objects::service(spec, uid, &self.settings);
        let known = (uid.to_owned(), digest_of(&service));
        if self.owned.lock().unwrap_or_else(PoisonError::into_inner).get(&spec.env) == Some(&known) {
            return Ok(());
        }
        let (secret, service) = tokio::join!(
            self.requests.apply("apply_secret", &secret),
            self.requests.apply("apply_service", &service),
        );
        secret.map_err(|error| refused(Phase::Create, error))?;
        match service {
            Ok(_) => {
                let mut owned = self.owned.lock().unwrap_or_else(PoisonError::into_inner);
                owned.insert(spec.env.clone(), known);
                Ok(())
            }
            Err(error) => Err(match error.node_ports_taken() {
                Some((places, reason)) => {
                    let published = kube_objects::published(spec);
                    let ports = places.iter().filter_map(|place| published.get(*place).copied()).collect();
                    ComputeError::PortsTaken { ports, reason }
                }
                None => refused(Phase::Port, error),
            }),
        }
    }

    /// Sets how many Pods there shall be; `None` when there is no StatefulSet. Answers its generation.
    async fn scale(&self, env: &EnvId, pods: i32, phase: Phase) -> Result<Option<i64>, ComputeError> {
        let replicas = serde_json::json!({"spec": {"replicas": pods}});
        match self.requests.merge::<StatefulSet>("scale_set", env.as_str(), replicas).await {
            Ok(set) => Ok(Some(set.metadata.generation.unwrap_or_default())),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(refused(phase, error)),
        }
    }

    async fn start(&self, env: &EnvId) -> Result<(), ComputeError> {
        if self.watched.set(env).is_some_and(|set| pods_wanted(&set) == 1) {
            return Ok(());
        }
        // The scheduler refuses a Pod whose volumes are not bound, and tries all it has refused again with
        // each volume that is: much work for a cluster where a hundred come at once.
        self.watched.until(BOUND_MAX, |watched| watched.is_ready_for_pod(env)).await;
        match self.scale(env, 1, Phase::Start).await? {
            Some(_) => Ok(()),
            None => Err(ComputeError::Busy("its StatefulSet was just removed".to_owned())),
        }
    }

    /// The next start applies everything again, so a stop and a start repair what was changed by hand.
    fn forget_owned(&self, env: &EnvId) {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner).remove(env);
    }

    async fn stop(&self, env: &EnvId) -> Result<(), ComputeError> {
        self.forget_owned(env);
        if let Some(generation) = self.scale(env, 0, Phase::Stop).await? {
            // its keeper has taken note and has no Pod, and neither do we know of one
            let gone = |watched: &Watched| {
                let set = watched.set(env).and_then(|set| set.status.clone());
                let kept = set.is_some_and(|status| {
                    status.replicas > 0 || status.observed_generation.unwrap_or_default() < generation
                });
                !kept && watched.pod(env).is_none()
            };
            self.wait_gone(env, POD_GONE_MAX, "its Pod is still there", gone).await?;
        }
        Ok(())
    }

    async fn wait_gone(
        &self,
        env: &EnvId,
        at_most: Duration,
        what: &str,
        gone: impl Fn(&Watched) -> bool,
    ) -> Result<(), ComputeError> {
        if self.watched.until(at_most, gone).await {
            return Ok(());
        }
        let trouble = self.watched.pod(env).and_then(|pod| trouble(&pod));
        let why = trouble.map(|trouble| format!(": {}", trouble.message)).unwrap_or_default();
        Err(ComputeError::Busy(format!("{what} after {} s{why}", at_most.as_secs())))
    }

    /// The StatefulSet goes last: what it owns is gone when it is. `only`: not one that somebody else
    /// has made meanwhile.
    async fn remove(&self, env: &EnvId, only: Option<String>) -> Result<(), ComputeError> {
        let requests = &self.requests;
        self.forget_owned(env);
        let mut how = DeleteParams::foreground();
        how.preconditions = only.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        let there = requests.delete::<StatefulSet>("delete_set", env.as_str(), how).await?;
        if !there {
            // its own may be left for the garbage collector, which takes its time: the port is needed
            let (secret, service) = tokio::join!(
                requests.delete::<Secret>("delete_secret", env.as_str(), DeleteParams::default()),
                requests.delete::<Service>("delete_service", env.as_str(), DeleteParams::default()),
            );
            secret?;
            service?;
        }
        let gone = |watched: &Watched| watched.set(env).is_none() && watched.pod(env).is_none();
        self.wait_gone(env, GONE_MAX, "its StatefulSet is still there", gone).await
    }

    async fn remove_storage(&self, env: &EnvId) -> Result<(), ComputeError> {
        let names = claim_names(env);
        let deletes = names.iter().map(|name| {
            self.requests.delete::<PersistentVolumeClaim>("delete_claim", name, DeleteParams::default())
        });
        future::try_join_all(deletes).await?;
        let gone = |watched: &Watched| watched.claims(env).is_empty();
        self.wait_gone(env, GONE_MAX, "its volumes are still there", gone).await
    }

    /// What the watches know is enough for "up". Anything else may be an old story of a watch that was
    /// cut off without a word, so the apiserver is asked itself.
    async fn observe(&self, env: &EnvId) -> Result<Seen, ComputeError> {
        let (set, pod) = (self.watched.set(env), self.watched.pod(env));
        if let seen @ Seen::Up = seen(set.as_deref(), pod.as_deref()) {
            return Ok(seen);
        }
        let (sets, pods) = (self.requests.api::<StatefulSet>(), self.requests.api::<Pod>());
        let name = pod_name(env);
        let (set, pod) = tokio::join!(
            self.requests.ask("get_set", sets.get_opt(env.as_str())),
            self.requests.ask("get_pod", pods.get_opt(&name)),
        );
        let unclear = |error| refused(Phase::Run, error);
        Ok(seen(set.map_err(unclear)?.as_ref(), pod.map_err(unclear)?.as_ref()))
    }

    async fn list(&self) -> Result<Vec<Listed>, ComputeError> {
        let silent = |why: String| ComputeError::Unreachable(why.into());
        if tokio::time::timeout(FILLED_MAX, self.watched.filled()).await.is_err() {
            let why = self.watched.broken().unwrap_or_else(|| "nothing was listed yet".to_owned());
            return Err(silent(why));
        }
        if let Some(why) = self.watched.broken() {
            return Err(silent(why));
        }
        let mut listed = BTreeMap::new();
        let sets = self.watched.all_sets();
        let pods = self.watched.all_pods();
        for metadata in sets.iter().map(|set| &set.metadata).chain(pods.iter().map(|pod| &pod.metadata)) {
            let (Some(env), Some(tenant)) = (env_of(metadata), tenant_of(metadata)) else { continue };
            let seen = seen(self.watched.set(&env).as_deref(), self.watched.pod(&env).as_deref());
            let up = seen == Seen::Up;
            listed.entry(env.clone()).or_insert(Listed { env, tenant, up, storage_only: false });
        }
        for claim in self.watched.all_claims() {
            let (Some(env), Some(tenant)) = (env_of(&claim.metadata), tenant_of(&claim.metadata)) else {
                continue;
            };
            listed.entry(env.clone()).or_insert(Listed { env, tenant, up: false, storage_only: true });
        }
        Ok(listed.into_values().collect())
    }
}

/// Equal digests mean that it need not be applied again. The token is that of the StatefulSet.
fn digest_of(service: &Service) -> u64 {
    let mut hash = DefaultHasher::new();
    serde_json::to_string(service).unwrap_or_default().hash(&mut hash);
    hash.finish()
}

/// What a watch tells from now on. A reader who is too slow loses the oldest, and the sweep makes up for it.
fn told<T: Clone + Send + 'static>(receiver: broadcast::Receiver<T>) -> BoxStream<'static, T> {
    let next = |mut receiver: broadcast::Receiver<T>| async move {
        loop {
            match receiver.recv().await {
                Ok(told) => return Some((told, receiver)),
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "what the cluster told came faster than it could be taken in");
                }
                Err(RecvError::Closed) => return None,
            }
        }
    };
    stream::unfold(receiver, next).boxed()
}

impl Compute for Kubernetes {
    fn ensure_storage<'a>(
        &'a self,
        tenant: &'a TenantId,
        env: &'a EnvId,
        resources: &'a Resources,
    ) -> BoxFuture<'a, Result<(), ComputeError>> {
        Self::ensure_storage(self, tenant, env, resources).boxed()
    }

    fn ensure<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Result<String, ComputeError>> {
        Self::ensure(self, spec).boxed()
    }

    fn start<'a>(&'a self, spec: &'a Spec) -> BoxFuture<'a, Result<(), ComputeError>> {
        Self::start(self, &spec.env).boxed()
    }

    /// The grace is the Pod's own.
    fn stop<'a>(&'a self, env: &'a EnvId, _grace: Duration) -> BoxFuture<'a, Result<(), ComputeError>> {
        Self::stop(self, env).boxed()
    }

    fn remove<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<(), ComputeError>> {
        Self::remove(self, env, None).boxed()
    }

    fn remove_storage<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<(), ComputeError>> {
        Self::remove_storage(self, env).boxed()
    }

    fn observe<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<Seen, ComputeError>> {
        Self::observe(self, env).boxed()
    }

    /// Of the Pod that the watches know; they know it before its sentry is said to be ready.
    fn address<'a>(&'a self, env: &'a EnvId) -> BoxFuture<'a, Result<Option<IpAddr>, ComputeError>> {
        let pod = self.watched.pod(env);
        let text = pod.as_ref().and_then(|pod| pod.status.as_ref()?.pod_ip.as_deref());
        future::ready(Ok(text.and_then(|text| text.parse().ok()))).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Listed>, ComputeError>> {
        Self::list(self).boxed()
    }

    /// Nothing: the folders are on a volume that only a Pod can open. The sentry sends its reports in
    /// the Pod's grace; what it could not send because it was killed is lost with its volume.
    fn read_folder<'a>(
        &'a self,
        _env: &'a EnvId,
        _folder: &'a str,
    ) -> BoxFuture<'a, Result<Vec<File>, ComputeError>> {
        future::ready(Ok(Vec::new())).boxed()
    }

    fn endings(&self) -> BoxStream<'_, Result<Ending, ComputeError>> {
        told(self.watched.endings()).map(Ok).boxed()
    }

    fn notices(&self) -> BoxStream<'_, Notice> {
        told(self.watched.notices())
    }

    fn is_coming_up(&self, env: &EnvId) -> bool {
        let (set, pod) = (self.watched.set(env), self.watched.pod(env));
        match seen(set.as_deref(), pod.as_deref()) {
            Seen::ComingUp(progress) => progress.is_none_or(|progress| progress.weight != Weight::Final),
            Seen::Missing | Seen::Down(_) | Seen::Up => false,
        }
    }

    fn lets_through(&self, env: &EnvId) -> bool {
        self.watched.pod(env).is_some_and(|pod| is_ready(&pod))
    }
}
