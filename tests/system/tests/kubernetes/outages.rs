//! What if a part of the cluster is away? People who are in stay in, nothing that was promised is lost, and
//! what happened meanwhile is noticed. These tests have the cluster to themselves.

use std::time::Duration;

use harness::eventually;
use harness::kubernetes::Component;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use system::kubernetes::Kubernetes;
use system::world::{DONE_AT_MOST, World, create, door, show, small, until_status};

use crate::faults::{delete_all_of, losses, until_back, with_file};

/// The controllers wait 40 s for a node that says nothing, and look every few seconds.
const NODE_LOST_AT_MOST: Duration = Duration::from_secs(120);

async fn nothing_lost(world: &World<Kubernetes>, env_id: &str) -> anyhow::Result<()> {
    let lost = losses(world, env_id).await?;
    anyhow::ensure!(lost.is_empty(), "{env_id} was never away, yet: {lost:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apiserver_that_was_killed_and_comes_back() {
    let world = World::alone_on_kubernetes("apiserver").await.unwrap();
    let story = async {
        let api = world.api()?;
        let one = with_file(&world).await?;
        world.engine.cluster.kill(Component::Apiserver).await?;
        let started_again = async {
            // asked for while nobody can make it
            let two = create(&api, &small("two")).await?;
            door(&one).run("true").await?.expect_success()?;
            assert_eq!(show(&api, &one.env_id).await?["status"], "running", "it runs, whoever is away");
            assert_ne!(show(&api, &two.env_id).await?["status"], "failed");
            anyhow::Ok(two)
        };
        let two = started_again.await;
        world.engine.cluster.start(Component::Apiserver).await?;
        let two = two?;
        until_status(&api, &two.env_id, "running").await?;
        world.enter(door(&two)).await?;
        nothing_lost(&world, &one.env_id).await?;
        delete_all_of(&world, &one.env_id).await?;
        delete_all_of(&world, &two.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_watch_was_cut_is_noticed() {
    let world = World::alone_on_kubernetes("watch").await.unwrap();
    let story = async {
        let one = with_file(&world).await?;
        let first = world.engine.first_process(&one.env_id).await?;
        world.engine.cluster.stop(Component::Apiserver).await?;
        let killed = kill(Pid::from_raw(i32::try_from(first)?), Signal::SIGKILL);
        let door = door(&one);
        let back = eventually("the kubelet alone brings it back", DONE_AT_MOST, || async {
            let output = door.run("ls /gemini/code").await.map_err(|error| format!("{error:#}"))?;
            if output.success { Ok(()) } else { Err(output.stderr) }
        })
        .await;
        world.engine.cluster.start(Component::Apiserver).await?;
        killed?;
        back?;
        until_back(&world, &one, "its container was killed (exit code 137)").await?;
        delete_all_of(&world, &one.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_that_stops_and_starts() {
    let world = World::alone_on_kubernetes("kubelet").await.unwrap();
    let story = async {
        let api = world.api()?;
        let one = with_file(&world).await?;
        // Of a silent node's Pods the cluster takes back only what their kubelet had said: ready.
        let pod = format!("pod/{}-0", one.env_id);
        world.engine.kubectl(&["wait", "--for=condition=Ready", &pod, "--timeout=30s"]).await?;
        world.engine.cluster.stop(Component::Kubelet).await?;
        let meanwhile = async {
            let two = create(&api, &small("two")).await?;
            door(&one).run("true").await?.expect_success()?;
            eventually("the loss of the node is told", NODE_LOST_AT_MOST, || async {
                let told = losses(&world, &one.env_id).await.map_err(|error| format!("{error:#}"))?;
                let silent = told.iter().any(|reason| reason.contains("does not answer"));
                if silent { Ok(()) } else { Err(format!("{told:?}")) }
            })
            .await?;
            anyhow::Ok(two)
        };
        let two = meanwhile.await;
        world.engine.cluster.start(Component::Kubelet).await?;
        let two = two?;
        until_status(&api, &one.env_id, "running").await?;
        until_status(&api, &two.env_id, "running").await?;
        assert!(door(&one).run("ls /gemini/code").await?.expect_success()?.contains("kept"));
        delete_all_of(&world, &one.env_id).await?;
        delete_all_of(&world, &two.env_id).await
    };
    world.blame(story.await).unwrap();
}
