//! Do lockout and allow-list hold across entrances, gateways and restarts?

use anyhow::{Context, ensure};
use events::Event;
use events::login::{Entrance, LoginEvent};
use harness::ssh::{self, own_address};
use harness::{Proof, RealEngine, Ssh, free_ports};
use serde_json::json;
use system::entrances::{another_gateway, failures, guessing, host_key, until_let_in, until_shut_out};
use system::ledger::Ledger;
use system::talk::Talk;
use system::world::{
    Created, DONE_AT_MOST, World, create_running, door, gateway_door, merged, small, until_listed,
};

/// Failures that close the entrances to an address.
const FAILURES_MAX: usize = 5;
/// Connections that guess at the same time.
const GUESSERS: usize = 100;
const RANGE: u16 = 20;

async fn place(name: &str) -> anyhow::Result<(World<RealEngine>, Created)> {
    let engine = RealEngine::start().await?;
    let ports = free_ports::range(RANGE)?;
    let world = World::on(engine, ports, |setup| setup.for_every_address()).await?;
    let created = world.blame(create_running(&world.api()?, &small(name)).await)?;
    Ok((world, created))
}

/// Gateway and port, from an address that both see as it is.
fn doors(world: &World<RealEngine>, created: &Created) -> anyhow::Result<(Ssh, Ssh)> {
    let own = own_address()?;
    let seen = |door: Ssh| Ssh { host: own.clone(), from: Some(own.clone()), ..door };
    Ok((seen(gateway_door(world, created)), seen(door(created))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_gateway_and_port_add_up_and_close_both() {
    let (world, created) = place("both").await.unwrap();
    let story = async {
        let (api, env) = (world.api()?, created.env_id.as_str());
        let (gateway, port) = doors(&world, &created)?;
        let logins = format!("/api/environments/{env}/logins");
        let failed_at_least = async |number: usize| {
            until_listed(&api, &logins, "the failures are listed", |items| {
                items.iter().filter(|item| item["class"] == "wrong_password").count() >= number
            })
            .await
        };
        // keys that do not fit never count
        let folder = tempfile::tempdir()?;
        let (key, _) = ssh::new_key(folder.path(), "stranger").await?;
        for _ in 0..=FAILURES_MAX {
            Ssh { proof: Proof::Key(key.clone()), ..gateway.clone() }.run("true").await?.expect_refused()?;
        }
        for _ in 0..2 {
            guessing(&gateway).run("true").await?.expect_refused()?;
            guessing(&port).run("true").await?.expect_refused()?;
        }
        failed_at_least(FAILURES_MAX - 1).await?;
        gateway.run("true").await?.expect_success().context("one guess is left")?;
        let fifth = guessing(&gateway).run("true").await?;
        ensure!(fifth.stderr.contains("closed for another 30 minutes"), "{fifth:?}");
        let told = gateway.run("true").await?;
        ensure!(told.stderr.contains("closed for another"), "the right password does not help: {told:?}");
        until_shut_out(&port, "the port is closed too").await?;
        let failed = failed_at_least(FAILURES_MAX).await?;
        let places = |entrance: &str| failed.iter().filter(|item| item["entrance"] == entrance).count();
        ensure!(places("gateway") > 0 && places("direct_port") > 0, "{failed:#?}");
        assert_eq!(failures(&world, &created.env_id).await?.len(), FAILURES_MAX);
        // one address, not the environment
        gateway_door(&world, &created).run("true").await?.expect_success().context("another address")?;
        let unlocked = api.post(&format!("/api/environments/{env}/unlock"), &json!({})).await?;
        ensure!(unlocked.is_success(), "{unlocked:?}");
        until_let_in(&gateway, "the gateway opens again").await?;
        until_let_in(&port, "the port opens again").await
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_allow_list_holds_at_the_gateway() {
    let world = World::on_real().await.unwrap();
    let story = async {
        let api = world.api()?;
        let folder = tempfile::tempdir()?;
        let (key, public) = ssh::new_key(folder.path(), "key").await?;
        let body = merged(small("list"), &json!({"ssh_public_keys": [public]}));
        let created = create_running(&api, &body).await?;
        let gateway = gateway_door(&world, &created);
        let by_key = Ssh { proof: Proof::Key(key), ..gateway.clone() };
        let path = format!("/api/environments/{}/allow-list", created.env_id);
        ensure!(api.put(&path, &json!({"ranges": ["203.0.113.0/24"]})).await?.is_success());
        // the log is asked, so it holds when the answer is there
        gateway.run("true").await?.expect_refused()?;
        by_key.run("true").await?.expect_refused()?;
        assert_eq!(failures(&world, &created.env_id).await?.len(), 0, "who may not come does not guess");
        ensure!(api.put(&path, &json!({"ranges": ["127.0.0.0/8"]})).await?.is_success());
        gateway.run("true").await?.expect_success()?;
        by_key.run("true").await?.expect_success()?;
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_at_two_gateways_get_six_guesses_at_most() {
    let (mut world, created) = place("hundred").await.unwrap();
    let story = async {
        let own = Ssh { from: Some("127.0.0.2".to_owned()), ..gateway_door(&world, &created) };
        let (other_process, other) = another_gateway(&world, &gateway_door(&world, &created)).await?;
        assert_eq!(host_key(&own).await?, host_key(&other).await?, "one host key for all gateways");
        let other = Ssh { from: own.from.clone(), ..other };
        let guesses = (0..GUESSERS).map(|n| {
            let door = guessing(if n % 2 == 0 { &own } else { &other });
            async move { door.run("true").await }
        });
        for guess in futures_util::future::join_all(guesses).await {
            ensure!(!guess?.success);
        }
        let checked = failures(&world, &created.env_id).await?.len();
        ensure!((FAILURES_MAX..=FAILURES_MAX + 1).contains(&checked), "{checked} guesses were checked");
        for door in [&own, &other] {
            let told = door.run("true").await?;
            ensure!(told.stderr.contains("closed for another"), "{told:?}");
        }
        drop(other_process);
        anyhow::Ok((own, checked))
    };
    let (own, checked) = world.blame(story.await).unwrap();
    // a restart forgets nothing, and says how many it turned away
    world.product.take().unwrap().stop().await.unwrap();
    world.up_again().await.unwrap();
    let story = async {
        let told = own.run("true").await?;
        ensure!(told.stderr.contains("closed for another"), "{told:?}");
        assert_eq!(failures(&world, &created.env_id).await?.len(), checked);
        let ledger = Ledger::read(&world.installation).await?;
        let told = |event: &Event| {
            if let Event::Login(LoginEvent::LoginsRefused(refused)) = event
                && refused.entrance == Entrance::Gateway
            {
                return Some(refused.count);
            }
            None
        };
        let summaries: Vec<u64> = ledger.events.iter().filter_map(|recorded| told(&recorded.event)).collect();
        ensure!(summaries.len() == 1 && summaries.iter().all(|count| *count > 20), "{summaries:?}");
        Ok(())
    };
    world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_every_other_service_and_ends_with_its_gateway() {
    let (mut world, created) = place("outlive").await.unwrap();
    let story = async {
        let (process, door) = another_gateway(&world, &gateway_door(&world, &created)).await?;
        let mut talk = Talk::start(&door)?;
        talk.says("before").await?;
        anyhow::Ok((process, door, talk))
    };
    let (process, door, mut talk) = world.blame(story.await).unwrap();
    world.product.take().unwrap().stop().await.unwrap();
    talk.says("while everything else is away").await.unwrap();
    let told = door.run("true").await.unwrap();
    assert!(!told.success && told.stderr.contains("cannot be checked at the moment"), "{told:?}");
    world.up_again().await.unwrap();
    let story = async {
        talk.says("after").await?;
        until_let_in(&door, "the gateway finds the log again").await?;
        let sessions = format!("/api/environments/{}/sessions", created.env_id);
        until_listed(&world.api()?, &sessions, "one session is open", |items| {
            items.iter().filter(|item| item["closed_at"].is_null()).count() == 1
        })
        .await?;
        drop(process);
        let ended = tokio::time::timeout(DONE_AT_MOST, talk.process.wait()).await.context("it goes on")??;
        ensure!(!ended.success());
        let listed = until_listed(&world.api()?, &sessions, "every session has its end", |items| {
            items.iter().all(|item| !item["closed_at"].is_null())
        })
        .await?;
        let interrupted = listed.iter().filter(|item| item["reason"] == "interrupted").count();
        ensure!(interrupted == 1, "{listed:#?}");
        Ok(())
    };
    world.blame(story.await).unwrap();
}
