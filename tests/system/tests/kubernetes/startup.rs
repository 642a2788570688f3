//! When is an environment told as running? The sentry has said that its policy is in force, and the kubelet
//! that people get in: the startup probe has passed and it is ready. A played node says one after the other.

use std::sync::Arc;

use events::AggregateEvent as _;
use events::credential::CredentialEvent;
use events::env::{EnvEvent, Status};
use harness::eventually;
use harness::kubernetes::node_ports;
use harness::played_node::{PlayedNode, Word};
use system::kubernetes::Kubernetes;
use system::ledger::Ledger;
use system::world::{DONE_AT_MOST, World, create, small, until_status};

use crate::faults::delete_all_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_is_told_after_the_sentry_and_the_kubelet_have_said_so() {
    let engine = Kubernetes::join("startup").await.unwrap();
    let node = engine.namespace.clone();
    let on_it = |setup: harness::Setup| setup.with("PORTREEVE_KUBE_NODE_SELECTOR", format!("played={node}"));
    let world = World::on(engine, node_ports(2).unwrap(), on_it).await.unwrap();
    world.engine.cluster.pretend_node(&node).await.unwrap();
    let result = told_in_order(&world).await;
    world.engine.cluster.forget_node(&node).await.unwrap();
    world.blame(result).unwrap();
}

async fn told_in_order(world: &World<Kubernetes>) -> anyhow::Result<()> {
    let (cluster, url) = (&world.engine.cluster, world.engine.sentry_url());
    let node = Arc::new(PlayedNode::start(cluster, &world.engine.namespace).await?);
    let api = world.api()?;
    let env = create(&api, &small("one")).await?.env_id;
    let pod = format!("{env}-0");
    node.placed(&env, DONE_AT_MOST).await?;

    let sentry = node.sentry(&env, &url).await?;
    let policy = sentry.policy().await?;
    let version = policy["version"].as_str().unwrap_or_default();
    sentry.applied(version).await?;
    expect_on_its_way(world, &env, "the sentry alone has said it").await?;

    // the kubelet knows that it runs and no more; who watches has heard that
    let asking = tokio::spawn(sentry.clone().serve());
    node.say(&pod, Word::Runs).await?;
    until_told(world, &env, "started").await?;
    sentry.applied(version).await?;
    expect_on_its_way(world, &env, "its startup probe has not passed").await?;

    node.say(&pod, Word::Ready).await?;
    until_status(&api, &env, "running").await?;
    asking.abort();
    let _playing = node.play(url);
    delete_all_of(world, &env).await
}

/// What the sentry said is recorded, and nothing else.
async fn expect_on_its_way(world: &World<Kubernetes>, env: &str, why: &str) -> anyhow::Result<()> {
    let ledger = Ledger::read(&world.installation).await?;
    let status = ledger.envs.get(env).map(|env| env.status);
    anyhow::ensure!(status == Some(Status::Creating), "{why}, and it is {status:?}");
    let applied = ledger.of(env).any(|event| {
        matches!(CredentialEvent::from_event(&event.event), Some(CredentialEvent::PasswordApplied(_)))
    });
    anyhow::ensure!(applied, "what the sentry said was taken in");
    Ok(())
}

/// Waits until this step of the way up is in the log.
async fn until_told(world: &World<Kubernetes>, env: &str, code: &str) -> anyhow::Result<()> {
    eventually(&format!("{env}: {code:?} is told"), DONE_AT_MOST, || async {
        let ledger = Ledger::read(&world.installation).await.map_err(|error| format!("{error:#}"))?;
        let progress = |event: &events::Recorded| match EnvEvent::from_event(&event.event) {
            Some(EnvEvent::EnvProgressed(progressed)) => Some(progressed.code.clone()),
            _ => None,
        };
        let told: Vec<String> = ledger.of(env).filter_map(progress).collect();
        if told.iter().any(|told| told == code) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await
}
