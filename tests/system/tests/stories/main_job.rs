//! Does a person's whole story hold on containers? Told in `system::main_job`; here is where it takes place.

use anyhow::Context;
use harness::real_engine::{IMAGE_JUPYTER, has_image};
use harness::{RealEngine, eventually};
use serde_json::json;
use system::main_job::{delete_and_reuse, guess, no_image, work};
use system::world::{DONE_AT_MOST, World, create_running, show};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_works_in_an_environment() {
    let world = World::on_real().await.unwrap();
    world.blame(work(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_closes_the_door_to_one_address() {
    let world = World::on_real().await.unwrap();
    world.blame(guess(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_gone_and_its_port_comes_back() {
    let engine = RealEngine::start().await.unwrap();
    let ports = harness::free_ports::range(2).unwrap();
    let world = World::on(engine, ports, |setup| setup).await.unwrap();
    world.blame(delete_and_reuse(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_start_says_phase_and_reason() {
    let world = World::on_real().await.unwrap();
    world.blame(no_image(&world).await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jupyter_answers_when_asked_for() {
    assert!(has_image(IMAGE_JUPYTER), "{IMAGE_JUPYTER} is missing: make build");
    let world = World::on_real().await.unwrap();
    let story = async {
        let api = world.api()?;
        let body = json!({"name": "notebook", "resources": {"cpu": 1, "memory": 1}, "jupyter": true});
        let created = create_running(&api, &body).await?;
        let url = created.body["jupyter_url"].as_str().context("the answer has no jupyter_url")?;
        let client = reqwest::Client::new();
        eventually("JupyterLab answers", DONE_AT_MOST, || async {
            let response = client.get(url).send().await.map_err(|error| error.to_string())?;
            let status = response.status();
            let text = response.text().await.map_err(|error| error.to_string())?;
            let is_jupyter = status.is_success() && text.to_lowercase().contains("jupyter");
            if is_jupyter { Ok(()) } else { Err(format!("{status} {} bytes", text.len())) }
        })
        .await?;
        show(&api, &created.env_id).await.map(drop)
    };
    world.blame(story.await).unwrap();
}
