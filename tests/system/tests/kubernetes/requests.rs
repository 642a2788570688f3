//! What does an environment cost the apiserver? Every request is in its audit log: so many for a create, a
//! stop, a start, a delete, and none for being there.

use std::collections::BTreeMap;

use harness::eventually;
use serde_json::json;
use system::kubernetes::Kubernetes;
use system::world::{
    DONE_AT_MOST, World, ask, create_running, delete, merged, small, until_deleted, until_status,
};

const ENVIRONMENTS: usize = 3;
/// Two volumes, the StatefulSet, its Secret, its Service, and the one Pod.
const CREATE_MAX: usize = 6;
/// No Pod.
const STOP_MAX: usize = 1;
/// Secret and Service are looked after; one Pod.
const START_MAX: usize = 3;
/// The StatefulSet, which takes its own along, and the two volumes.
const DELETE_MAX: usize = 3;
/// What is asked once more because a watch had not told yet, for all of them together.
const DOUBTS_MAX: usize = 4;
/// Looks of the product at what it has, a second each in these stories.
const LOOKS: usize = 5;

type Requests = BTreeMap<String, usize>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_costs_a_few_requests_and_being_there_none() {
    let world = World::on_kubernetes("requests").await.unwrap();
    let story = async {
        let api = world.api()?;
        // what is listed at the start is listed by then
        sweeps(&world, 2).await?;
        let mut seen = asked(&world)?;
        let mut envs = Vec::new();
        for number in 0..ENVIRONMENTS {
            let tiny = json!({"resources": {"cpu": 0.1, "memory": 0.125, "storage": 1}});
            envs.push(create_running(&api, &merged(small(&format!("n{number}")), &tiny)).await?.env_id);
        }
        within(&world, &mut seen, "create", CREATE_MAX)?;
        sweeps(&world, LOOKS).await?;
        within(&world, &mut seen, "be there", 0)?;
        for env in &envs {
            ask(&api, env, "stop").await?;
            until_status(&api, env, "stopped").await?;
        }
        within(&world, &mut seen, "stop", STOP_MAX)?;
        for env in &envs {
            ask(&api, env, "start").await?;
            until_status(&api, env, "running").await?;
        }
        within(&world, &mut seen, "start", START_MAX)?;
        for env in &envs {
            delete(&api, env).await?;
            until_deleted(&api, env).await?;
        }
        within(&world, &mut seen, "delete", DELETE_MAX)
    };
    world.blame(story.await).unwrap();
}

/// By what was done to which kind; watches, which each cost one a minute, apart.
fn asked(world: &World<Kubernetes>) -> anyhow::Result<Requests> {
    let mut counted = Requests::new();
    for request in world.engine.cluster.requests()? {
        let (verb, object) = (request["verb"].as_str().unwrap_or("?"), &request["objectRef"]);
        if object["namespace"] == world.engine.namespace.as_str() && verb != "watch" {
            let kind = object["resource"].as_str().unwrap_or("?");
            *counted.entry(format!("{verb} {kind}")).or_default() += 1;
        }
    }
    Ok(counted)
}

/// No more than so many for each environment since the last time.
fn within(world: &World<Kubernetes>, seen: &mut Requests, what: &str, each_max: usize) -> anyhow::Result<()> {
    let now = asked(world)?;
    let more = |(name, count): (&String, &usize)| {
        let more = count - seen.get(name).copied().unwrap_or(0);
        (more > 0).then(|| (name.clone(), more))
    };
    let since: Requests = now.iter().filter_map(more).collect();
    let all: usize = since.values().sum();
    println!("{what}: {all} requests for {ENVIRONMENTS} environments: {since:?}");
    anyhow::ensure!(all <= each_max * ENVIRONMENTS + DOUBTS_MAX, "{what}: {all} requests: {since:?}");
    let lists: usize =
        since.iter().filter(|(name, _)| name.starts_with("list")).map(|(_, count)| count).sum();
    anyhow::ensure!(lists == 0, "{what}: nothing is listed again: {since:?}");
    *seen = now;
    Ok(())
}

/// Waits until the product has compared everything so many times.
async fn sweeps(world: &World<Kubernetes>, count: usize) -> anyhow::Result<()> {
    let api = world.api()?;
    let so_far = || async {
        let metrics = api.get("/metrics").await?.expect(200)?;
        let text = metrics.body.as_str().unwrap_or_default().to_owned();
        let line =
            text.lines().find_map(|line| line.strip_prefix("portreeve_provisioner_sweep_seconds_count "));
        anyhow::Ok(line.and_then(|number| number.trim().parse::<usize>().ok()).unwrap_or(0))
    };
    let until = so_far().await? + count;
    eventually(&format!("{count} more sweeps"), DONE_AT_MOST, || async {
        let now = so_far().await.map_err(|error| format!("{error:#}"))?;
        if now >= until { Ok(()) } else { Err(format!("{now} of {until}")) }
    })
    .await
}
