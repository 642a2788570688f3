//! What happens when every port is taken? 2,768 environments fit, the next one is told so.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use events::Event;
use events::ports::PortEvent;
use futures_util::{StreamExt, stream};
use harness::{Answer, Api, EngineDouble, Setup, eventually};

use system::ledger::Ledger;
use system::world::{World, created, delete, small, until_deleted};

/// The contract's own range.
const FIRST: u16 = 30_000;
const LAST: u16 = 32_767;
/// People who ask at the same time.
const AT_ONCE: usize = 24;
/// All of them run by then.
const RUNNING_AT_MOST: Duration = Duration::from_secs(300);
/// Whoever is told to try again does so at most this often.
const TRIES_MAX: usize = 20;
/// What a busy machine may answer: nothing is decided yet.
const ASK_AGAIN: [&str; 2] = ["log_unavailable", "timed_out"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_pool_is_given_out_once_and_then_refused() {
    let double = EngineDouble::start().await.unwrap();
    // With so many a sweep is work: as often as in production.
    let seldom = |setup: Setup| setup.with("PORTREEVE_SWEEP_INTERVAL_S", 30);
    let world = World::on(double, FIRST..=LAST, seldom).await.unwrap();
    world.blame(fill(&world).await).unwrap();
}

/// The answer once it is decided: while port or password are on their way the same request is made again.
async fn ask(api: &Api, name: &str) -> anyhow::Result<Answer> {
    let (key, body) = (uuid::Uuid::new_v4().to_string(), small(name));
    for _ in 0..TRIES_MAX {
        let answer = api.post_once("/api/environments", &body, &key).await?;
        let missing = ["ssh_port", "ssh_password"].iter().any(|field| answer.body[field].is_null());
        let on_its_way = answer.status == 202 && missing;
        if !on_its_way && !ASK_AGAIN.contains(&answer.code()) {
            return Ok(answer);
        }
    }
    anyhow::bail!("{name}: neither a port nor a refusal after {TRIES_MAX} requests")
}

async fn fill(world: &World<EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let size = usize::from(LAST - FIRST) + 1;
    let began = Instant::now();
    let made: Vec<_> = stream::iter(0..size)
        .map(|number| {
            let api = api.clone();
            async move { created(&ask(&api, &format!("env-{number}")).await?) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let made = made.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let created_after = began.elapsed();
    let ports: BTreeSet<u16> = made.iter().map(|created| created.port).collect();
    assert_eq!(ports.len(), size, "each has a port of its own");
    assert_eq!((ports.first(), ports.last()), (Some(&FIRST), Some(&LAST)));

    eventually("all of them run", RUNNING_AT_MOST, || async {
        let state = world.engine.state().await.map_err(|error| format!("{error:#}"))?;
        let running =
            state.containers.iter().filter(|container| !container.policy_version.is_empty()).count();
        if running == size { Ok(()) } else { Err(format!("{running} of {size} sentries have a policy")) }
    })
    .await?;
    println!(
        "{size} environments: created in {:.0} s ({:.0}/s), all guarded after {:.0} s",
        created_after.as_secs_f32(),
        size as f32 / created_after.as_secs_f32(),
        began.elapsed().as_secs_f32()
    );

    let refused = ask(&api, "one-more").await?;
    assert_eq!((refused.status, refused.code()), (503, "port_pool_exhausted"), "{refused:?}");

    // a port that comes back is given out again
    let gone = &made[0];
    delete(&api, &gone.env_id).await?;
    until_deleted(&api, &gone.env_id).await?;
    let next = eventually("the port that came back is given out", Duration::from_secs(60), || async {
        let answer = ask(&api, "next").await.map_err(|error| error.to_string())?;
        created(&answer).map_err(|_| format!("{} {}", answer.status, answer.body))
    })
    .await?;
    assert_eq!(next.port, gone.port);

    // folding the log refuses a port that was allocated twice
    let ledger = Ledger::read(&world.installation).await?;
    let allocated =
        |event: &&events::Recorded| matches!(&event.event, Event::Port(PortEvent::PortAllocated(_)));
    assert_eq!(ledger.events.iter().filter(allocated).count(), size + 1);
    assert_eq!(ledger.ports_held.len(), size);
    Ok(())
}
