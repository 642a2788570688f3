//! Is what people saw at the gateway recorded, when their tenant asks for it, and nothing else?

use anyhow::{Context, ensure};
use harness::RealEngine;
use serde_json::json;
use system::client_programs::python;
use system::entrances::another_gateway;
use system::screen::{Shell, cast, record, recordings, said};
use system::world::{Created, World, create_running, door, gateway_door, small, until_listed};

/// Typed while nothing is echoed, so no recording may have it.
const TYPED: &str = "Typed-Secret-9";

async fn place(name: &str) -> anyhow::Result<(World<RealEngine>, Created)> {
    let world = World::on_real().await?;
    let created = world.blame(create_running(&world.api()?, &small(name)).await)?;
    Ok((world, created))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_is_recorded_as_it_was_shown_and_nothing_that_was_typed() {
    let (world, created) = place("recorded").await.unwrap();
    let story = async {
        let (api, env) = (world.api()?, created.env_id.as_str());
        let gateway = gateway_door(&world, &created);
        // until the tenant asks, nothing is kept
        let mut before = Shell::open(&gateway)?;
        before.types("echo un''recorded\n").await?;
        before.shows("unrecorded").await?;
        record(&api, true).await?;
        let mut shell = Shell::open(&gateway)?;
        shell
            .types("stty -echo; echo ready-$((40+2)); PS1=; read -s secret; stty echo; echo got-${#secret}\n")
            .await?;
        shell.shows("ready-42").await?;
        shell.types(&format!("{TYPED}\n")).await?;
        shell.shows(&format!("got-{}", TYPED.len())).await?;
        shell.types("printf 'gr\\303\\274n \\360\\237\\232\\242\\n'; stty size\n").await?;
        shell.shows("grün \u{1f6a2}").await?;
        shell.shows("28 90").await?;
        shell.types("exit\n").await?;
        shell.ends().await?;
        // what has no terminal is not recorded
        gateway.run("echo no terminal").await?.expect_success()?;
        let port = door(&created);
        port.run("echo direct").await?.expect_success()?;
        before.types("exit\n").await?;
        before.ends().await?;
        let listed =
            recordings(&api, env, "its end", |items| items.iter().any(|item| !item["ended_at"].is_null()))
                .await?;
        ensure!(listed.len() == 1, "{listed:#?}");
        ensure!(listed[0]["complete"] == true && listed[0]["entrance"] == "gateway", "{listed:#?}");
        ensure!((&listed[0]["cols"], &listed[0]["rows"]) == (&json!(90), &json!(28)), "{listed:#?}");
        let (header, events) = cast(&api, &listed[0]).await?;
        ensure!((&header["width"], &header["height"]) == (&json!(90), &json!(28)), "{header}");
        ensure!(header["env"]["TERM"] == "xterm-256color", "{header}");
        let shown = said(&events, "o");
        for text in ["ready-42", "got-14", "grün \u{1f6a2}"] {
            ensure!(shown.contains(text), "{text:?} is missing: {shown:?}");
        }
        ensure!(!format!("{events:?}").contains(TYPED), "what was typed is in it");
        ensure!(events.iter().all(|event| event[1] != "i"), "input");
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_terminals_of_one_connection_and_their_sizes_are_recorded() {
    let (world, created) = place("several").await.unwrap();
    let story = async {
        let (api, env) = (world.api()?, created.env_id.as_str());
        record(&api, true).await?;
        let gateway = gateway_door(&world, &created);
        python(&gateway, include_str!("../../src/recorded_client.py")).await?;
        let listed = recordings(&api, env, "two recordings", |items| {
            items.len() == 2 && items.iter().all(|item| item["complete"] == true)
        })
        .await?;
        ensure!(listed[0]["session_id"] == listed[1]["session_id"], "{listed:#?}");
        let mut shown = Vec::new();
        for recording in &listed {
            let (_, events) = cast(&api, recording).await?;
            shown.push((said(&events, "o"), said(&events, "r")));
        }
        // the newest first
        ensure!(shown[1].0.contains("one-1") && !shown[1].0.contains("two-2"), "{shown:#?}");
        ensure!(shown[0].0.contains("two-2") && !shown[0].0.contains("one-1"), "{shown:#?}");
        ensure!(shown[1].1 == "111x33" && shown[0].1.is_empty(), "{shown:#?}");
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_leaves_a_beginning_and_nats_may_be_away() {
    let (world, created) = place("killed").await.unwrap();
    let story = async {
        let (api, env) = (world.api()?, created.env_id.as_str());
        record(&api, true).await?;
        let (process, door) = another_gateway(&world, &gateway_door(&world, &created)).await?;
        let mut shell = Shell::open(&door)?;
        shell.types("PS1=; echo kept-$((40+2))\n").await?;
        shell.shows("kept-42").await?;
        let listed = recordings(&api, env, "its beginning is vouched for", |items| {
            items.first().is_some_and(|item| item["bytes"].as_u64() > Some(0))
        })
        .await?;
        ensure!(listed[0]["ended_at"].is_null() && listed[0]["complete"] == false, "{listed:#?}");
        // dropped is `kill -9`
        drop(process);
        let listed = recordings(&api, env, "its session's end", |items| {
            items.iter().all(|item| !item["ended_at"].is_null())
        })
        .await?;
        ensure!(listed.len() == 1 && listed[0]["complete"] == false, "{listed:#?}");
        let (_, events) = cast(&api, &listed[0]).await?;
        ensure!(said(&events, "o").contains("kept-42"), "{events:#?}");
        // NATS away in the middle of another one
        let mut shell = Shell::open(&gateway_door(&world, &created))?;
        shell.types("PS1=; echo before-$((40+1))\n").await?;
        shell.shows("before-41").await?;
        world.product.as_ref().context("it runs")?.kill_child("nats-server")?;
        shell.types("echo meanwhile-$((40+2))\n").await?;
        shell.shows("meanwhile-42").await?;
        until_listed(&api, "/api/environments", "NATS is back", |items| !items.is_empty()).await.ok();
        shell.types("echo after-$((40+3)); exit\n").await?;
        shell.shows("after-43").await?;
        shell.ends().await?;
        let listed = recordings(&api, env, "the second's end", |items| {
            items.first().is_some_and(|item| item["complete"] == true)
        })
        .await?;
        ensure!(listed.len() == 2, "{listed:#?}");
        let (_, events) = cast(&api, &listed[0]).await?;
        let shown = said(&events, "o");
        for text in ["before-41", "meanwhile-42", "after-43"] {
            ensure!(shown.contains(text), "{text} is missing: {shown:?}");
        }
        Ok(())
    };
    world.blame(story.await).unwrap();
}
