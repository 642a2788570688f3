//! How does a test get a real Kubernetes? It joins the one that `make test-kubernetes` started, asks it
//! with the real kubectl, and can stop and start its parts; what a test leaves behind is removed by its
//! labels and its namespace.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::eventually::eventually;
use crate::programs;

/// The longest one kubectl may take.
const KUBECTL_AT_MOST: Duration = Duration::from_secs(120);
/// The longest a component may take to stop, or to start and answer.
const COMPONENT_AT_MOST: Duration = Duration::from_secs(180);
/// The longest until what was deleted is gone: Pods get their grace period.
const GONE_AT_MOST: Duration = Duration::from_secs(90);

/// NodePorts that tests may give to pools. Kubernetes itself gives away ports from 30086 on, by chance,
/// to Services that name none; no Service here does.
const FIRST_NODE_PORT: u16 = 30_200;
const LAST_NODE_PORT: u16 = 32_499;

static NEXT_NODE_PORT: AtomicU16 = AtomicU16::new(FIRST_NODE_PORT);

/// Where Pods have their addresses, as in tests/harness/kubernetes/settings.sh.
const POD_CIDR: &str = "10.244.0.0/22";

/// The label that every object of an installation carries.
const INSTANCE_LABEL: &str = "portreeve.dev/instance";
/// Kinds that an installation makes in the namespace of its environments; owners first.
const KINDS: &str = "statefulsets,services,secrets,persistentvolumeclaims,pods";

const MISSING: &str = "no Kubernetes to test on: make test-kubernetes starts one and runs these tests (by hand: \
    tests/harness/kubernetes/cluster.sh up && eval \"$(tests/harness/kubernetes/cluster.sh env)\")";

/// The longest until a cluster without a node is up, on a busy machine.
const UP_AT_MOST: Duration = Duration::from_secs(300);

/// A part of the cluster that a test may take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    Etcd,
    Containerd,
    Apiserver,
    ControllerManager,
    Scheduler,
    Kubelet,
    Proxy,
    NetworkPolicies,
}

impl Component {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Containerd => "containerd",
            Self::Apiserver => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
            Self::NetworkPolicies => "network-policies",
        }
    }
}

/// What kubectl said.
#[derive(Debug)]
pub struct Answer {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Tests that take a part of the cluster away wait for all others, and all others for them.
static TURNS: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// Held for as long as a test uses the cluster.
#[derive(Debug)]
enum Turn {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

/// The running cluster; it outlives the test. A test joins it once: joining again may wait for itself.
#[derive(Debug, Clone)]
pub struct Cluster {
    bin: PathBuf,
    state: PathBuf,
    node_ip: String,
    has_node: bool,
    _turn: Option<Arc<Turn>>,
}

impl Cluster {
    /// The cluster that the environment names, when it answers; with all its parts until this is dropped.
    pub async fn attach() -> anyhow::Result<Self> {
        let guard = Arc::clone(&TURNS).read_owned().await;
        Self::answering(Turn::Shared { _guard: guard }).await
    }

    /// Likewise, when no other test of this process uses it: for those who take its parts away.
    pub async fn attach_alone() -> anyhow::Result<Self> {
        let guard = Arc::clone(&TURNS).write_owned().await;
        Self::answering(Turn::Alone { _guard: guard }).await
    }

    async fn answering(turn: Turn) -> anyhow::Result<Self> {
        let named = Self::named(|name| std::env::var(name).ok())?;
        let cluster = Self { _turn: Some(Arc::new(turn)), ..named };
        let answer = cluster.kubectl(&["get", "--raw", "/readyz"]).await.context(MISSING)?;
        ensure!(answer.success, "the cluster does not answer ({}); {MISSING}", answer.stderr.trim());
        Ok(cluster)
    }

    /// By the variables that `cluster.sh env` prints.
    fn named(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let variable = |name: &str| variable(name).with_context(|| format!("{name} is not set: {MISSING}"));
        Ok(Self {
            bin: variable("PORTREEVE_CLUSTER_BIN")?.into(),
            state: variable("PORTREEVE_CLUSTER_STATE")?.into(),
            node_ip: variable("PORTREEVE_CLUSTER_NODE_IP")?,
            has_node: variable("PORTREEVE_CLUSTER")? == "node",
            _turn: None,
        })
    }

    /// The administrator's; for tests themselves.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("admin.kubeconfig")
    }

    /// With the same rights, for the system under test: what it asks for is in [`Self::requests`].
    pub fn product_kubeconfig(&self) -> PathBuf {
        self.state.join("portreeve.kubeconfig")
    }

    /// Where Pods reach this machine, and this machine's own way to NodePorts beside 127.0.0.1.
    pub fn node_ip(&self) -> &str {
        &self.node_ip
    }

    /// The folder of `helm`, `kubectl` and the rest.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        self.kubectl_within(KUBECTL_AT_MOST, arguments, None).await
    }

    /// What `kubectl ... --output json` printed.
    pub async fn kubectl_json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let answer = self.kubectl(&[arguments, &["--output", "json"]].concat()).await?;
        ensure!(answer.success, "kubectl {}: {}", arguments.join(" "), answer.stderr.trim());
        serde_json::from_str(&answer.stdout).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Applies one or more objects, as YAML or JSON.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<()> {
        let apply = ["apply", "--filename", "-"];
        let answer = self.kubectl_within(KUBECTL_AT_MOST, &apply, Some(manifest)).await?;
        ensure!(answer.success, "kubectl apply: {}", answer.stderr.trim());
        Ok(())
    }

    /// With something to read, and for as long as much work may take.
    pub async fn kubectl_within(
        &self,
        at_most: Duration,
        arguments: &[&str],
        input: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let mut command = Command::new(self.bin.join("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        run(command, input, at_most).await.with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Asks it to end, and kills it after 5 s.
    pub async fn stop(&self, component: Component) -> anyhow::Result<()> {
        self.script("stop", component).await
    }

    /// `kill -9`.
    pub async fn kill(&self, component: Component) -> anyhow::Result<()> {
        self.script("kill", component).await
    }

    /// Starts it again and waits until it answers; after the kubelet, until the node is Ready.
    pub async fn start(&self, component: Component) -> anyhow::Result<()> {
        self.script("start", component).await
    }

    async fn script(&self, verb: &str, component: Component) -> anyhow::Result<()> {
        let mut command = Command::new(script());
        command.arg(verb).arg(component.name());
        if !self.has_node {
            command.arg("--no-node");
        }
        let answer = run(command, None, COMPONENT_AT_MOST).await?;
        ensure!(answer.success, "cluster.sh {verb} {}: {}", component.name(), answer.stderr.trim());
        Ok(())
    }

    /// What the system under test is told to use this cluster, one namespace for its environments, and one
    /// port of this machine for their sentries.
    pub fn settings(&self, namespace: &str, sentry_port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("PORTREEVE_COMPUTE", "kubernetes".to_owned()),
            ("PORTREEVE_KUBECONFIG", self.product_kubeconfig().display().to_string()),
            ("PORTREEVE_KUBE_NAMESPACE", namespace.to_owned()),
            ("PORTREEVE_KUBE_POD_CIDRS", POD_CIDR.to_owned()),
            ("PORTREEVE_SENTRY_LISTEN", format!("0.0.0.0:{sentry_port}")),
            ("PORTREEVE_SENTRY_URL", self.sentry_url(sentry_port)),
        ]
    }

    pub fn sentry_url(&self, sentry_port: u16) -> String {
        format!("http://{}:{sentry_port}", self.node_ip)
    }

    /// What the system under test asked the apiserver for, one object a finished request or watch (see
    /// `audit.k8s.io/v1`); from all installations since the cluster's start.
    pub fn requests(&self) -> anyhow::Result<Vec<Value>> {
        let log = std::fs::read_to_string(self.state.join("logs/audit.log")).context("the audit log")?;
        // The last line may still be in writing.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// A node of this name without a kubelet, labelled `played` with its name, as long as it is not found
    /// silent: for some forty seconds.
    pub async fn pretend_node(&self, name: &str) -> anyhow::Result<()> {
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", "played": name}},
        });
        self.apply(&node.to_string()).await?;
        let (now, room) = (chrono::Utc::now(), json!({"cpu": "8", "memory": "16Gi", "pods": "110"}));
        let now = now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let status = json!({"status": {
            "capacity": room, "allocatable": room,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Played", "message": "no kubelet stands behind it",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
        }});
        let patch = ["patch", "node", name, "--subresource=status", "--type=merge", "--patch"];
        let answer = self.kubectl(&[&patch[..], &[&status.to_string()]].concat()).await?;
        ensure!(answer.success, "kubectl patch node: {}", answer.stderr.trim());
        Ok(())
    }

    pub async fn forget_node(&self, name: &str) -> anyhow::Result<()> {
        let answer = self.kubectl(&["delete", "node", name, "--ignore-not-found"]).await?;
        ensure!(answer.success, "kubectl delete node: {}", answer.stderr.trim());
        Ok(())
    }

    /// Removes what an installation made in `namespace`, and the namespace, and waits until all is gone.
    pub async fn remove_leftovers(&self, instance: &str, namespace: &str) -> anyhow::Result<()> {
        let label = format!("{INSTANCE_LABEL}={instance}");
        let removed = ["--namespace", namespace, "--selector", &label, "--ignore-not-found", "--wait=false"];
        let answer = self.kubectl(&[&["delete", KINDS], &removed[..]].concat()).await?;
        ensure!(answer.success, "kubectl delete {KINDS}: {}", answer.stderr.trim());
        self.remove_namespace(namespace).await
    }

    /// Removes a namespace with everything in it, and waits until it is gone.
    pub async fn remove_namespace(&self, namespace: &str) -> anyhow::Result<()> {
        let arguments = ["delete", "namespace", namespace, "--ignore-not-found", "--wait=false"];
        let answer = self.kubectl(&arguments).await?;
        ensure!(answer.success, "kubectl delete namespace: {}", answer.stderr.trim());
        eventually(&format!("the namespace {namespace} is gone"), GONE_AT_MOST, || async {
            let left = self.kubectl(&["get", "namespace", namespace, "--output", "jsonpath={.status}"]).await;
            match left {
                Ok(answer) if !answer.success && answer.stderr.contains("NotFound") => Ok(()),
                Ok(answer) => Err(format!("{}{}", answer.stdout, answer.stderr)),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await
    }
}

/// A second cluster, of one test's own, without a kubelet: its one node takes every Pod and runs none.
/// Ends with this value; after a kill, with the next start.
#[derive(Debug)]
pub struct Nodeless {
    cluster: Cluster,
}

impl Nodeless {
    /// From nothing. Only one can run on a machine.
    pub async fn start() -> anyhow::Result<Self> {
        let answer = nodeless(&["up"]).await?;
        ensure!(answer.success, "cluster.sh --no-node up: {}", answer.stderr.trim());
        let answer = nodeless(&["env"]).await?;
        let variable = |name: &str| {
            let begin = format!("export {name}=");
            answer.stdout.lines().find_map(|line| line.strip_prefix(&begin)).map(str::to_owned)
        };
        Ok(Self { cluster: Cluster::named(variable)? })
    }
}

impl std::ops::Deref for Nodeless {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Drop for Nodeless {
    fn drop(&mut self) {
        let mut command = std::process::Command::new(script());
        command.args(["--no-node", "down", "--wipe"]).env(OWNER, std::process::id().to_string());
        // What is left after a failure the next start ends.
        let _ended = command.stdin(Stdio::null()).status();
    }
}

/// While the process of this id lives nobody else ends its cluster.
const OWNER: &str = "PORTREEVE_CLUSTER_OWNER";

async fn nodeless(arguments: &[&str]) -> anyhow::Result<Answer> {
    let mut command = Command::new(script());
    command.arg("--no-node").args(arguments).env(OWNER, std::process::id().to_string());
    run(command, None, UP_AT_MOST).await
}

fn script() -> PathBuf {
    programs::repository().join("tests/harness/kubernetes/cluster.sh")
}

/// A name for a namespace of a test's own, which nobody else has.
pub fn namespace(test: &str) -> String {
    let word: String =
        test.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    format!("test-{}-{:08x}", word.trim_matches('-'), rand::random::<u32>())
}

/// So many NodePorts in a row, given to no other test of this process.
pub fn node_ports(length: u16) -> anyhow::Result<RangeInclusive<u16>> {
    let first = NEXT_NODE_PORT.fetch_add(length, Ordering::SeqCst);
    match first.checked_add(length - 1) {
        Some(last) if last <= LAST_NODE_PORT => Ok(first..=last),
        _ => bail!("no range of {length} NodePorts is left between {FIRST_NODE_PORT} and {LAST_NODE_PORT}"),
    }
}

async fn run(mut command: Command, input: Option<&str>, at_most: Duration) -> anyhow::Result<Answer> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().context("cannot be started")?;
    let mut stdin = process.stdin.take().context("has no standard input")?;
    let input = input.unwrap_or_default().to_owned();
    // Both at once: it may not read on before somebody reads what it says.
    let talk = async move {
        let write = async move {
            // It may end without having read all; what it says then is the answer.
            let _ended_early = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        tokio::join!(write, process.wait_with_output()).1
    };
    let done = tokio::time::timeout(at_most, talk).await;
    let output = done.with_context(|| format!("not done within {} s", at_most.as_secs()))??;
    Ok(Answer {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
