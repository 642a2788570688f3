//! Does a person's whole story hold on a cluster? Told in `system::main_job`; here is where it takes place,
//! and what only a cluster has: steps on the way up.

use std::time::Duration;

use anyhow::Context;
use harness::kubernetes::node_ports;
use serde_json::Value;
use system::kubernetes::Kubernetes;
use system::main_job::{delete_and_reuse, guess, no_image, work};
use system::world::{World, create_running, small};

/// What happened before is told within.
const TOLD_AT_MOST: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_works_in_an_environment() {
    let world = World::on_kubernetes("work").await.unwrap();
    world.blame(work(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_closes_the_door_to_one_address() {
    let world = World::on_kubernetes("guess").await.unwrap();
    world.blame(guess(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_gone_and_its_port_comes_back() {
    let engine = Kubernetes::join("reuse").await.unwrap();
    let world = World::on(engine, node_ports(2).unwrap(), |setup| setup).await.unwrap();
    world.blame(delete_and_reuse(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_does_not_exist_fails_at_once_with_the_registrys_words() {
    let world = World::on_kubernetes("image").await.unwrap();
    world.blame(no_image(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_up_is_told_step_by_step() {
    let world = World::on_kubernetes("steps").await.unwrap();
    let story = async {
        let api = world.api()?;
        let one = create_running(&api, &small("one")).await?;
        let url = format!("{}/api/environments/{}/events", api.base(), one.env_id);
        let token = api.token().context("the administrator has a token")?;
        let mut stream = reqwest::Client::new().get(url).bearer_auth(token).send().await?;
        let mut text = String::new();
        let read = async {
            while let Some(chunk) = stream.chunk().await? {
                text.push_str(&String::from_utf8_lossy(&chunk));
                if text.contains("PodReady") {
                    break;
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(TOLD_AT_MOST, read).await.context("the story is not told to its end")??;
        let told: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .filter_map(|line| serde_json::from_str(line.trim()).ok())
            .collect();
        let codes: Vec<&str> = told.iter().filter_map(|event| event["data"]["code"].as_str()).collect();
        for code in ["scheduled", "pulled", "started"] {
            assert_eq!(
                codes.iter().filter(|one| **one == code).count(),
                1,
                "{code} once in {codes:?}: {text}"
            );
        }
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}
