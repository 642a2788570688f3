//! What if something happens to one environment of a cluster? Each fault ends in the right state with the
//! right reason, and nothing of the environment is left once it is deleted.

use std::time::{Duration, Instant};

use anyhow::Context;
use events::AggregateEvent as _;
use events::env::EnvEvent;
use harness::kubernetes::node_ports;
use harness::{Proof, Ssh, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use system::kubernetes::Kubernetes;
use system::ledger::Ledger;
use system::world::{
    Created, DONE_AT_MOST, Inhabited as _, World, ask, create, create_running, delete, door, merged, show,
    small, until, until_deleted, until_listed,
};

/// A reset reaches a running Pod within.
const RESET_AT_MOST: Duration = Duration::from_secs(2);
/// More than any machine of a test has.
const TOO_MANY_CPUS: u32 = 64;

pub async fn delete_all_of(world: &World<Kubernetes>, env_id: &str) -> anyhow::Result<()> {
    let api = world.api()?;
    delete(&api, env_id).await?;
    until_deleted(&api, env_id).await?;
    let left = world.engine.left_of(env_id).await?;
    anyhow::ensure!(left.is_empty(), "left of {env_id}: {left:?}");
    Ok(())
}

/// Reasons of the losses in the log, oldest first.
pub async fn losses(world: &World<Kubernetes>, env_id: &str) -> anyhow::Result<Vec<String>> {
    let ledger = Ledger::read(&world.installation).await?;
    let reason = |event: &events::Recorded| match EnvEvent::from_event(&event.event) {
        Some(EnvEvent::PodLost(lost)) => Some(lost.reason.clone()),
        _ => None,
    };
    Ok(ledger.of(env_id).filter_map(reason).collect())
}

/// Waits until the loss is in the log for this reason and people find their files again.
pub async fn until_back(world: &World<Kubernetes>, one: &Created, reason: &str) -> anyhow::Result<()> {
    let what = format!("{} was lost because {reason:?}", one.env_id);
    eventually(&what, DONE_AT_MOST, || async {
        let told = losses(world, &one.env_id).await.map_err(|error| format!("{error:#}"))?;
        if told.iter().any(|told| told.contains(reason)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await?;
    system::world::until_status(&world.api()?, &one.env_id, "running").await?;
    let door = door(one);
    eventually("people get in again, and find their files", DONE_AT_MOST, || async {
        let output = door.run("ls /gemini/code").await.map_err(|error| format!("{error:#}"))?;
        if output.success && output.stdout.contains("kept") { Ok(()) } else { Err(output.stderr) }
    })
    .await
}

/// A running environment with a file.
pub async fn with_file(world: &World<Kubernetes>) -> anyhow::Result<Created> {
    let one = create_running(&world.api()?, &small("one")).await?;
    world.enter(door(&one)).await?.run("touch /gemini/code/kept").await?.expect_success()?;
    Ok(one)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_node_can_take_says_so_in_the_schedulers_words() {
    let world = World::on_kubernetes("unschedulable").await.unwrap();
    let story = async {
        let api = world.api()?;
        let body = json!({"name": "big", "resources": {"cpu": TOO_MANY_CPUS, "memory": 0.25, "storage": 1}});
        let created = create(&api, &body).await?;
        let waits = until(&api, &created.env_id, "says what is in its way", DONE_AT_MOST, |shown| {
            shown["reason"].as_str().is_some_and(|reason| reason.contains("Insufficient cpu"))
        })
        .await?;
        assert_eq!(
            (&waits["phase"], &waits["code"]),
            (&json!("schedule"), &json!("unschedulable")),
            "{waits}"
        );
        assert_ne!(waits["status"], "running", "{waits}");
        delete_all_of(&world, &created.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_port_of_a_foreign_service_is_left_alone() {
    let world = World::on(Kubernetes::join("ports").await.unwrap(), node_ports(3).unwrap(), |setup| setup);
    let world = world.await.unwrap();
    let story = async {
        let ports: Vec<u16> = world.installation.setup().ports.clone().collect();
        for port in &ports[..2] {
            let service = json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": format!("foreign-{port}"), "namespace": world.engine.namespace},
                "spec": {"type": "NodePort", "selector": {"app": "foreign"}, "ports": [{"port": 80, "nodePort": port}]},
            });
            world.engine.cluster.apply(&service.to_string()).await?;
        }
        let api = world.api()?;
        let one = create_running(&api, &small("one")).await?;
        let shown = show(&api, &one.env_id).await?;
        assert_eq!(shown["ssh_port"], ports[2], "the one port that is free: {shown}");
        world.enter(Ssh { port: ports[2], ..door(&one) }).await?;
        delete_all_of(&world, &one.env_id).await?;
        for port in &ports[..2] {
            let service = world.engine.get("service", &format!("foreign-{port}")).await?;
            assert_eq!(service["spec"]["ports"][0]["nodePort"], *port, "the foreign one is as it was");
        }
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_deleted_by_hand_comes_back() {
    let world = World::on_kubernetes("deleted").await.unwrap();
    let story = async {
        let one = with_file(&world).await?;
        let pod = format!("{}-0", one.env_id);
        world.engine.kubectl(&["delete", "pod", &pod, "--wait=false"]).await?;
        until_back(&world, &one, "its Pod was deleted").await?;
        delete_all_of(&world, &one.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_was_killed_comes_back() {
    let world = World::on_kubernetes("killed").await.unwrap();
    let story = async {
        let one = with_file(&world).await?;
        let first = world.engine.first_process(&one.env_id).await?;
        kill(Pid::from_raw(i32::try_from(first)?), Signal::SIGKILL)?;
        until_back(&world, &one, "its container was killed (exit code 137)").await?;
        delete_all_of(&world, &one.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_uses_too_much_memory_says_so_and_comes_back() {
    let world = World::on_kubernetes("memory").await.unwrap();
    let story = async {
        let one = with_file(&world).await?;
        // tail keeps what has no end of line
        let session =
            "touch /tmp/here; until test -e /tmp/go; do sleep 0.1; done; head -c 1G /dev/zero | tail";
        let door = door(&one);
        let _greedy = door.stay(session)?;
        let pod = format!("{}-0", one.env_id);
        let in_pod = |command: &'static str| {
            let arguments = ["exec", &pod, "--", "sh", "-c", command].map(str::to_owned);
            let engine = &world.engine;
            async move { engine.kubectl(&arguments.each_ref().map(String::as_str)).await }
        };
        eventually("the session is there", DONE_AT_MOST, || async {
            in_pod("test -e /tmp/here").await.map_err(|error| format!("{error:#}"))
        })
        .await?;
        // Where the kernel takes one process and not the whole group, it takes the first one. Who was
        // started earlier keeps its own place in the row.
        let first = world.engine.first_process(&one.env_id).await?;
        std::fs::write(format!("/proc/{first}/oom_score_adj"), "1000")?;
        in_pod("touch /tmp/go").await?;
        until_back(&world, &one, "out of memory").await?;
        delete_all_of(&world, &one.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_reaches_the_pod_within_two_seconds() {
    // nobody else's work counts against the two seconds
    let world = World::alone_on_kubernetes("reset").await.unwrap();
    let story = async {
        let api = world.api()?;
        let one = create_running(&api, &small("one")).await?;
        world.enter(door(&one)).await?;
        let began = Instant::now();
        let reset = ask(&api, &one.env_id, "reset-password").await?;
        let new = Ssh { proof: Proof::Password(reset.text("ssh_password")?.to_owned()), ..door(&one) };
        // a login takes its own time, so what counts is when the one that succeeds began
        let reached = eventually("the new password opens", DONE_AT_MOST, || async {
            let asked = began.elapsed();
            let output = new.run("true").await.map_err(|error| format!("{error:#}"))?;
            if output.success { Ok(asked) } else { Err(output.stderr) }
        })
        .await?;
        println!("the new password was in force {:.2} s after the request", reached.as_secs_f32());
        assert!(reached <= RESET_AT_MOST, "{reached:?}");
        door(&one).run("true").await?.expect_refused()?;
        delete_all_of(&world, &one.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_no_environment_is_removed() {
    let world = World::on_kubernetes("stray").await.unwrap();
    let story = async {
        let stranger = events::ids::EnvId::from_seed(&uuid::Uuid::new_v4());
        let instance = std::fs::read_to_string(world.installation.data_dir().join("instance"))?;
        let labels = |env: &str, instance: &str| json!({"app": "dev-env", "env-id": env, "portreeve.dev/tenant": "default", "portreeve.dev/instance": instance});
        let ours = labels(stranger.as_str(), instance.trim());
        let others = labels("env-ofanotherone", "another");
        for (name, labels) in [(stranger.as_str(), &ours), ("env-ofanotherone", &others)] {
            let set = json!({
                "apiVersion": "apps/v1", "kind": "StatefulSet",
                "metadata": {"name": name, "namespace": world.engine.namespace, "labels": labels},
                "spec": {
                    "replicas": 0, "serviceName": "", "selector": {"matchLabels": {"env-id": name}},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "env", "image": "portreeve/env:dev"}]},
                    },
                },
            });
            world.engine.cluster.apply(&set.to_string()).await?;
        }
        let selector = format!("env-id={stranger}");
        eventually("the StatefulSet of no environment is gone", DONE_AT_MOST, || async {
            let left = world.engine.labelled(&selector).await.map_err(|error| format!("{error:#}"))?;
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await?;
        let kept = world.engine.labelled("env-id=env-ofanotherone").await?;
        assert_eq!(kept.len(), 1, "another installation's is not ours to touch");
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_whose_stateful_set_was_deleted_comes_back() {
    let world = World::on_kubernetes("setless").await.unwrap();
    let story = async {
        let one = with_file(&world).await?;
        world.engine.kubectl(&["delete", "statefulset", &one.env_id, "--wait=false"]).await?;
        until_back(&world, &one, "").await?;
        delete_all_of(&world, &one.env_id).await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_gateway_alone_there_is_no_port() {
    let engine = Kubernetes::join("gateway").await.unwrap();
    let gateway_only = |setup: harness::Setup| setup.with("PORTREEVE_KUBE_EXPOSURE", "gateway-only");
    let world = World::on(engine, node_ports(1).unwrap(), gateway_only).await.unwrap();
    let story = async {
        let api = world.api()?;
        // more environments than ports
        let mut made = Vec::new();
        for name in ["one", "two"] {
            let body =
                merged(small(name), &json!({"resources": {"cpu": 0.1, "memory": 0.125, "storage": 1}}));
            let answer = api.post("/api/environments", &body).await?.expect(202)?;
            made.push(answer.text("env_id")?.to_owned());
        }
        until_listed(&api, "/api/environments", "both run", |items| {
            items.iter().filter(|item| item["status"] == "running").count() == made.len()
        })
        .await?;
        for env in &made {
            let service = world.engine.get("service", env).await?;
            assert_eq!(service["spec"]["type"], "ClusterIP", "{service}");
            let ports = service["spec"]["ports"].as_array().context("a Service has ports")?;
            assert!(ports.iter().all(|port| port["nodePort"].is_null()), "{service}");
        }
        let ledger = Ledger::read(&world.installation).await?;
        assert!(ledger.ports_held.is_empty(), "{:?}", ledger.ports_held);
        for env in &made {
            delete_all_of(&world, env).await?;
        }
        anyhow::Ok(())
    };
    world.blame(story.await).unwrap();
}
