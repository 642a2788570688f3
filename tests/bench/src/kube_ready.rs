//! How soon are a hundred environments ready that are asked for at once on a cluster? From the first
//! request to the last one Ready and told as running, beside `kubectl apply` of the same objects until
//! the last one is Ready, with nothing of ours on the machine.
//!
//! The peer's Pods do the same work: their sentries ask for a policy at the same address and get one.
//! On both sides one watch tells that all are Ready, from the beginning on: `kubectl wait` asks for one
//! object after the other, five a second, and takes 18 s for a hundred that are ready already.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use harness::kubernetes::{Cluster, namespace, node_ports};
use harness::played_control::PlayedControl;
use harness::played_node::PlayedSentry;
use harness::{Api, Installation, Setup, eventually, free_ports};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::Effort;
use crate::kube_scale::{environments, metrics};
use crate::report::{Better, Report, Run};

const ENVIRONMENTS: usize = 100;
/// Before the first round: nothing is warm yet.
const WARM_UP: usize = 4;
/// A round takes minutes.
const ROUNDS_MAX: usize = 3;
/// Ours takes at most so many times theirs.
const GOAL: f64 = 1.1;
const READY_AT_MOST: Duration = Duration::from_secs(900);
const WAIT: &str = "--timeout=900s";
/// Between two looks at how many run.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Of a node, for so many to fit: cpu, memory.
const KEPT_PERCENT: &str = "1,1";
const OURS: &str = "app=dev-env";
/// Of a StatefulSet: its name, and `1` behind it once its Pod is ready.
const READY_LINE: &str = "jsonpath={.metadata.name} {.status.readyReplicas}{\"\\n\"}";
/// Kinds that an environment is made of, as `kubectl apply` shall find them: the Pod's keeper last.
const KINDS: [&str; 4] = ["persistentvolumeclaims", "secrets", "services", "statefulsets"];

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let cluster = Cluster::attach_alone().await?;
    let count = effort.of(ENVIRONMENTS);
    round(&cluster, WARM_UP.min(count)).await?;
    let (mut runs, mut ready, mut requests) = (Vec::new(), Vec::new(), BTreeMap::new());
    for number in 0..effort.rounds.min(ROUNDS_MAX) {
        let told = round(&cluster, count).await?;
        eprintln!("  round {}: ours {:.1} s, theirs {:.1} s", number + 1, told.ours_s, told.theirs_s);
        runs.push(Run { ours: told.ours_s, theirs: told.theirs_s });
        ready.push(told.answered_s);
        requests = told.requests;
    }
    let all: usize = requests.values().sum();
    let report = Report::new(
        "kube_ready_100",
        "s",
        "kubectl apply of the same objects, the peer alone on the cluster",
        (Better::Lower, GOAL),
        runs,
    );
    Ok(report
        .with("environments", count)
        .with("all_answered_s", ready)
        .with("requests_each", all as f64 / count as f64)
        .with("requests", json!(requests)))
}

struct Round {
    ours_s: f64,
    /// When the last request for one was answered.
    answered_s: f64,
    theirs_s: f64,
    /// Ours to the apiserver, by what was done to which kind.
    requests: BTreeMap<String, usize>,
}

/// Ours, then theirs, in one namespace of their own.
async fn round(cluster: &Cluster, count: usize) -> anyhow::Result<Round> {
    let namespace = namespace("ready");
    let sentry_port = free_ports::one()?;
    let setup = Setup::new(None, node_ports(u16::try_from(count)?)?)
        .with("PORTREEVE_KUBE_KEPT_PERCENT", KEPT_PERCENT);
    let settings = cluster.settings(&namespace, sentry_port);
    let setup = settings.iter().fold(setup, |setup, (name, value)| setup.with(name, value));
    let installation = Installation::new(setup)?;
    let result = both(cluster, &namespace, &installation, sentry_port, count).await;
    let removed = remove(cluster, &namespace).await;
    let round = result.with_context(|| harness::child::log_tail(&installation.log()))?;
    removed?;
    Ok(round)
}

async fn both(
    cluster: &Cluster,
    namespace: &str,
    installation: &Installation,
    sentry_port: u16,
    count: usize,
) -> anyhow::Result<Round> {
    let up = installation.up().await?;
    let before = asked(cluster, namespace)?;
    let began = Instant::now();
    let running = async {
        create(up.admin(), count).await?;
        let answered_s = began.elapsed().as_secs_f64();
        until_running(up.admin(), count).await?;
        Ok(answered_s)
    };
    let (answered_s, ()) = tokio::try_join!(running, until_ready(cluster, namespace, count))?;
    let ours_s = began.elapsed().as_secs_f64();
    let mut requests = asked(cluster, namespace)?;
    for (what, number) in before {
        *requests.entry(what).or_default() -= number;
    }
    let (manifests, policy) = copy(cluster, namespace, &cluster.sentry_url(sentry_port)).await?;
    ensure!(up.stop().await?.success(), "portreeve up ends well");
    clear(cluster, namespace).await?;

    let control = PlayedControl::start(sentry_port, policy).await?;
    let began = Instant::now();
    let apply = async {
        let applied =
            cluster.kubectl_within(READY_AT_MOST, &["apply", "--filename", "-"], Some(&manifests)).await?;
        ensure!(applied.success, "kubectl apply: {}", applied.stderr);
        Ok(())
    };
    tokio::try_join!(apply, until_ready(cluster, namespace, count))?;
    let theirs_s = began.elapsed().as_secs_f64();
    let pods = kubectl(cluster, namespace, &["get", "pods", "--selector", OURS, "--output", "name"]).await?;
    ensure!(pods.lines().count() == count, "the peer has {} Pods", pods.lines().count());
    drop(control);
    Ok(Round { ours_s, answered_s, theirs_s, requests })
}

async fn create(api: &Api, count: usize) -> anyhow::Result<()> {
    stream::iter(0..count)
        .map(|number| async move {
            let body = json!({
                "name": format!("tiny-{number}"),
                "resources": {"cpu": 0.1, "memory": 0.125, "storage": 1},
            });
            api.post("/api/environments", &body).await?.expect(202).map(drop)
        })
        .buffer_unordered(count)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}

/// By the provisioner's own count: a list of a hundred, often, is work.
async fn until_running(api: &Api, count: usize) -> anyhow::Result<()> {
    eventually("all are told as running", READY_AT_MOST, || async {
        tokio::time::sleep(LOOK_EVERY).await;
        let metrics = metrics(api).await.map_err(|error| format!("{error:#}"))?;
        let of = |status: &str| environments(&metrics, status);
        if of("running") as usize == count {
            return Ok(());
        }
        Err(format!("{} of {count} run, {} failed", of("running"), of("failed")))
    })
    .await
}

async fn kubectl(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let arguments = [&["--namespace", namespace], arguments].concat();
    let answer = cluster.kubectl_within(READY_AT_MOST, &arguments, None).await?;
    ensure!(answer.success, "kubectl {}: {}", arguments.join(" "), answer.stderr.trim());
    Ok(answer.stdout)
}

/// Until the StatefulSets of so many environments have said that their Pod is ready.
async fn until_ready(cluster: &Cluster, namespace: &str, count: usize) -> anyhow::Result<()> {
    let mut watch = Command::new(cluster.bin().join("kubectl"));
    watch.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["--namespace", namespace]);
    watch.args(["get", "statefulsets", "--selector", OURS, "--watch", "--output", READY_LINE]);
    watch.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut watch = watch.spawn().context("kubectl get --watch")?;
    let mut lines = BufReader::new(watch.stdout.take().context("kubectl has an output")?).lines();
    let mut ready = BTreeSet::new();
    let all = async {
        while ready.len() < count {
            let line = lines.next_line().await?.context("kubectl get --watch has ended")?;
            match line.trim().split_once(' ') {
                Some((name, "1")) => ready.insert(name.to_owned()),
                Some((name, _)) => ready.remove(name),
                None => ready.remove(line.trim()),
            };
        }
        anyhow::Ok(())
    };
    let done = tokio::time::timeout(READY_AT_MOST, all).await;
    done.with_context(|| format!("not {count} of the StatefulSets are ready"))?
}

/// The objects of all environments as somebody would have written them, and one of their policies.
async fn copy(cluster: &Cluster, namespace: &str, sentry_url: &str) -> anyhow::Result<(String, Value)> {
    let mut objects = Vec::new();
    for kind in KINDS {
        let get = ["--namespace", namespace, "get", kind, "--selector", OURS];
        let list = cluster.kubectl_json(&get).await?;
        objects.extend(list["items"].as_array().context("a list")?.iter().cloned());
    }
    objects.iter_mut().for_each(written);
    // one environment after the other, so that the first Pods start while the last are applied
    objects.sort_by_key(|object| object["metadata"]["labels"]["env-id"].to_string());
    let secret = objects.iter().find(|object| object["kind"] == "Secret").context("no Secret")?;
    let policy = PlayedSentry::of_secret(sentry_url, secret, reqwest::Client::new())?.policy().await?;
    Ok((json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string(), policy))
}

/// Without what the cluster added.
fn written(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|name, _| ["name", "namespace", "labels"].contains(&name.as_str()));
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if let Some(spec) = object["spec"].as_object_mut() {
        for name in ["clusterIP", "clusterIPs", "volumeName"] {
            spec.remove(name);
        }
        if kind == "StatefulSet" {
            spec.insert("replicas".to_owned(), json!(1));
        }
    }
}

/// Nothing of the environments is left, on the disk neither; their namespace is.
async fn clear(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    for kinds in ["statefulsets,services,secrets", "persistentvolumeclaims"] {
        let arguments = ["delete", kinds, "--selector", OURS, "--cascade=foreground", WAIT];
        kubectl(cluster, namespace, &arguments).await?;
    }
    let claimed = format!("jsonpath={{range .items[?(@.spec.claimRef.namespace==\"{namespace}\")]}}x{{end}}");
    eventually("their volumes are gone", READY_AT_MOST, || async {
        let volumes = kubectl(cluster, namespace, &["get", "persistentvolumes", "--output", &claimed]).await;
        let volumes = volumes.map_err(|error| format!("{error:#}"))?;
        if volumes.is_empty() { Ok(()) } else { Err(format!("{} volumes", volumes.len())) }
    })
    .await
}

async fn remove(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    clear(cluster, namespace).await?;
    cluster.remove_namespace(namespace).await
}

/// How often we asked for what, in this namespace.
fn asked(cluster: &Cluster, namespace: &str) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut counted = BTreeMap::new();
    for request in cluster.requests()? {
        let (verb, object) = (&request["verb"], &request["objectRef"]);
        if object["namespace"] == namespace && verb != "watch" {
            let what =
                format!("{} {}", verb.as_str().unwrap_or("?"), object["resource"].as_str().unwrap_or("?"));
            *counted.entry(what).or_default() += 1;
        }
    }
    Ok(counted)
}
