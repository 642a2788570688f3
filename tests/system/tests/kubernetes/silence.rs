//! What if the way to the cluster falls silent without a word, for a minute? Nothing is told that nobody
//! knows, and what happened meanwhile is told when it is known.

use std::time::Duration;

use anyhow::Context;
use harness::kubernetes::node_ports;
use harness::way::Way;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use system::kubernetes::Kubernetes;
use system::world::{World, create, door, show, small, until_status};

use crate::faults::{delete_all_of, losses, until_back, with_file};

/// As long as the longest watch that was open when it began.
const SILENCE: Duration = Duration::from_secs(60);
const PORTS: u16 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_silence_on_the_way_to_the_cluster() {
    let engine = Kubernetes::join("silence").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = std::fs::read_to_string(engine.cluster.product_kubeconfig()).unwrap();
    let server = apiserver(&kubeconfig).unwrap();
    let way = Way::to(server.parse().unwrap()).await.unwrap();
    let own = folder.path().join("kubeconfig");
    let through = kubeconfig.replace(&server, &format!("127.0.0.1:{}", way.port()));
    std::fs::write(&own, through).unwrap();
    let setup = |setup: harness::Setup| setup.with("PORTREEVE_KUBECONFIG", own.display());
    let world = World::on(engine, node_ports(PORTS).unwrap(), setup).await.unwrap();
    let story = async {
        let api = world.api()?;
        let one = with_file(&world).await?;
        let first = world.engine.first_process(&one.env_id).await?;
        way.cut();
        kill(Pid::from_raw(i32::try_from(first)?), Signal::SIGKILL)?;
        let two = create(&api, &small("two")).await?;
        tokio::time::sleep(SILENCE).await;
        let shown = show(&api, &one.env_id).await?;
        assert_eq!(shown["status"], "running", "nobody knows anything else: {shown}");
        let told = losses(&world, &one.env_id).await?;
        assert!(told.is_empty(), "{told:?}");
        let shown = show(&api, &two.env_id).await?;
        assert_eq!(shown["status"], "creating", "it is not there, and not given up: {shown}");
        way.mend();
        until_back(&world, &one, "its container was killed (exit code 137)").await?;
        until_status(&api, &two.env_id, "running").await?;
        world.enter(door(&two)).await?;
        delete_all_of(&world, &one.env_id).await?;
        delete_all_of(&world, &two.env_id).await
    };
    world.blame(story.await).unwrap();
}

/// `host:port`.
fn apiserver(kubeconfig: &str) -> anyhow::Result<String> {
    let line = kubeconfig.lines().find_map(|line| line.split_once("https://"));
    let server = line.context("the kubeconfig names no apiserver")?.1;
    let end = server.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).unwrap_or(server.len());
    Ok(server[..end].to_owned())
}
