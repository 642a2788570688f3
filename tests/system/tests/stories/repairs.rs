//! What if reality drifts away from the log? Each way is made behind the product's back, and put
//! right by it without anybody asking.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use events::env::{EnvEvent, PortPurpose};
use events::ids::{EnvId, PoolName, TenantId};
use events::ports::allocate::allocate;
use events::ports::{Port, PortAllocated, port_id};
use events::quota::Quota;
use events::quota::claim::claim;
use events::{Cause, Resources};
use harness::{EngineDouble, RealEngine, eventually};
use serde_json::json;
use uuid::Uuid;

use system::ledger::{Ledger, connect};
use system::world::{DONE_AT_MOST, World, create_running, door, small};

/// What is younger than a minute may still find its environment and is left alone.
const REPAIRED_AT_MOST: Duration = Duration::from_secs(150);

async fn world() -> World<EngineDouble> {
    World::on_double(harness::free_ports::range(20).unwrap()).await.unwrap()
}

/// Waits until the log says so.
async fn until_log(
    world: &World<EngineDouble>,
    what: &str,
    holds: impl Fn(&Ledger) -> bool,
) -> anyhow::Result<Ledger> {
    eventually(what, REPAIRED_AT_MOST, || async {
        let ledger = Ledger::read(&world.installation).await.map_err(|error| format!("{error:#}"))?;
        if holds(&ledger) {
            Ok(ledger)
        } else {
            Err(format!("{} events; {:?}", ledger.head, ledger.unsettled()))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_ended_or_vanished_comes_back() {
    let world = world().await;
    let story = async {
        let api = world.api()?;
        let one = create_running(&api, &small("one")).await?;
        let name = format!("portreeve-{}", one.env_id);
        for (what, losses) in [("killed", 1), ("removed", 2)] {
            if what == "killed" {
                world.engine.kill_container(&name).await?;
            } else {
                world.engine.remove_container(&name).await?;
            }
            let lost = |ledger: &Ledger| {
                let count =
                    ledger.of(&one.env_id).filter(|event| event.event.event_type() == "PodLost").count();
                let running = ledger
                    .envs
                    .get(&one.env_id)
                    .is_some_and(|env| env.status == events::env::Status::Running);
                count >= losses && running
            };
            until_log(&world, &format!("the {what} container is lost and runs again"), lost).await?;
            let state = world.engine.state().await?;
            let there = state.containers.iter().find(|container| container.name == name);
            assert!(there.is_some_and(|container| container.running), "{what}: {there:?}");
        }
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_container_that_was_killed_comes_back() {
    let world: World<RealEngine> = World::on_real().await.unwrap();
    let story = async {
        let api = world.api()?;
        let one = create_running(&api, &small("one")).await?;
        let door = door(&one);
        door.run("touch /gemini/code/kept").await?.expect_success()?;
        let name = format!("portreeve-{}", one.env_id);
        let killed = harness::real_engine::podman(&["kill", "--signal", "KILL", &name])?;
        assert!(killed.status.success(), "{killed:?}");
        eventually("people get in again, and find their files", DONE_AT_MOST, || async {
            let output = door.run("ls /gemini/code").await.map_err(|error| format!("{error:#}"))?;
            if output.success && output.stdout.contains("kept") { Ok(()) } else { Err(output.stderr) }
        })
        .await?;
        eventually("the loss is in the log", DONE_AT_MOST, || async {
            let ledger = Ledger::read(&world.installation).await.map_err(|error| format!("{error:#}"))?;
            let lost = ledger.has_event(&one.env_id, |event| matches!(event, EnvEvent::PodLost(_)));
            if lost { Ok(()) } else { Err("no PodLost") }.map_err(str::to_owned)
        })
        .await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_no_environment_is_removed() {
    let world = world().await;
    let story = async {
        let stranger = EnvId::from_seed(&Uuid::new_v4());
        let instance = std::fs::read_to_string(world.installation.data_dir().join("instance"))?;
        let labels = |instance: &str| json!({"portreeve.instance": instance, "portreeve.env": stranger.as_str(), "portreeve.tenant": "default"});
        let ours = labels(instance.trim());
        let container = format!("/containers/create?name=portreeve-{stranger}");
        world.engine.call("POST", &container, &json!({"Image": "portreeve/env:dev", "Labels": ours})).await?;
        for volume in ["code", "state"] {
            let body = json!({"Name": format!("portreeve-{stranger}-{volume}"), "Labels": ours});
            world.engine.call("POST", "/volumes/create", &body).await?;
        }
        // another installation's, and nobody's: not ours to touch
        let other = json!({"Image": "portreeve/env:dev", "Labels": labels("another")});
        world.engine.call("POST", "/containers/create?name=portreeve-other", &other).await?;
        world
            .engine
            .call("POST", "/containers/create?name=nobodys", &json!({"Image": "portreeve/env:dev"}))
            .await?;

        let name = format!("portreeve-{stranger}");
        eventually("the container of no environment is gone", DONE_AT_MOST, || async {
            let state = world.engine.state().await.map_err(|error| format!("{error:#}"))?;
            let left = state.containers.iter().find(|container| container.name == name);
            left.map_or(Ok(()), |left| Err(format!("{left:?}")))
        })
        .await?;
        let state = world.engine.state().await?;
        let kept = |name: &str| state.containers.iter().any(|container| container.name == name);
        assert!(kept("portreeve-other") && kept("nobodys"), "{:?}", state.containers);
        // files that nobody asked to delete are not deleted
        assert_eq!(state.volumes.iter().filter(|volume| volume.name.starts_with(&name)).count(), 2);
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_held_for_no_environment_is_released() {
    let world = world().await;
    let story = async {
        let stranger = EnvId::from_seed(&Uuid::new_v4());
        let number = *world.installation.setup().ports.end();
        let pool = PoolName::parse("main")?;
        let asked = PortAllocated {
            tenant: TenantId::parse("default")?,
            env: stranger.clone(),
            purpose: PortPurpose::Ssh,
        };
        let log = connect(&world.installation, "provisioner").await?.log();
        let cause = Cause::new(Uuid::new_v4(), "service:story");
        let id = port_id(&pool, number);
        log.decide(&TenantId::system(), &id, &cause, 0, |port: &Port| {
            allocate(port, asked.clone(), TimeDelta::zero(), Utc::now())
        })
        .await?;
        let ledger = Ledger::read(&world.installation).await?;
        assert!(ledger.events.iter().any(|event| event.subject.id == id), "the port was allocated");
        until_log(&world, "the port is free", |ledger| !ledger.ports_held.contains_key(&id)).await?;
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_for_no_environment_is_released() {
    let world = world().await;
    let story = async {
        let stranger = EnvId::from_seed(&Uuid::new_v4());
        let tenant = TenantId::parse("default")?;
        let log = connect(&world.installation, "api").await?.log();
        let cause = Cause::new(Uuid::new_v4(), "service:story");
        log.decide(&tenant, tenant.as_str(), &cause, 0, |quota: &Quota| {
            claim(quota, &stranger, Resources::default())
        })
        .await?;
        let claimed = |ledger: &Ledger| ledger.claims.iter().any(|(_, env)| env == stranger.as_str());
        let made = Ledger::read(&world.installation).await?;
        assert!(made.quota_events().count() > 0, "the claim was made");
        until_log(&world, "the claim is released", |ledger| !claimed(ledger)).await?;
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_somebody_else_took_is_left_alone() {
    let world = world().await;
    let story = async {
        let api = world.api()?;
        let first = *world.installation.setup().ports.start();
        world
            .engine
            .fail_next_start(&format!("Bind for 0.0.0.0:{first} failed: port is already allocated"))
            .await?;
        let one = create_running(&api, &small("one")).await?;
        let shown = system::world::show(&api, &one.env_id).await?;
        assert_ne!(shown["ssh_port"], first, "it got another port: {shown}");
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}
