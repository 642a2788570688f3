//! What is known of the cluster without asking? Four watches (StatefulSets, Pods, claims, events) keep it,
//! and tell what ended and how far starts have come.
//!
//! A watch that breaks is opened again where it was, or the whole is listed anew; what ended meanwhile is
//! told then. What a watch keeps is cut down to what is looked at.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::ExponentialBuilder;
use chrono::Utc;
use events::ids::EnvId;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{Config, Error, Event as Change, ExponentialBackoff};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{broadcast, watch};

use crate::compute::{Ending, Notice, Progress};
use crate::kube_events::{self, About};
use crate::kube_objects::{claim_names, env_of, pod_name, selector};
use crate::kube_reasons::{farewell, has_failed, is_node_lost, restart, restarts, steps, trouble};
use crate::kube_settings::Settings;
use kit::error::chain;

/// A watch without an end is asked for anew after this, in seconds: a connection that died without a
/// word is noticed by then.
const WATCH_S: u32 = 60;
/// First and longest pause before a broken watch is opened again.
const AGAIN_MIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// So long after its last error a watch counts as open; while it is not, errors come more often.
const BROKEN: Duration = Duration::from_secs(15);
/// Endings and notices kept for a reader who is behind; who is further behind has lost the oldest, and
/// the sweep finds what they were about.
const TOLD_KEPT: usize = 8192;
/// The watch whose words are no objects.
const EVENTS: &str = "events";
/// Different words about one Pod; a Pod that goes on talking is not listened to.
const WORDS_MAX: usize = 128;

/// What the watches know now; cheap to ask.
pub struct Watched {
    namespace: String,
    sets: Store<StatefulSet>,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    /// Rings after each change.
    changed: watch::Sender<u64>,
    endings: broadcast::Sender<Ending>,
    notices: broadcast::Sender<Notice>,
    /// The watches that broke, when and why. One that is open again may have nothing to say for long.
    broken: Mutex<BTreeMap<&'static str, (Instant, String)>>,
    /// A claim has said that its storage class binds it when its Pod is there; all have the same class.
    binds_with_pod: AtomicBool,
    marks: Mutex<HashMap<EnvId, Mark>>,
}

/// What was last seen of a Pod, to tell what is new.
#[derive(Default)]
struct Mark {
    uid: String,
    restarts: i32,
    /// Its end was told.
    ended: bool,
    node_lost: bool,
    /// Why it would be gone, if it were gone now.
    farewell: String,
    /// What was said of it.
    words: Vec<u64>,
    /// Listed since the watch began anew.
    listed: bool,
}

/// The writing ends.
struct Writers {
    sets: Writer<StatefulSet>,
    pods: Writer<Pod>,
    claims: Writer<PersistentVolumeClaim>,
}

/// The watches, before they are opened.
pub struct Watching {
    watched: Arc<Watched>,
    client: Client,
    labels: String,
    writers: Writers,
}

pub fn open(client: Client, settings: &Settings) -> (Arc<Watched>, Watching) {
    let (watched, writers) = Watched::new(&settings.namespace);
    let watched = Arc::new(watched);
    let labels = selector(&settings.instance);
    (Arc::clone(&watched), Watching { watched, client, labels, writers })
}

impl Watching {
    /// Does not end.
    pub async fn run(self) {
        let Self { watched, client, labels, writers: Writers { sets, pods, claims } } = self;
        let namespace = watched.namespace.clone();
        let ours = || Config::default().labels(&labels).timeout(WATCH_S);
        let events = Config::default().fields(kube_events::SELECTOR).timeout(WATCH_S);
        let sets = watcher(Api::namespaced(client.clone(), &namespace), ours()).modify(cut_set).reflect(sets);
        let pods = watcher(Api::namespaced(client.clone(), &namespace), ours()).modify(cut_pod).reflect(pods);
        let claims =
            watcher(Api::namespaced(client.clone(), &namespace), ours()).modify(cut_claim).reflect(claims);
        let events = watcher(Api::<Event>::namespaced(client, &namespace), events);
        tokio::join!(
            watched.follow("statefulsets", sets.boxed(), |_: &Change<StatefulSet>| {}),
            watched.follow("pods", pods.boxed(), |change| watched.pod_changed(change)),
            watched.follow("persistentvolumeclaims", claims.boxed(), |_: &Change<PersistentVolumeClaim>| {}),
            watched.follow(EVENTS, events.boxed(), |change| watched.event_changed(change)),
        );
    }
}

impl Watched {
    fn new(namespace: &str) -> (Self, Writers) {
        let (sets, sets_writer) = store();
        let (pods, pods_writer) = store();
        let (claims, claims_writer) = store();
        let watched = Self {
            namespace: namespace.to_owned(),
            sets,
            pods,
            claims,
            changed: watch::Sender::new(0),
            endings: broadcast::Sender::new(TOLD_KEPT),
            notices: broadcast::Sender::new(TOLD_KEPT),
            broken: Mutex::default(),
            binds_with_pod: AtomicBool::new(false),
            marks: Mutex::default(),
        };
        (watched, Writers { sets: sets_writer, pods: pods_writer, claims: claims_writer })
    }

    async fn follow<K: Send>(
        &self,
        what: &'static str,
        changes: BoxStream<'_, Result<Change<K>, Error>>,
        mut take: impl FnMut(&Change<K>),
    ) {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(AGAIN_MIN)
            .with_max_delay(AGAIN_MAX)
            .with_jitter()
            .without_max_times();
        let mut changes = changes.backoff(ExponentialBackoff::from(pauses)).boxed();
        while let Some(change) = changes.next().await {
            match change {
                Ok(change) => {
                    // the first word of a new list is no answer yet
                    if !matches!(change, Change::Init) {
                        self.note_broken(what, None);
                    }
                    take(&change);
                }
                Err(error) => self.note_broken(what, Some(&error)),
            }
            self.changed.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn note_broken(&self, what: &'static str, error: Option<&Error>) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let before = broken.remove(what);
        match error {
            None => {
                if before.is_some() {
                    tracing::info!(watch = what, "the cluster answers again");
                }
            }
            Some(error) => {
                let why = chain(error);
                if before.is_none_or(|(at, _)| at.elapsed() > BROKEN) {
                    tracing::warn!(watch = what, error = why, "a watch broke off: opening it again");
                }
                broken.insert(what, (Instant::now(), why));
            }
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        match change {
            Change::Init => self.each_mark(|mark| mark.listed = false),
            Change::InitApply(pod) | Change::Apply(pod) => self.pod_seen(pod),
            Change::Delete(pod) => {
                if let Some(env) = env_of(&pod.metadata) {
                    self.pod_gone(&env, Some(farewell(pod)));
                }
            }
            Change::InitDone => {
                let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
                let gone: Vec<EnvId> =
                    marks.iter().filter(|(_, mark)| !mark.listed).map(|(env, _)| env.clone()).collect();
                drop(marks);
                gone.iter().for_each(|env| self.pod_gone(env, None));
            }
        }
    }

    fn each_mark(&self, change: impl FnMut(&mut Mark)) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).values_mut().for_each(change);
    }

    fn pod_seen(&self, pod: &Pod) {
        let Some(env) = env_of(&pod.metadata) else { return };
        let uid = pod.uid().unwrap_or_default();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = marks.entry(env.clone()).or_default();
        let mut ends = Vec::new();
        if mark.uid != uid {
            // the one before went while nobody looked
            if !mark.uid.is_empty() && !mark.ended {
                ends.push(Some(mark.farewell.clone()));
            }
            *mark = Mark { uid, restarts: restarts(pod), ..Mark::default() };
        }
        if restarts(pod) > mark.restarts {
            ends.push(Some(restart(pod)));
        }
        if has_failed(pod) && !mark.ended {
            mark.ended = true;
            ends.push(Some(farewell(pod)));
        }
        // it may still run: whether it counts as lost is for those who look
        if is_node_lost(pod) && !mark.node_lost {
            ends.push(None);
        }
        (mark.restarts, mark.node_lost) = (restarts(pod), is_node_lost(pod));
        (mark.farewell, mark.listed) = (farewell(pod), true);
        let mut words: Vec<Progress> = steps(pod);
        words.extend(trouble(pod));
        words.retain(|word| mark.is_new(word));
        drop(marks);
        ends.into_iter().for_each(|reason| self.tell_end(&env, reason));
        words.into_iter().for_each(|progress| self.tell(&env, progress));
    }

    fn pod_gone(&self, env: &EnvId, why: Option<String>) {
        let mark = self.marks.lock().unwrap_or_else(PoisonError::into_inner).remove(env);
        if let Some(mark) = mark.filter(|mark| !mark.ended) {
            self.tell_end(env, Some(why.unwrap_or(mark.farewell)));
        }
    }

    fn event_changed(&self, change: &Change<Event>) {
        let (Change::Apply(event) | Change::InitApply(event)) = change else { return };
        if event.reason.as_deref() == Some(kube_events::BINDS_WITH_POD) {
            self.binds_with_pod.store(true, Ordering::Relaxed);
        }
        let Some(word) = kube_events::word(event) else { return };
        let worth = match word.about {
            About::Other => true,
            // what is said of a Pod that is gone comes late
            About::Pod => {
                let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
                let mark = marks.get_mut(&word.env).filter(|mark| mark.uid == word.uid);
                mark.is_some_and(|mark| mark.is_new(&word.progress))
            }
        };
        if worth {
            self.tell(&word.env, word.progress);
        }
    }

    fn tell_end(&self, env: &EnvId, reason: Option<String>) {
        // nobody listening is no error
        let _listeners = self.endings.send(Ending { env: env.clone(), reason, seen_at: Utc::now() });
    }

    fn tell(&self, env: &EnvId, progress: Progress) {
        let _listeners = self.notices.send(Notice { env: env.clone(), progress });
    }

    pub fn endings(&self) -> broadcast::Receiver<Ending> {
        self.endings.subscribe()
    }

    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Why what is known of objects may be old; `None` when no watch of them broke lately.
    pub fn broken(&self) -> Option<String> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = broken.iter().find(|(what, (at, _))| **what != EVENTS && at.elapsed() <= BROKEN);
        lately.map(|(what, (_, why))| format!("{what}: {why}"))
    }

    /// Waits until everything was listed once.
    pub async fn filled(&self) {
        let all = async {
            self.sets.wait_until_ready().await?;
            self.pods.wait_until_ready().await?;
            self.claims.wait_until_ready().await
        };
        if all.await.is_err() {
            // the writing ends are gone: nothing will come any more
            std::future::pending().await
        }
    }

    pub fn set(&self, env: &EnvId) -> Option<Arc<StatefulSet>> {
        self.sets.get(&ObjectRef::new(env.as_str()).within(&self.namespace))
    }

    pub fn pod(&self, env: &EnvId) -> Option<Arc<Pod>> {
        self.pods.get(&ObjectRef::new(&pod_name(env)).within(&self.namespace))
    }

    /// The claims of the environment that are there, in the order of their names.
    pub fn claims(&self, env: &EnvId) -> Vec<Arc<PersistentVolumeClaim>> {
        let claim = |name: String| self.claims.get(&ObjectRef::new(&name).within(&self.namespace));
        claim_names(env).into_iter().filter_map(claim).collect()
    }

    /// Its claims are bound, or wait for its Pod to be.
    pub fn is_ready_for_pod(&self, env: &EnvId) -> bool {
        let is_bound = |claim: &Arc<PersistentVolumeClaim>| {
            claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
        };
        let claims = self.claims(env);
        self.binds_with_pod.load(Ordering::Relaxed)
            || claims.len() == claim_names(env).len() && claims.iter().all(is_bound)
    }

    pub fn all_sets(&self) -> Vec<Arc<StatefulSet>> {
        self.sets.state()
    }

    pub fn all_pods(&self) -> Vec<Arc<Pod>> {
        self.pods.state()
    }

    pub fn all_claims(&self) -> Vec<Arc<PersistentVolumeClaim>> {
        self.claims.state()
    }

    /// Waits until it is so; `false` when that takes longer than `at_most`.
    pub async fn until(&self, at_most: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let mut changed = self.changed.subscribe();
        let changes = async {
            self.filled().await;
            while !so(self) {
                if changed.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(at_most, changes).await.unwrap_or(false)
    }
}

impl Mark {
    fn is_new(&mut self, word: &Progress) -> bool {
        let mut hash = DefaultHasher::new();
        (word.code, &word.message).hash(&mut hash);
        let hash = hash.finish();
        let new = self.words.len() < WORDS_MAX && !self.words.contains(&hash);
        if new {
            self.words.push(hash);
        }
        new
    }
}

/// Half of an object is who changed which field.
fn cut_set(set: &mut StatefulSet) {
    set.metadata.managed_fields = None;
    if let Some(spec) = &mut set.spec {
        spec.template = Default::default();
    }
}

fn cut_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.owner_references = None;
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        *spec = k8s_openapi::api::core::v1::PodSpec { node_name, ..Default::default() };
    }
    let containers = pod.status.as_mut().and_then(|status| status.container_statuses.as_mut());
    for container in containers.into_iter().flatten() {
        (container.volume_mounts, container.resources, container.user) = (None, None, None);
    }
}

fn cut_claim(claim: &mut PersistentVolumeClaim) {
    claim.metadata.managed_fields = None;
    claim.spec = None;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::{Value, json};

    const ENV: &str = "env-abcdefghijkl";

    fn pod(uid: &str, restarts: i32, status: Value) -> Pod {
        let mut pod: Pod = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{ENV}-0"), "namespace": "envs", "uid": uid,
                "labels": {"env-id": ENV}, "managedFields": [{}]},
            "spec": {"nodeName": "node1", "containers": [{"name": "env", "image": "i"}]},
            "status": {"containerStatuses": [{"name": "env", "image": "i", "imageID": "", "ready": true,
                "started": true, "restartCount": restarts, "state": {"running": {}},
                "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]},
        }))
        .unwrap();
        if status != Value::Null {
            pod.status = serde_json::from_value(status).unwrap();
        }
        pod
    }

    fn ends(told: &mut broadcast::Receiver<Ending>) -> Vec<Option<String>> {
        std::iter::from_fn(|| told.try_recv().ok()).map(|ending| ending.reason).collect()
    }

    #[test]
    fn what_ended_is_told_once_with_its_reason() {
        let (watched, _writers) = Watched::new("envs");
        let mut told = watched.endings();
        watched.pod_changed(&Change::Apply(pod("a", 0, Value::Null)));
        watched.pod_changed(&Change::Apply(pod("a", 0, Value::Null)));
        assert_eq!(ends(&mut told), []);
        watched.pod_changed(&Change::Apply(pod("a", 1, Value::Null)));
        watched.pod_changed(&Change::Apply(pod("a", 1, Value::Null)));
        assert_eq!(ends(&mut told), [Some("its container ran out of memory (exit code 137)".to_owned())]);
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "full"});
        watched.pod_changed(&Change::Apply(pod("a", 1, evicted.clone())));
        watched.pod_changed(&Change::Delete(pod("a", 1, evicted)));
        assert_eq!(ends(&mut told), [Some("it was evicted from its node: full".to_owned())]);
        watched.pod_changed(&Change::Apply(pod("b", 0, Value::Null)));
        watched.pod_changed(&Change::Delete(pod("b", 0, Value::Null)));
        assert_eq!(ends(&mut told), [Some("its Pod was deleted".to_owned())]);
    }

    #[test]
    fn what_ended_while_a_watch_was_broken_is_told_when_all_is_listed_anew() {
        let (watched, _writers) = Watched::new("envs");
        let mut told = watched.endings();
        let list = |listed: Vec<Pod>| {
            watched.pod_changed(&Change::Init);
            listed.into_iter().for_each(|pod| watched.pod_changed(&Change::InitApply(pod)));
            watched.pod_changed(&Change::InitDone);
        };
        list(vec![pod("a", 2, Value::Null)]);
        assert_eq!(ends(&mut told), [], "what was before us is not news");
        list(vec![pod("a", 2, Value::Null)]);
        assert_eq!(ends(&mut told), []);
        list(vec![pod("b", 0, Value::Null)]);
        assert_eq!(ends(&mut told).len(), 1, "another took its place");
        list(vec![]);
        assert_eq!(ends(&mut told).len(), 1, "it is gone");
        list(vec![]);
        assert_eq!(ends(&mut told), []);
    }

    #[test]
    fn words_on_an_earlier_pod_and_repeated_ones_are_left_out() {
        let (watched, _writers) = Watched::new("envs");
        let mut told = watched.notices();
        let mut codes = || -> Vec<&str> {
            std::iter::from_fn(|| told.try_recv().ok()).map(|notice| notice.progress.code).collect()
        };
        watched.pod_changed(&Change::Apply(pod("b", 0, Value::Null)));
        watched.pod_changed(&Change::Apply(pod("b", 0, Value::Null)));
        assert_eq!(codes(), ["scheduled", "started"]);
        let pulling = |uid: &str| -> Event {
            serde_json::from_value(json!({"metadata": {}, "reason": "Pulling", "type": "Normal",
                "involvedObject": {"kind": "Pod", "name": format!("{ENV}-0"), "uid": uid}}))
            .unwrap()
        };
        for uid in ["a", "b", "b"] {
            watched.event_changed(&Change::Apply(pulling(uid)));
        }
        assert_eq!(codes(), ["pulling"]);
    }

    #[test]
    fn a_pod_comes_when_its_volumes_are_bound_or_wait_for_it() {
        let (watched, mut writers) = Watched::new("envs");
        let env = EnvId::parse(ENV).unwrap();
        let mut claim = |name: &str, phase: &str| {
            let claim = serde_json::from_value(json!({"metadata": {"name": name, "namespace": "envs"},
                "status": {"phase": phase}}));
            writers.claims.apply_watcher_event(&Change::Apply(claim.unwrap()));
        };
        let [code, output] = claim_names(&env);
        claim(&code, "Bound");
        assert!(!watched.is_ready_for_pod(&env), "one of two");
        claim(&output, "Pending");
        assert!(!watched.is_ready_for_pod(&env));
        claim(&output, "Bound");
        assert!(watched.is_ready_for_pod(&env));
        claim(&output, "Pending");
        let waits: Event = serde_json::from_value(json!({"metadata": {}, "type": "Normal",
            "reason": "WaitForFirstConsumer",
            "involvedObject": {"kind": "PersistentVolumeClaim", "name": output}}))
        .unwrap();
        watched.event_changed(&Change::Apply(waits));
        assert!(watched.is_ready_for_pod(&env));
    }

    #[test]
    fn what_nobody_looks_at_is_not_kept() {
        let mut kept = pod("a", 0, Value::Null);
        cut_pod(&mut kept);
        assert_eq!(kept.metadata.managed_fields, None);
        let spec = kept.spec.unwrap();
        assert_eq!((spec.node_name.as_deref(), spec.containers.len()), (Some("node1"), 0));
    }
}
