//! Does the whole system come up inside a cluster from its chart? And does it refuse values that cannot
//! be meant, give nobody more rights than needed, and survive an upgrade and a removal?

use std::time::Instant;

use anyhow::ensure;
use harness::kubernetes::Cluster;
use harness::{Api, eventually};
use system::kubernetes::Kubernetes;
use system::talk::Talk;
use system::world::{
    self, Inhabited as _, create_running, delete, door, enter, error_first, small, until_deleted,
    until_listed, until_status,
};

use crate::chart_release::{DONE_AT_MOST, Release, render};

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
        ("gateway.drainS=-1", "at '/gateway/drainS': minimum: got -1, want 0"),
        ("gateway.proxyProtocolFrom={everywhere}", "'everywhere' does not match pattern"),
        ("gateway.service.type=NodePort", "gateway.service.nodePort is missing: people are shown it"),
        ("gateway.service.nodePort=32022", "a Service of type ClusterIP has none; set gateway.service.type"),
        (
            "gateway.service.type=NodePort,gateway.service.nodePort=30001",
            "30001 is one of environments.ports",
        ),
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
        Err(error) => Err(error_first(&error, "the cluster", &release.last_words().await)),
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
    let env = created.env_id.as_str();
    let door = enter(door(&created), Kubernetes::ENTRANCE_AT_MOST).await?;
    let made = door.run("id -un && echo kept >/gemini/code/file").await?.expect_success()?;
    ensure!(made.trim() == "developer", "{made}");

    told("an environment was worked in");
    let gateway = release.gateway_door(&api, &created).await?;
    ensure!(gateway.run("cat /gemini/code/file").await?.expect_success()?.trim() == "kept");
    let mut talk = Talk::start(&gateway)?;
    talk.says("through the gateway").await?;
    let sessions = format!("/api/environments/{env}/sessions");
    until_listed(&api, &sessions, "who came through the gateway", |items| {
        items.iter().any(|item| item["entrance"] == "gateway")
    })
    .await?;

    told("and through the gateway");
    release.expect_rights().await?;
    release.expect_walls(&door).await?;
    release.expect_inner_door().await?;
    told("walls and rights are as they should be");

    // an upgrade makes no secret anew, and nobody is thrown out
    let secret = release.secret().await?;
    release.install(&["--set", "log.filter=debug"]).await?;
    ensure!(release.secret().await? == secret, "an upgrade leaves every secret alone");
    ensure!(door.run("cat /gemini/code/file").await?.expect_success()?.trim() == "kept");
    // it changed what the gateway logs, and this one is in it all the time
    talk.says("after the upgrade").await?;

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
