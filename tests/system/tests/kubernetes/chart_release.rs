//! How is the chart installed in a test, and what is asked of what it made?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::kubernetes::{Cluster, namespace, node_ports};
use harness::{Api, Ssh, eventually};
use serde_json::json;
use system::world::{Created, door};
use tokio::process::Command;

/// From nothing until every part is ready, on a busy machine.
const INSTALLED_AT_MOST: Duration = Duration::from_secs(300);
/// A change asked for is there by then.
pub const DONE_AT_MOST: Duration = Duration::from_secs(90);
/// A create answers with its password within, in seconds.
const CREATED_AT_MOST_S: u64 = 30;
/// For the members of the log, the database and the audit service.
const VOLUMES: usize = 5;
/// As whom the chart's Pods write.
const OWN_UID: u32 = 10_001;
const NAME: &str = "portreeve";

pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

pub fn chart() -> PathBuf {
    harness::programs::repository().join("deploy/helm/portreeve")
}

pub async fn helm(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(cluster.bin().join("helm"));
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(arguments).kill_on_drop(true);
    let done = tokio::time::timeout(INSTALLED_AT_MOST + DONE_AT_MOST, command.output()).await;
    let output = done.context("helm does not end")?.context("helm cannot be started: make kubernetes")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// The templates with the values of a trial, which need no cluster.
pub async fn render(cluster: &Cluster, more: &[&str]) -> anyhow::Result<Output> {
    let (chart, trial) = (chart(), chart().join("trial.yaml"));
    let (chart, trial) = (chart.to_string_lossy(), trial.to_string_lossy());
    let template = ["template", NAME, &chart, "--namespace", NAME, "--values", &trial];
    helm(cluster, &[&template[..], &["--set", "environments.sshHost=127.0.0.1"], more].concat()).await
}

/// An installation of the chart in namespaces of its own.
pub struct Release {
    pub cluster: Cluster,
    pub namespace: String,
    pub environments: String,
    pub api_port: u16,
    pub gateway_port: u16,
    ports: String,
    volumes: Vec<PathBuf>,
    /// Where the cluster's API listens behind its Service: what a NetworkPolicy speaks of.
    kubernetes_port: u64,
}

impl Release {
    pub async fn new() -> anyhow::Result<Self> {
        let cluster = Cluster::attach().await?;
        let namespace = namespace("chart");
        let ports = node_ports(4)?;
        let slices = ["get", "endpointslices", "kubernetes", "--namespace", "default"];
        let slices = cluster.kubectl_json(&slices).await?;
        let mut release = Self {
            environments: format!("{namespace}-envs"),
            api_port: *node_ports(1)?.start(),
            gateway_port: *node_ports(1)?.start(),
            ports: format!("{}-{}", ports.start(), ports.end()),
            volumes: Vec::new(),
            kubernetes_port: slices["ports"][0]["port"].as_u64().context("the port of the cluster's API")?,
            cluster,
            namespace,
        };
        release.make_volumes().await?;
        Ok(release)
    }

    /// The cluster's own volumes belong to root, and no Pod of the chart is root.
    pub async fn make_volumes(&mut self) -> anyhow::Result<()> {
        let folder = self.cluster.kubeconfig().with_file_name("volumes");
        for number in 0..VOLUMES {
            let name = format!("{}-{number}", self.namespace);
            let path = folder.join(&name);
            std::fs::create_dir_all(&path)?;
            std::os::unix::fs::chown(&path, Some(OWN_UID), Some(OWN_UID))?;
            self.volumes.push(path);
            let volume = json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
                "spec": {
                    "capacity": {"storage": "16Gi"}, "accessModes": ["ReadWriteOnce"],
                    "storageClassName": self.namespace, "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": format!("/tmp/hostpath_pv/{name}")},
                },
            });
            self.cluster.apply(&volume.to_string()).await?;
        }
        Ok(())
    }

    /// Installs or upgrades, and waits until everything is ready.
    pub async fn install(&self, more: &[&str]) -> anyhow::Result<()> {
        let chart = chart();
        let (chart, trial) = (chart.to_string_lossy(), chart.join("trial.yaml"));
        let trial = trial.to_string_lossy();
        let timeout = format!("{}s", INSTALLED_AT_MOST.as_secs());
        let upgrade = ["upgrade", "--install", NAME, &chart, "--namespace", &self.namespace];
        let wait = ["--create-namespace", "--wait", "--wait-for-jobs", "--timeout", &timeout];
        let class = &self.namespace;
        let values = [
            "environments.sshHost=127.0.0.1".to_owned(),
            // a busy machine makes the first password later than people are made to wait
            format!("api.waitS={CREATED_AT_MOST_S}"),
            format!("environments.ports={}", self.ports),
            format!("environments.namespace.name={}", self.environments),
            format!("nats.storage.className={class},audit.storage.className={class}"),
            format!("postgres.trial.storage.className={class}"),
            format!("api.service.type=NodePort,api.service.nodePort={}", self.api_port),
            format!("gateway.service.type=NodePort,gateway.service.nodePort={}", self.gateway_port),
            format!("networkPolicy.kubernetesApi.ports={{{}}}", self.kubernetes_port),
        ];
        let mut arguments = [&upgrade[..], &wait[..], &["--values", &trial]].concat();
        for value in &values {
            arguments.extend(["--set", value]);
        }
        arguments.extend(more);
        let installed = helm(&self.cluster, &arguments).await?;
        ensure!(installed.success, "helm upgrade --install: {}", installed.stderr);
        Ok(())
    }

    pub async fn uninstall(&self) -> anyhow::Result<()> {
        let arguments = ["uninstall", NAME, "--namespace", &self.namespace, "--wait", "--ignore-not-found"];
        let removed = helm(&self.cluster, &arguments).await?;
        ensure!(removed.success, "helm uninstall: {}", removed.stderr);
        Ok(())
    }

    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let answer = self.cluster.kubectl(&[&["--namespace", &self.namespace], arguments].concat()).await?;
        ensure!(answer.success, "kubectl {}: {}", arguments.join(" "), answer.stderr);
        Ok(answer.stdout)
    }

    pub async fn admin_token(&self) -> anyhow::Result<String> {
        let token = self.kubectl(&["exec", "deploy/portreeve-api", "--", "portreeve", "admin-token"]).await?;
        Ok(token.trim().to_owned())
    }

    pub async fn secret(&self) -> anyhow::Result<String> {
        self.kubectl(&["get", "secret", "portreeve-secrets", "--output", "jsonpath={.data}"]).await
    }

    pub async fn delete_member(&self, number: usize) -> anyhow::Result<()> {
        let member = format!("portreeve-nats-{number}");
        self.kubectl(&["delete", "pod", &member, "--wait=false"]).await.map(drop)
    }

    /// The provisioner may do what it does, and nobody else anything at all.
    pub async fn expect_rights(&self) -> anyhow::Result<()> {
        let (own, environments) = (self.namespace.as_str(), self.environments.as_str());
        for (part, verb, what, place, expected) in [
            ("provisioner", "create", "statefulsets.apps", environments, "yes"),
            ("provisioner", "patch", "secrets", environments, "yes"),
            ("provisioner", "get", "secrets", environments, "no"),
            ("provisioner", "create", "pods", environments, "no"),
            ("provisioner", "create", "pods/exec", environments, "no"),
            ("provisioner", "patch", "networkpolicies.networking.k8s.io", environments, "no"),
            ("provisioner", "create", "rolebindings.rbac.authorization.k8s.io", environments, "no"),
            ("provisioner", "get", "secrets", own, "no"),
            ("provisioner", "list", "nodes", own, "no"),
            ("api", "list", "pods", environments, "no"),
        ] {
            let who = format!("--as=system:serviceaccount:{own}:portreeve-{part}");
            let question = ["auth", "can-i", verb, what, "--namespace", place, &who];
            let answer = self.cluster.kubectl(&question).await?.stdout;
            ensure!(answer.trim() == expected, "{part}: {verb} {what} in {place}: {answer}");
        }
        let token = ["exec", "deploy/portreeve-api", "--", "ls", "/var/run/secrets/kubernetes.io"];
        let answer = self.kubectl(&token).await;
        ensure!(answer.is_err(), "the API's Pod has a token of the cluster: {answer:?}");
        Ok(())
    }

    /// What an environment reaches of the control plane: its own door to it.
    pub async fn expect_walls(&self, door: &Ssh) -> anyhow::Result<()> {
        let here = &self.namespace;
        let reach = |host: String, port: u16| async move {
            anyhow::Ok(door.run(&format!("nc -z -w 3 {host} {port}")).await?.success)
        };
        ensure!(reach(format!("portreeve-provisioner.{here}.svc"), 8082).await?, "the sentry's way is open");
        for (host, port) in [
            (format!("portreeve-nats-0.portreeve-nats.{here}.svc"), 4222),
            (format!("portreeve-nats-0.portreeve-nats.{here}.svc"), 8222),
            (format!("portreeve-postgres.{here}.svc"), 5432),
            (format!("portreeve-api.{here}.svc"), 80),
            (format!("portreeve-gateway.{here}.svc"), 2222),
            ("kubernetes.default.svc".to_owned(), 443),
        ] {
            ensure!(!reach(host.clone(), port).await?, "an environment reaches {host}:{port}");
        }
        Ok(())
    }

    /// The way in that its owner is shown.
    pub async fn gateway_door(&self, api: &Api, created: &Created) -> anyhow::Result<Ssh> {
        let shown = api.get(&format!("/api/environments/{}/ssh", created.env_id)).await?.expect(200)?;
        let command = format!("-p {}", self.gateway_port);
        ensure!(shown.text("gateway_command")?.contains(&command), "{}", shown.body);
        Ok(Ssh { user: created.env_id.clone(), port: self.gateway_port, ..door(created) })
    }

    /// Gateway and API reach the inner door of an environment, and no other Pod.
    pub async fn expect_inner_door(&self) -> anyhow::Result<()> {
        let question = ["get", "pods", "--namespace", &self.environments, "--selector", "app=dev-env"];
        let pods = self.cluster.kubectl_json(&question).await?;
        let address =
            pods["items"][0]["status"]["podIP"].as_str().context("no environment has an address")?;
        let labels = |component: &str| {
            format!(
                "app.kubernetes.io/name=portreeve,app.kubernetes.io/instance={NAME},app.kubernetes.io/component={component}"
            )
        };
        let elsewhere = "default".to_owned();
        for (name, namespace, labels, expected) in [
            ("as-gateway", &self.namespace, labels("gateway"), "Succeeded"),
            ("as-api", &self.namespace, labels("api"), "Succeeded"),
            ("as-anybody", &self.namespace, "app=anybody".to_owned(), "Failed"),
            ("as-liar", &elsewhere, labels("gateway"), "Failed"),
        ] {
            let look = format!("exec timeout 5 bash -c '</dev/tcp/{address}/2022'");
            let labels = format!("--labels={labels}");
            let image = "--image=portreeve/env:dev";
            let run = ["run", name, "--namespace", namespace, "--restart=Never", image, &labels];
            let never = ["--image-pull-policy=Never", "--command", "--", "bash", "-c", &look];
            let started = self.cluster.kubectl(&[&run[..], &never[..]].concat()).await?;
            ensure!(started.success, "{name}: {}", started.stderr);
            let phase = eventually("a look at the inner door ends", DONE_AT_MOST, || async {
                let question =
                    ["get", "pod", name, "--namespace", namespace, "--output", "jsonpath={.status.phase}"];
                let phase =
                    self.cluster.kubectl(&question).await.map_err(|error| format!("{error:#}"))?.stdout;
                if ["Succeeded", "Failed"].contains(&phase.trim()) { Ok(phase) } else { Err(phase) }
            })
            .await?;
            self.cluster.kubectl(&["delete", "pod", name, "--namespace", namespace]).await?;
            ensure!(phase.trim() == expected, "{name} at {address}:2022: {phase}");
        }
        Ok(())
    }

    pub async fn expect_no_environment(&self) -> anyhow::Result<()> {
        let kinds = "statefulsets,services,secrets,persistentvolumeclaims,pods";
        eventually("nothing of the environments is left", DONE_AT_MOST, || async {
            let question = ["get", kinds, "--namespace", &self.environments, "--selector", "app=dev-env"];
            let left = self.cluster.kubectl(&[&question[..], &["--output", "name"]].concat()).await;
            let left = left.map_err(|error| format!("{error:#}"))?.stdout;
            if left.trim().is_empty() { Ok(()) } else { Err(left) }
        })
        .await
    }

    /// What the cluster says about a story that went wrong.
    pub async fn last_words(&self) -> String {
        let mut words = String::new();
        for (namespace, question) in [
            (&self.namespace, &["get", "pods,jobs,pvc"][..]),
            (&self.environments, &["get", "pods,pvc,services"]),
            (&self.environments, &["get", "events", "--sort-by=.lastTimestamp"]),
            (
                &self.namespace,
                &["logs", "--selector=app.kubernetes.io/name=portreeve", "--prefix", "--tail=15"],
            ),
        ] {
            if let Ok(answer) = self.cluster.kubectl(&[&["--namespace", namespace], question].concat()).await
            {
                words.push_str(&answer.stdout);
                words.push_str(&answer.stderr);
            }
        }
        words
    }

    pub async fn remove(&self) -> anyhow::Result<()> {
        self.uninstall().await?;
        self.cluster.remove_namespace(&self.environments).await?;
        self.cluster.remove_namespace(&self.namespace).await?;
        for path in &self.volumes {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.cluster.kubectl(&["delete", "persistentvolume", &name]).await?;
            std::fs::remove_dir_all(path)?;
        }
        Ok(())
    }
}
