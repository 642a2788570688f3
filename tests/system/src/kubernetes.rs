//! How does a story take place on a real cluster? In a namespace of its own, through NodePorts on 127.0.0.1.

use std::ops::RangeInclusive;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::kubernetes::{Cluster, namespace, node_ports};
use harness::{Setup, free_ports};
use serde_json::Value;

use crate::world::{Engine, Inhabited, World};

/// A create answers with its password within, in seconds.
const CREATED_AT_MOST_S: u64 = 30;
/// Enough for most stories.
const PORTS: u16 = 12;
/// Kinds that an environment is made of.
const KINDS: &str = "statefulsets,services,secrets,persistentvolumeclaims,pods";

pub struct Kubernetes {
    pub cluster: Cluster,
    pub namespace: String,
    sentry_port: u16,
    /// Every image is missing there.
    registry: harness::registry::EmptyRegistry,
}

impl Kubernetes {
    /// Beside other stories.
    pub async fn join(story: &str) -> anyhow::Result<Self> {
        Self::of(Cluster::attach().await?, story).await
    }

    /// Without any other story, for who takes away parts of the cluster.
    pub async fn alone(story: &str) -> anyhow::Result<Self> {
        Self::of(Cluster::attach_alone().await?, story).await
    }

    async fn of(cluster: Cluster, story: &str) -> anyhow::Result<Self> {
        let registry = harness::registry::EmptyRegistry::start().await?;
        Ok(Self { cluster, namespace: namespace(story), sentry_port: free_ports::one()?, registry })
    }

    /// kubectl in the namespace, which must succeed.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let answer = self.cluster.kubectl(&[&["--namespace", &self.namespace], arguments].concat()).await?;
        ensure!(answer.success, "kubectl {}: {}", arguments.join(" "), answer.stderr.trim());
        Ok(answer.stdout)
    }

    pub async fn get(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        self.cluster.kubectl_json(&["--namespace", &self.namespace, "get", kind, name]).await
    }

    /// `kind/name` of everything with these labels.
    pub async fn labelled(&self, selector: &str) -> anyhow::Result<Vec<String>> {
        let names = self.kubectl(&["get", KINDS, "--selector", selector, "--output", "name"]).await?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// What the sentries dial.
    pub fn sentry_url(&self) -> String {
        self.cluster.sentry_url(self.sentry_port)
    }

    /// Other settings than [`Engine::setup`]'s for one more process on the same cluster.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.cluster.settings(&self.namespace, self.sentry_port)
    }

    /// The process that is number 1 in the environment's Pod, by its id on this machine.
    pub async fn first_process(&self, env_id: &str) -> anyhow::Result<u32> {
        let pod = self.get("pod", &format!("{env_id}-0")).await?;
        let uid = pod["metadata"]["uid"].as_str().context("the Pod has no uid")?.to_owned();
        let own = |pid: u32| {
            let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let first = status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
            first && (cgroup.contains(&uid) || cgroup.contains(&uid.replace('-', "_")))
        };
        let mut found = harness::child::processes();
        found.retain(|process| !process.is("pause") && own(process.pid));
        found.first().map(|process| process.pid).with_context(|| format!("no process of {env_id}'s Pod"))
    }
}

impl Engine for Kubernetes {
    fn setup(&self, ports: RangeInclusive<u16>) -> Setup {
        let settings = self.settings();
        // two people's stories and a cluster on one machine: the password may take longer than 2 s
        let setup = Setup::new(None, ports).with("PORTREEVE_WAIT_S", CREATED_AT_MOST_S);
        settings.iter().fold(setup, |setup, (name, value)| setup.with(name, value))
    }

    /// Services at once: the next run uses their ports. For the rest the cluster takes seconds, and nobody
    /// meets it again.
    fn clean(&self, _instance: &str) {
        let kubectl = |arguments: &[&str]| {
            let mut command = std::process::Command::new(self.cluster.bin().join("kubectl"));
            command.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(arguments);
            let _ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
        };
        kubectl(&["delete", "services", "--all", "--namespace", &self.namespace]);
        kubectl(&["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait=false"]);
    }
}

impl Inhabited for Kubernetes {
    /// kube-proxy hears of an address after the kubelet has said that the Pod is up, on a busy machine.
    const ENTRANCE_AT_MOST: Duration = Duration::from_secs(20);

    fn no_such_image(&self) -> String {
        format!("127.0.0.1:{}/no-such-image:dev", self.registry.port())
    }

    async fn left_of(&self, env_id: &str) -> anyhow::Result<Vec<String>> {
        self.labelled(&format!("env-id={env_id}")).await
    }
}

impl World<Kubernetes> {
    pub async fn on_kubernetes(story: &str) -> anyhow::Result<Self> {
        Self::on(Kubernetes::join(story).await?, node_ports(PORTS)?, |setup| setup).await
    }

    pub async fn alone_on_kubernetes(story: &str) -> anyhow::Result<Self> {
        Self::on(Kubernetes::alone(story).await?, node_ports(PORTS)?, |setup| setup).await
    }
}
