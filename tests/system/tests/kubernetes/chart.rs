//! Does the whole system come up inside a cluster from its chart? And does it refuse values that cannot
//! be meant, give nobody more rights than needed, and survive an upgrade and a removal?

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use harness::kubernetes::{Cluster, namespace, node_ports};
use harness::{Api, Ssh, eventually};
use serde_json::json;
use system::world::{self, create_running, delete, door, small, until_deleted, until_listed, until_status};
use tokio::process::Command;

/// From nothing until every part is ready, on a busy machine.
const INSTALLED_AT_MOST: Duration = Duration::from_secs(300);
/// A change asked for is there by then.
const DONE_AT_MOST: Duration = Duration::from_secs(90);
/// A create answers with its password within, in seconds.
const CREATED_AT_MOST_S: u64 = 30;
/// Members of the log and the database.
const VOLUMES: usize = 4;
/// As whom the chart's Pods write.
const OWN_UID: u32 = 10_001;
const NAME: &str = "portreeve";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_cannot_be_meant_are_refused_with_a_sentence() {
    let cluster = Cluster::attach().await.unwrap();
    let rendered = render(&cluster, &[]).await.unwrap();
    assert!(rendered.success, "{}", rendered.stderr);
    for (wrong, sentence) in [
        ("colour=blue", "additional properties 'colour' not allowed"),
        ("api.colour=blue", "at '/api': additional properties 'colour' not allowed"),
        ("nats.replicas=2", "at '/nats/replicas': value must be one of 1, 3, 5"),
        ("api.replicas=0", "at '/api/replicas': minimum: got 0, want 1"),
        ("nats.memoryMib=much", "at '/nats/memoryMib': got string, want integer"),
        ("nats.storage.size=much", "at '/nats/storage/size': 'much' does not match"),
        ("log.format=xml", "at '/log/format': value must be one of 'json', 'text'"),
        (
            "environments.exposure=hostport",
            "value must be one of 'nodeport', 'load-balancer', 'gateway-only'",
        ),
        ("environments.keptPercent.cpu=0", "at '/environments/keptPercent/cpu': minimum: got 0, want 1"),
        ("environments.keptPercent.memory=101", "at '/environments/keptPercent/memory': maximum: got 101"),
        ("environments.sshHost=", "environments.sshHost is missing: the name or address"),
        (
            "environments.sshHost=-oProxyCommand=x",
            "environments.sshHost: \"-oProxyCommand=x\" is no host name",
        ),
        ("environments.ports=30010-30000", "environments.ports: 30010 comes after 30000."),
        ("environments.ports=many", "environments.ports: \"many\" is no range; write it as FIRST-LAST"),
        ("environments.namespace.name=portreeve", "portreeve is the release's own namespace"),
        ("postgres.trial.enabled=false", "name a Secret with the URL of your PostgreSQL"),
        ("postgres.urlSecret.name=mine", "trial.enabled and urlSecret.name exclude each other"),
        ("api.ingress.enabled=true", "api.ingress.host is missing"),
        ("api.service.nodePort=32080", "a Service of type ClusterIP has none; set api.service.type=NodePort"),
        ("api.service.type=NodePort,api.service.nodePort=30001", "30001 is one of environments.ports"),
    ] {
        let refused = render(&cluster, &["--set", wrong]).await.unwrap();
        assert!(!refused.success && refused.stderr.contains(sentence), "{wrong}: {}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_gets_a_password_for_every_user_of_its_configuration() {
    let cluster = Cluster::attach().await.unwrap();
    let rendered = render(&cluster, &[]).await.unwrap();
    for user in nats::USERS {
        let variable = format!("name: {}, value: '\"$(SECRET_", nats::password_variable(user));
        assert!(rendered.stdout.contains(&variable), "{user} has no {variable} in\n{}", rendered.stdout);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_in_the_cluster_from_its_chart() {
    let release = Release::new().await.unwrap();
    let outcome = story(&release).await;
    let outcome = match outcome {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(release.last_words().await)),
    };
    release.remove().await.unwrap();
    outcome.unwrap();
}

async fn story(release: &Release) -> anyhow::Result<()> {
    let began = Instant::now();
    release.install(&[]).await?;
    let told = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f32());
    told("everything is ready");
    let token = release.admin_token().await?;
    let api = Api::new(format!("http://127.0.0.1:{}", release.api_port), Some(token.clone()))?;

    // a person gets an environment and works in it
    let created = create_running(&api, &small("chart")).await?;
    let (env, door) = (created.env_id.as_str(), door(&created));
    let made = door.run("id -un && echo kept >/gemini/code/file").await?.expect_success()?;
    ensure!(made.trim() == "developer", "{made}");

    told("an environment was worked in");
    release.expect_rights().await?;
    release.expect_walls(&door).await?;

    // an upgrade makes no secret anew, and nobody is thrown out
    let secret = release.secret().await?;
    release.install(&["--set", "log.filter=debug"]).await?;
    ensure!(release.secret().await? == secret, "an upgrade leaves every secret alone");
    ensure!(door.run("cat /gemini/code/file").await?.expect_success()?.trim() == "kept");

    told("an upgrade went through");

    // one member of the log may go
    release.delete_member(0).await?;
    let second = eventually("an environment is made while a member is away", DONE_AT_MOST, || async {
        let answer = api.post_once("/api/environments", &small("second"), "second").await;
        let answer = answer.and_then(|answer| answer.expect(202)).and_then(|answer| world::created(&answer));
        answer.map_err(|error| format!("{error:#}"))
    })
    .await?;
    delete(&api, &second.env_id).await?;
    until_deleted(&api, &second.env_id).await?;

    told("a member of the log went and came");

    // what an uninstall leaves goes on, and the next installation takes it over
    release.uninstall().await?;
    ensure!(door.run("cat /gemini/code/file").await?.expect_success()?.trim() == "kept");
    told("nothing of it runs, but the environment");
    release.install(&[]).await?;
    told("everything is ready again");
    ensure!(release.admin_token().await? == token, "the administrator's token is the same");
    until_status(&api, env, "running").await?;
    let logins = format!("/api/environments/{env}/logins");
    until_listed(&api, &logins, "the one while nobody was there is told", |items| items.len() >= 3).await?;
    delete(&api, env).await?;
    until_deleted(&api, env).await?;
    release.expect_no_environment().await
}

struct Output {
    success: bool,
    stdout: String,
    stderr: String,
}

fn chart() -> PathBuf {
    harness::programs::repository().join("deploy/helm/portreeve")
}

async fn helm(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(cluster.bin().join("helm"));
    command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(arguments).kill_on_drop(true);
    let done = tokio::time::timeout(INSTALLED_AT_MOST + DONE_AT_MOST, command.output()).await;
    let output = done.context("helm does not end")?.context("helm cannot be started: make kubernetes")?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// The templates with the values of a trial, which need no cluster.
async fn render(cluster: &Cluster, more: &[&str]) -> anyhow::Result<Output> {
    let (chart, trial) = (chart(), chart().join("trial.yaml"));
    let (chart, trial) = (chart.to_string_lossy(), trial.to_string_lossy());
    let template = ["template", NAME, &chart, "--namespace", NAME, "--values", &trial];
    helm(cluster, &[&template[..], &["--set", "environments.sshHost=127.0.0.1"], more].concat()).await
}

/// An installation of the chart in namespaces of its own.
struct Release {
    cluster: Cluster,
    namespace: String,
    environments: String,
    api_port: u16,
    ports: String,
    volumes: Vec<PathBuf>,
    /// Where the cluster's API listens behind its Service: what a NetworkPolicy speaks of.
    kubernetes_port: u64,
}

impl Release {
    async fn new() -> anyhow::Result<Self> {
        let cluster = Cluster::attach().await?;
        let namespace = namespace("chart");
        let ports = node_ports(4)?;
        let slices = ["get", "endpointslices", "kubernetes", "--namespace", "default"];
        let slices = cluster.kubectl_json(&slices).await?;
        let mut release = Self {
            environments: format!("{namespace}-envs"),
            api_port: *node_ports(1)?.start(),
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
    async fn make_volumes(&mut self) -> anyhow::Result<()> {
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
                    "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                    "storageClassName": self.namespace, "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": format!("/tmp/hostpath_pv/{name}")},
                },
            });
            self.cluster.apply(&volume.to_string()).await?;
        }
        Ok(())
    }

    /// Installs or upgrades, and waits until everything is ready.
    async fn install(&self, more: &[&str]) -> anyhow::Result<()> {
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
            format!("nats.storage.className={class},postgres.trial.storage.className={class}"),
            format!("api.service.type=NodePort,api.service.nodePort={}", self.api_port),
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

    async fn uninstall(&self) -> anyhow::Result<()> {
        let arguments = ["uninstall", NAME, "--namespace", &self.namespace, "--wait", "--ignore-not-found"];
        let removed = helm(&self.cluster, &arguments).await?;
        ensure!(removed.success, "helm uninstall: {}", removed.stderr);
        Ok(())
    }

    async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let answer = self.cluster.kubectl(&[&["--namespace", &self.namespace], arguments].concat()).await?;
        ensure!(answer.success, "kubectl {}: {}", arguments.join(" "), answer.stderr);
        Ok(answer.stdout)
    }

    async fn admin_token(&self) -> anyhow::Result<String> {
        let token = self.kubectl(&["exec", "deploy/portreeve-api", "--", "portreeve", "admin-token"]).await?;
        Ok(token.trim().to_owned())
    }

    async fn secret(&self) -> anyhow::Result<String> {
        self.kubectl(&["get", "secret", "portreeve-secrets", "--output", "jsonpath={.data}"]).await
    }

    async fn delete_member(&self, number: usize) -> anyhow::Result<()> {
        let member = format!("portreeve-nats-{number}");
        self.kubectl(&["delete", "pod", &member, "--wait=false"]).await.map(drop)
    }

    /// The provisioner may do what it does, and nobody else anything at all.
    async fn expect_rights(&self) -> anyhow::Result<()> {
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
    async fn expect_walls(&self, door: &Ssh) -> anyhow::Result<()> {
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
            ("kubernetes.default.svc".to_owned(), 443),
        ] {
            ensure!(!reach(host.clone(), port).await?, "an environment reaches {host}:{port}");
        }
        Ok(())
    }

    async fn expect_no_environment(&self) -> anyhow::Result<()> {
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
    async fn last_words(&self) -> String {
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

    async fn remove(&self) -> anyhow::Result<()> {
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
