//! Who makes Pods ready where there is no kubelet, and who speaks for their sentries? For tests of scale,
//! and of what may happen between two words of a node.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::Utc;
use data_encoding::BASE64;
use futures_util::StreamExt;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::child::Child;
use crate::eventually::eventually;
use crate::free_ports;
use crate::kubernetes::Cluster;

/// The apiserver answers through kubectl's proxy within.
const PROXY_AT_MOST: Duration = Duration::from_secs(30);
/// The longest a change may take on a busy machine.
const ANSWER_AT_MOST: Duration = Duration::from_secs(60);
/// Longer than the provisioner holds a question about the policy.
const POLICY_AT_MOST: Duration = Duration::from_secs(60);
/// Pods that are made ready at once.
const AT_ONCE: usize = 32;
/// Between two tries of a sentry that nobody answers.
const AGAIN: Duration = Duration::from_millis(500);
/// A watch is asked for anew after, in seconds.
const WATCH_S: u32 = 300;

/// Plays the node of a cluster that has none, for one namespace.
pub struct PlayedNode {
    base: String,
    namespace: String,
    client: Client,
    _proxy: Child,
    _folder: tempfile::TempDir,
}

/// What is known of a container, each with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Runs,
    /// Its startup probe has passed.
    Started,
    Ready,
}

/// What an environment's sentry does until it is ready, and after that.
#[derive(Clone)]
pub struct PlayedSentry {
    url: String,
    token: String,
    client: Client,
}

impl PlayedNode {
    pub async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_ports::one()?;
        let log = folder.path().join("proxy.log");
        let proxy = proxy(cluster, port, &log)?;
        let node = Self {
            base: format!("http://127.0.0.1:{port}"),
            namespace: namespace.to_owned(),
            client: Client::new(),
            _proxy: proxy,
            _folder: folder,
        };
        eventually("the apiserver answers through the proxy", PROXY_AT_MOST, || async {
            node.get("/readyz").await.map(drop).map_err(|error| format!("{error:#}"))
        })
        .await?;
        Ok(node)
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let answer = self.client.get(format!("{}{path}", self.base)).timeout(ANSWER_AT_MOST).send().await?;
        Ok(answer.error_for_status()?.text().await?)
    }

    fn path(&self, kind: &str) -> String {
        format!("/api/v1/namespaces/{}/{kind}", self.namespace)
    }

    /// The Pod of an environment, as soon as it has a place on a node.
    pub async fn placed(&self, env_id: &str, at_most: Duration) -> anyhow::Result<Value> {
        let path = self.path(&format!("pods/{env_id}-0"));
        eventually(&format!("the Pod of {env_id} has a place"), at_most, || async {
            let pod = self.get(&path).await.map_err(|error| format!("{error:#}"))?;
            let pod: Value = serde_json::from_str(&pod).map_err(|error| error.to_string())?;
            if is_placed(&pod) { Ok(pod) } else { Err(pod["status"].to_string()) }
        })
        .await
    }

    /// Says what a kubelet says of a container that runs.
    pub async fn say(&self, pod: &str, word: Word) -> anyhow::Result<()> {
        let (started, ready) = (word != Word::Runs, word == Word::Ready);
        let now = Utc::now().to_rfc3339();
        let condition = |kind: &str, so: bool| json!({"type": kind, "status": if so { "True" } else { "False" }, "lastTransitionTime": now});
        let status = json!({
            "phase": "Running", "startTime": now,
            "conditions": [
                condition("PodScheduled", true), condition("Initialized", true),
                condition("ContainersReady", ready), condition("Ready", ready),
            ],
            "containerStatuses": [{
                "name": "env", "image": "portreeve/env:dev", "imageID": "played", "containerID": "played://1",
                "ready": ready, "started": started, "restartCount": 0,
                "state": {"running": {"startedAt": now}},
            }],
        });
        let url = format!("{}{}", self.base, self.path(&format!("pods/{pod}/status")));
        let request = self.client.request(Method::PATCH, url).timeout(ANSWER_AT_MOST);
        let request = request.header("content-type", "application/merge-patch+json");
        let answer = request.body(json!({"status": status}).to_string()).send().await?;
        ensure!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await?);
        Ok(())
    }

    /// A Pod that shall go is gone: nothing runs that would have to end.
    async fn let_go(&self, pod: &str) -> anyhow::Result<()> {
        let url = format!("{}{}?gracePeriodSeconds=0", self.base, self.path(&format!("pods/{pod}")));
        let answer = self.client.delete(url).timeout(ANSWER_AT_MOST).send().await?;
        ensure!(
            answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND,
            "{}: {}",
            answer.status(),
            answer.text().await?
        );
        Ok(())
    }

    /// The sentry of an environment, with the token that its Secret holds.
    pub async fn sentry(&self, env_id: &str, url: &str) -> anyhow::Result<PlayedSentry> {
        let secret: Value = serde_json::from_str(&self.get(&self.path(&format!("secrets/{env_id}"))).await?)?;
        PlayedSentry::of_secret(url, &secret, self.client.clone())
    }

    /// From now on every Pod that gets a place runs and has a sentry, until the handle is dropped.
    pub fn play(self: Arc<Self>, sentry_url: String) -> Playing {
        Playing(tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(AT_ONCE));
            let known: Arc<Mutex<HashSet<String>>> = Arc::default();
            let mut sentries = JoinSet::new();
            loop {
                let watched = self.watch(&sentry_url, &places, &known, &mut sentries).await;
                if let Err(error) = watched {
                    eprintln!("the played node begins its watch anew: {error:#}");
                }
                tokio::time::sleep(AGAIN).await;
            }
        }))
    }

    async fn watch(
        self: &Arc<Self>,
        sentry_url: &str,
        places: &Arc<Semaphore>,
        known: &Arc<Mutex<HashSet<String>>>,
        sentries: &mut JoinSet<()>,
    ) -> anyhow::Result<()> {
        let question = format!("?watch=true&labelSelector=app%3Ddev-env&timeoutSeconds={WATCH_S}");
        let answer = self.client.get(format!("{}{}{question}", self.base, self.path("pods"))).send().await?;
        let mut chunks = answer.error_for_status()?.bytes_stream();
        let mut rest = Vec::new();
        while let Some(chunk) = chunks.next().await {
            rest.extend_from_slice(&chunk?);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let change: Value = serde_json::from_slice(&line)?;
                ensure!(change["type"] != "ERROR", "{change}");
                self.take(&change["object"], sentry_url, places, known, sentries);
            }
            while sentries.try_join_next().is_some() {}
        }
        Ok(())
    }

    fn take(
        self: &Arc<Self>,
        pod: &Value,
        sentry_url: &str,
        places: &Arc<Semaphore>,
        known: &Arc<Mutex<HashSet<String>>>,
        sentries: &mut JoinSet<()>,
    ) {
        let (Some(name), Some(uid)) = (pod["metadata"]["name"].as_str(), pod["metadata"]["uid"].as_str())
        else {
            return;
        };
        let leaves = pod["metadata"]["deletionTimestamp"].is_string();
        let key = format!("{uid} {leaves}");
        if !(leaves || is_placed(pod)) || !known.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
            return;
        }
        let (node, name, url, places) =
            (Arc::clone(self), name.to_owned(), sentry_url.to_owned(), Arc::clone(places));
        sentries.spawn(async move {
            let Ok(place) = places.acquire_owned().await else { return };
            if leaves {
                if let Err(error) = node.let_go(&name).await {
                    eprintln!("{name} does not go: {error:#}");
                }
                return;
            }
            let env_id = name.trim_end_matches("-0");
            let up = async {
                node.say(&name, Word::Ready).await?;
                node.sentry(env_id, &url).await
            };
            match up.await {
                Ok(sentry) => {
                    drop(place);
                    sentry.serve().await;
                }
                Err(error) => eprintln!("{name} cannot be played: {error:#}"),
            }
        });
    }
}

fn proxy(cluster: &Cluster, port: u16, log: &Path) -> anyhow::Result<Child> {
    Child::start(cluster.bin().join("kubectl"), log, |command| {
        command.arg("--kubeconfig").arg(cluster.kubeconfig()).arg("proxy").arg(format!("--port={port}"));
    })
}

fn is_placed(pod: &Value) -> bool {
    pod["spec"]["nodeName"].is_string() && pod["metadata"]["deletionTimestamp"].is_null()
}

impl PlayedSentry {
    /// With the token that a Secret holds.
    pub fn of_secret(url: &str, secret: &Value, client: Client) -> anyhow::Result<Self> {
        let token = secret["data"]["token"].as_str().context("the Secret holds no token")?;
        let token = String::from_utf8(BASE64.decode(token.as_bytes())?)?;
        Ok(Self { url: url.to_owned(), token, client })
    }

    async fn ask(&self, have: &str) -> anyhow::Result<Option<Value>> {
        let request = self.client.get(format!("{}/v1/policy?have={have}", self.url)).bearer_auth(&self.token);
        let answer = request.timeout(POLICY_AT_MOST).send().await?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(None),
            StatusCode::OK => Ok(Some(answer.json().await?)),
            other => bail!("the policy: {other}"),
        }
    }

    /// The whole policy in force now.
    pub async fn policy(&self) -> anyhow::Result<Value> {
        self.ask("").await?.context("no policy yet")
    }

    /// Says that this version is in force, and waits until that is answered.
    pub async fn applied(&self, version: &str) -> anyhow::Result<()> {
        let request = self.client.post(format!("{}/v1/applied", self.url)).bearer_auth(&self.token);
        let answer = request.json(&json!({"version": version})).timeout(ANSWER_AT_MOST).send().await?;
        ensure!(answer.status() == StatusCode::NO_CONTENT, "applied: {}", answer.status());
        Ok(())
    }

    /// Asks and tells for as long as its environment is there.
    pub async fn serve(self) {
        let mut have = String::new();
        loop {
            let step = async {
                if let Some(policy) = self.ask(&have).await? {
                    policy["version"].as_str().context("a policy has a version")?.clone_into(&mut have);
                    self.applied(&have).await?;
                }
                anyhow::Ok(())
            };
            if let Err(error) = step.await {
                let text = error.to_string();
                if text.contains("404") {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Ends with this value.
pub struct Playing(JoinHandle<()>);

impl Drop for Playing {
    fn drop(&mut self) {
        self.0.abort();
    }
}
