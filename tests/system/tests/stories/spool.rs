//! Is a login forgotten because the control plane was away? People come and go for a minute; all of
//! it arrives afterwards, once.
//!
//! `PORTREEVE_AWAY_S` says how long it is away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{Proof, RealEngine, Ssh};

use system::ledger::Ledger;
use system::world::{World, create_running, door, small, until_listed};

const AWAY_S: u64 = 60;
/// Between two people who come.
const PAUSE: Duration = Duration::from_secs(4);
/// Every so many tries the password is wrong; few enough not to be locked out.
const WRONG_EVERY: usize = 6;
const WRONG_MAX: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_while_the_control_plane_is_away_arrive_once() {
    let mut world = World::on_real().await.unwrap();
    let result = story(&mut world).await;
    world.blame(result).unwrap();
}

async fn story(world: &mut World<RealEngine>) -> anyhow::Result<()> {
    let away = std::env::var("PORTREEVE_AWAY_S").ok().and_then(|text| text.parse().ok()).unwrap_or(AWAY_S);
    let created = create_running(&world.api()?, &small("lonely")).await?;
    let door = door(&created);
    door.run("true").await?.expect_success()?;

    world.kill();
    let began = Instant::now();
    let (mut right, mut wrong) = (1, 0);
    let mut visits = 0;
    while began.elapsed() < Duration::from_secs(away) {
        visits += 1;
        if visits % WRONG_EVERY == 0 && wrong < WRONG_MAX {
            let guess = Ssh { proof: Proof::Password("Wrong-password-1".to_owned()), ..door.clone() };
            guess.run("true").await?.expect_refused()?;
            wrong += 1;
        } else {
            door.run("true").await?.expect_success()?;
            right += 1;
        }
        tokio::time::sleep(PAUSE.min(Duration::from_secs(away).saturating_sub(began.elapsed()))).await;
    }
    world.up_again().await?;
    let api = world.api()?;
    let env = &created.env_id;
    let count = |items: &[serde_json::Value], failed: bool| {
        items.iter().filter(|login| login["class"].is_string() == failed).count()
    };
    let logins =
        until_listed(&api, &format!("/api/environments/{env}/logins"), "every login arrived", |items| {
            count(items, false) >= right && count(items, true) >= wrong
        })
        .await?;
    let sessions =
        until_listed(&api, &format!("/api/environments/{env}/sessions"), "every session ended", |items| {
            items.iter().filter(|session| session["closed_at"].is_string()).count() >= right
        })
        .await?;
    println!("away {away} s: {right} logins, {wrong} failures, {} sessions", sessions.len());
    assert_eq!(
        (count(&logins, false), count(&logins, true), sessions.len()),
        (right, wrong, right),
        "{logins:#?}"
    );

    // once in the log as well, and nothing of it twice a moment later
    let ledger = Ledger::read(&world.installation).await?;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &ledger.events {
        *kinds.entry(event.event.event_type()).or_default() += 1;
    }
    let counted = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    assert_eq!(counted("LoginSucceeded"), right);
    assert_eq!(counted("LoginFailed"), wrong);
    assert_eq!((counted("SessionOpened"), counted("SessionClosed")), (right, right));
    Ok(())
}
