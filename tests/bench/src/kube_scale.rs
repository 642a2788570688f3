//! What do thousands of environments cost in one cluster? An apiserver without a kubelet, whose Pods a
//! small loop marks ready and whose sentries it plays; memory, events, sweeps and requests at each mark.
//!
//! The figure is the time of a sweep for each environment at the last mark, beside that at the first:
//! what grows faster than the number of environments shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use harness::child::{Process, processes};
use harness::kubernetes::{Cluster, Nodeless, namespace};
use harness::played_node::PlayedNode;
use harness::{Api, Installation, Portreeve, Setup, eventually, free_ports};
use serde_json::{Value, json};

use crate::Effort;
use crate::report::{Better, Report, Run};

pub const NAME: &str = "kube_scale";
/// Environments that are on their way at once.
const LOT: usize = 500;
/// So many environments run at each.
const MARKS: [usize; 4] = [500, 1_000, 2_500, 5_000];
/// Requests for environments under way.
const ASKED_AT_ONCE: usize = 32;
/// From one mark to the next.
const STEP_AT_MOST: Duration = Duration::from_secs(3_600);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Nothing is asked for that long at each mark: what is done then is the price of being there.
const IDLE: Duration = Duration::from_secs(30);
const SWEEP_INTERVAL_S: u64 = 5;
const GOAL: f64 = 1.5;
/// As Linux counts processor time.
const TICKS_A_SECOND: f64 = 100.0;

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let cluster = Nodeless::start().await?;
    let namespace = namespace("scale");
    let sentry_port = free_ports::one()?;
    let setup = Setup::new(None, free_ports::range(1)?)
        .with("PORTREEVE_KUBE_EXPOSURE", "gateway-only")
        .with("PORTREEVE_SWEEP_INTERVAL_S", SWEEP_INTERVAL_S);
    let settings = cluster.settings(&namespace, sentry_port);
    let installation =
        Installation::new(settings.iter().fold(setup, |setup, (name, value)| setup.with(name, value)))?;
    let curve = climb(&cluster, &namespace, &installation, &cluster.sentry_url(sentry_port), effort).await;
    let (curve, restart) = curve.with_context(|| harness::child::log_tail(&installation.log()))?;
    let each = |at: Option<&Mark>| at.map_or(0.0, |mark| mark.sweep_ms / mark.environments as f64);
    let runs = vec![Run { ours: each(curve.last()), theirs: each(curve.first()) }];
    let report = Report::new(
        NAME,
        "ms of a sweep for each environment",
        "the same at the first mark",
        (Better::Lower, GOAL),
        runs,
    );
    Ok(report.with("curve", curve.iter().map(Mark::shown).collect::<Vec<_>>()).with("restart", restart))
}

/// What is seen when so many run.
struct Mark {
    environments: usize,
    /// Since the mark before, until the last one ran.
    took_s: f64,
    environments_a_second: f64,
    events_a_second: f64,
    /// Resident memory by process, MiB.
    memory_mib: BTreeMap<&'static str, f64>,
    /// One comparison of all that should be with all that is.
    sweep_ms: f64,
    sweeps: f64,
    /// Requests to the apiserver for each environment since the mark before.
    requests_each: f64,
    /// Requests to the apiserver while nothing was asked for, a minute, by verb.
    idle_requests: BTreeMap<String, usize>,
    /// Of one processor, while nothing was asked for.
    idle_cpu_percent: f64,
}

impl Mark {
    fn shown(&self) -> Value {
        json!({
            "environments": self.environments, "took_s": self.took_s,
            "environments_a_second": self.environments_a_second, "events_a_second": self.events_a_second,
            "memory_mib": self.memory_mib, "sweep_ms": self.sweep_ms, "sweeps": self.sweeps,
            "requests_each": self.requests_each, "idle_requests": self.idle_requests,
            "idle_cpu_percent": self.idle_cpu_percent,
        })
    }
}

async fn climb(
    cluster: &Cluster,
    namespace: &str,
    installation: &Installation,
    sentry_url: &str,
    effort: Effort,
) -> anyhow::Result<(Vec<Mark>, Value)> {
    let up = installation.up().await?;
    let node = Arc::new(PlayedNode::start(cluster, namespace).await?);
    let _playing = node.play(sentry_url.to_owned());
    let mut curve: Vec<Mark> = Vec::new();
    for mark in MARKS {
        let there = curve.last().map_or(0, |mark| mark.environments);
        let mark = step(cluster, &up, there, effort.of(mark)).await?;
        eprintln!("  {}", mark.shown());
        curve.push(mark);
    }
    let before = requests(cluster)?;
    ensure!(up.stop().await?.success(), "portreeve up ends well");
    let again = installation.up().await?;
    let asked = since(&requests(cluster)?, &before);
    let count = curve.last().map_or(0, |mark| mark.environments);
    until_running(again.admin(), count).await?;
    let restart = json!({
        "ready_after_s": again.ready_after().as_secs_f64(),
        "requests": asked,
        "memory_mib": memory(&again)?,
    });
    eprintln!("  restart: {restart}");
    ensure!(again.stop().await?.success(), "portreeve up ends well");
    Ok((curve, restart))
}

async fn step(cluster: &Cluster, up: &Portreeve, there: usize, count: usize) -> anyhow::Result<Mark> {
    let api = up.admin();
    let (asked, head, began) = (requests(cluster)?, head(api).await?, Instant::now());
    // a create has its deadline, whoever else is asked for
    for lot in (there..count).step_by(LOT) {
        let end = (lot + LOT).min(count);
        create(api, lot..end).await?;
        until_running(api, end).await?;
    }
    let took_s = began.elapsed().as_secs_f64();
    let events = (self::head(api).await? - head) as f64;
    let made = (count - there).max(1) as f64;
    let requests_each = since(&requests(cluster)?, &asked).values().sum::<usize>() as f64 / made;

    let (asked, swept, ticks, began) = (requests(cluster)?, sweeps(api).await?, ticks(up)?, Instant::now());
    tokio::time::sleep(IDLE).await;
    let (swept_then, idle_s) = (sweeps(api).await?, began.elapsed().as_secs_f64());
    let sweeps = swept_then.0 - swept.0;
    Ok(Mark {
        environments: count,
        took_s,
        environments_a_second: made / took_s,
        events_a_second: events / took_s,
        memory_mib: memory(up)?,
        sweep_ms: (swept_then.1 - swept.1) * 1_000.0 / sweeps.max(1.0),
        sweeps,
        requests_each,
        idle_requests: since(&requests(cluster)?, &asked),
        idle_cpu_percent: (self::ticks(up)? - ticks) / TICKS_A_SECOND / idle_s * 100.0,
    })
}

async fn create(api: &Api, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    stream::iter(numbers)
        .map(|number| async move {
            let body = json!({
                "name": format!("env-{number}"), "resources": {"cpu": 0.1, "memory": 0.125, "storage": 1},
            });
            api.post("/api/environments", &body).await?.expect(202).map(drop)
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}

/// By the provisioner's own count: a list of thousands is work.
async fn until_running(api: &Api, count: usize) -> anyhow::Result<()> {
    eventually(&format!("{count} run"), STEP_AT_MOST, || async {
        tokio::time::sleep(LOOK_EVERY).await;
        let metrics = metrics(api).await.map_err(|error| format!("{error:#}"))?;
        let of = |status: &str| environments(&metrics, status);
        if of("running") as usize == count {
            return Ok(());
        }
        Err(format!("{} run, {} are on their way, {} failed", of("running"), of("creating"), of("failed")))
    })
    .await
}

/// How many there are of this status, as the provisioner counts them.
pub fn environments(metrics: &str, status: &str) -> f64 {
    value(metrics, &format!("portreeve_provisioner_environments{{status=\"{status}\"}}"))
}

pub async fn metrics(api: &Api) -> anyhow::Result<String> {
    let answer = api.get("/metrics").await?.expect(200)?;
    Ok(answer.body.as_str().context("metrics are text")?.to_owned())
}

/// Zero where there is none yet.
fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// How many there were, and how many seconds they took.
async fn sweeps(api: &Api) -> anyhow::Result<(f64, f64)> {
    let metrics = metrics(api).await?;
    let of = |what: &str| value(&metrics, &format!("portreeve_provisioner_sweep_seconds_{what}"));
    Ok((of("count"), of("sum")))
}

/// The newest event.
async fn head(api: &Api) -> anyhow::Result<u64> {
    let projections = api.get("/api/projections").await?.expect(200)?;
    projections.body["items"][0]["head"].as_u64().with_context(|| format!("no head: {}", projections.body))
}

/// What we asked the apiserver for, by verb.
fn requests(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut counted = BTreeMap::new();
    for request in cluster.requests()? {
        let verb = request["verb"].as_str().unwrap_or("?").to_owned();
        *counted.entry(verb).or_default() += 1;
    }
    Ok(counted)
}

fn since(now: &BTreeMap<String, usize>, then: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let more = |(verb, count): (&String, &usize)| {
        let more = count - then.get(verb).copied().unwrap_or(0);
        (more > 0).then(|| (verb.clone(), more))
    };
    now.iter().filter_map(more).collect()
}

/// Ours, what it started, and the cluster's.
fn memory(up: &Portreeve) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut found = BTreeMap::from([("portreeve", resident_mib(up.pid())?)]);
    if let Some(child) = up.child("nats-server") {
        found.insert("nats-server", resident_mib(child.pid)?);
    }
    let all = processes();
    let of_the_cluster = |process: &&Process| process.command.contains("/control/");
    for name in ["kube-apiserver", "etcd", "kube-controller-manager"] {
        if let Some(process) = all.iter().filter(of_the_cluster).find(|process| process.is(name)) {
            found.insert(name, resident_mib(process.pid)?);
        }
    }
    Ok(found)
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok((kib / 1_024.0).round())
}

/// Processor time of the product, without its children.
fn ticks(up: &Portreeve) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", up.pid()))?;
    // the name stands in parentheses and may hold anything
    let after_name = stat.rsplit_once(") ").context("stat")?.1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
    Ok(field(11).context("utime")? + field(12).context("stime")?)
}
