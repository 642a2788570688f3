//! Are the port, the gateways and the browser one door to who guesses at an environment, and to who may not come?

use std::net::IpAddr;

use anyhow::{Context, ensure};
use events::login::Entrance;
use harness::child::Child;
use harness::ssh::own_address;
use harness::terminal::Opening;
use harness::{Api, RealEngine, Ssh, eventually, free_ports};
use serde_json::json;
use system::entrances::{another_gateway, failures, guessing, host_key, until_let_in, until_shut_out};
use system::world::{Created, DONE_AT_MOST, World, ask, create_running, door, gateway_door, small};

/// Failures that close the entrances to an address.
const FAILURES_MAX: usize = 5;
const GATEWAYS: usize = 2;
/// While one gateway records the fifth, each other may be checking one more.
const AT_GATEWAYS_MAX: usize = FAILURES_MAX + GATEWAYS - 1;
/// Guesses that every entrance knows of before the many.
const KNOWN: usize = 4;
/// Connections at once, each fifth to the browser's entrance: no password opens that, so with a made-up ticket.
const AT_ONCE: usize = 100;
const RANGE: u16 = 20;
const ELSEWHERE: &str = "127.0.0.1";

/// All ways into an environment, as somebody at one address has them.
struct Ways {
    api: Api,
    env: String,
    gateways: [Ssh; GATEWAYS],
    port: Ssh,
    ip: IpAddr,
}

impl Ways {
    /// From an address that all of them see as it is.
    fn own(world: &World<RealEngine>, created: &Created, other_gateway: u16) -> anyhow::Result<Self> {
        let address = own_address()?;
        let seen = |door: Ssh| Ssh { host: address.clone(), from: Some(address.clone()), ..door };
        let ways = Self::elsewhere(world, created, other_gateway)?;
        Ok(Self { gateways: ways.gateways.map(seen), port: seen(ways.port), ip: address.parse()?, ..ways })
    }

    fn elsewhere(world: &World<RealEngine>, created: &Created, other_gateway: u16) -> anyhow::Result<Self> {
        let gateway = gateway_door(world, created);
        let other = Ssh { port: other_gateway, ..gateway.clone() };
        Ok(Self {
            api: world.api()?,
            env: created.env_id.clone(),
            gateways: [gateway, other],
            port: door(created),
            ip: ELSEWHERE.parse()?,
        })
    }

    async fn browser(&self) -> anyhow::Result<Opening> {
        Ok(Opening { from: Some(self.ip), ..Opening::of(&self.api, &self.env, "").await? })
    }

    /// With the right password and a good ticket.
    async fn are_open(&self, what: &str) -> anyhow::Result<()> {
        for door in self.gateways.iter().chain([&self.port]) {
            until_let_in(door, what).await?;
        }
        self.browser().await?.ready(&self.api).await.context(what.to_owned()).map(drop)
    }

    /// The same, to no avail.
    async fn are_closed(&self, what: &str) -> anyhow::Result<()> {
        for door in &self.gateways {
            let told = door.run("true").await?;
            ensure!(told.stderr.contains("closed for another"), "{what}: {told:?}");
        }
        until_shut_out(&self.port, what).await?;
        let mut browser = self.browser().await?.open(&self.api).await?;
        browser.fails("address_locked", 4423).await.context(what.to_owned()).map(drop)
    }

    /// For who is not on the allow-list, everything looks as for a wrong password, or is not there.
    async fn are_barred(&self, what: &str) -> anyhow::Result<()> {
        for door in &self.gateways {
            door.run("true").await?.expect_refused().context(what.to_owned())?;
        }
        until_shut_out(&self.port, what).await?;
        let mut browser = self.browser().await?.open(&self.api).await?;
        browser.fails("address_not_allowed", 4403).await.context(what.to_owned()).map(drop)
    }

    /// Many connections at once; how many of them were told that their password is wrong.
    async fn stormed(&self) -> anyhow::Result<usize> {
        let doors = [&self.gateways[0], &self.port, &self.gateways[1], &self.gateways[0]].map(guessing);
        let guesses = (0..AT_ONCE).map(|n| {
            let door = doors.get(n % (doors.len() + 1));
            async move {
                let Some(door) = door else { return self.made_up_ticket(n).await.map(|()| false) };
                let told = door.run("true").await?;
                ensure!(!told.success, "a wrong password let somebody in");
                Ok(told.stderr.contains("Permission denied"))
            }
        });
        let told = futures_util::future::try_join_all(guesses).await?;
        Ok(told.into_iter().filter(|wrong| *wrong).count())
    }

    async fn made_up_ticket(&self, number: usize) -> anyhow::Result<()> {
        let path = format!("/ws/terminal/environments/{}?ticket=made-up-{number}", self.env);
        let mut opened = Opening { path, from: Some(self.ip), ..Opening::default() }.open(&self.api).await?;
        opened.fails("ticket_invalid", 4401).await.map(drop)
    }
}

/// Passwords that were checked: at the gateways, and at the port.
async fn checked(world: &World<RealEngine>, env: &str) -> anyhow::Result<(usize, usize)> {
    let failures = failures(world, env).await?;
    let at = |entrance| failures.iter().filter(|at| **at == entrance).count();
    let (gateways, port) = (at(Entrance::Gateway), at(Entrance::DirectPort));
    ensure!(gateways + port == failures.len(), "a guess at the browser's entrance: {failures:?}");
    Ok((gateways, port))
}

/// So many at least: what happened at the port is told a moment later.
async fn until_checked(
    world: &World<RealEngine>,
    env: &str,
    number: usize,
) -> anyhow::Result<(usize, usize)> {
    eventually("the guesses are in the log", DONE_AT_MOST, || async {
        let seen = checked(world, env).await.map_err(|error| format!("{error:#}"))?;
        if seen.0 + seen.1 >= number { Ok(seen) } else { Err(format!("{number}, and not {seen:?}")) }
    })
    .await
}

async fn world() -> anyhow::Result<World<RealEngine>> {
    let (engine, ports) = (RealEngine::start().await?, free_ports::range(RANGE)?);
    World::on(engine, ports, |setup| setup.for_every_address()).await
}

/// The second gateway, which lets in whom the first one lets in.
async fn gateway(world: &World<RealEngine>, created: &Created) -> anyhow::Result<(Child, u16)> {
    let (process, door) = another_gateway(world, &gateway_door(world, created)).await?;
    Ok((process, door.port))
}

async fn restarted(world: &mut World<RealEngine>) -> anyhow::Result<()> {
    world.product.take().context("it runs")?.stop().await?;
    world.up_again().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_add_up_wherever_they_are_made_and_whatever_starts_again() {
    let mut world = world().await.unwrap();
    let told = guesses(&mut world).await;
    world.blame(told).unwrap();
}

async fn guesses(world: &mut World<RealEngine>) -> anyhow::Result<()> {
    let api = world.api()?;
    let (one, two) = (small("one"), small("two"));
    let (mut one, two) = tokio::try_join!(create_running(&api, &one), create_running(&api, &two))?;
    let (process, other) = gateway(world, &one).await?;
    let ways = Ways::own(world, &one, other)?;
    let [first, second] = &ways.gateways;
    assert_eq!(host_key(first).await?, host_key(second).await?, "one host key for all gateways");

    // one by one, at every entrance, while gateway and control plane start again
    guessing(first).run("true").await?.expect_refused()?;
    guessing(&ways.port).run("true").await?.expect_refused()?;
    assert_eq!(until_checked(world, &one.env_id, 2).await?, (1, 1));
    drop(process);
    let (process, other) = gateway(world, &one).await?;
    let ways = Ways::own(world, &one, other)?;
    let second = &ways.gateways[1];
    guessing(second).run("true").await?.expect_refused()?;
    world.product.take().context("it runs")?.stop().await?;
    let told = guessing(second).run("true").await?;
    ensure!(told.stderr.contains("cannot be checked at the moment"), "{told:?}");
    guessing(&ways.port).run("true").await?.expect_refused()?;
    world.up_again().await?;
    assert_eq!(until_checked(world, &one.env_id, KNOWN).await?, (2, 2));
    until_let_in(&Ways::elsewhere(world, &one, other)?.gateways[1], "the log is back").await?;
    // answered when the environment has the newest policy, so its door knows of them all
    one.password = ask(&api, &one.env_id, "reset-password").await?.text("ssh_password")?.to_owned();
    let ways = Ways::own(world, &one, other)?;
    let told = ways.stormed().await?;
    ways.are_closed("after five").await?;
    let seen = until_checked(world, &one.env_id, FAILURES_MAX.max(KNOWN + told)).await?;
    println!("{KNOWN} known before: at gateways and port {seen:?}, {told} told so");

    // all at once: the port hears of the others while they try
    let others = Ways::own(world, &two, other)?;
    let told = others.stormed().await?;
    others.are_closed("after a storm").await?;
    let seen = until_checked(world, &two.env_id, FAILURES_MAX.max(told)).await?;
    println!("nothing known before: at gateways and port {seen:?}, {told} told so");

    // a start forgets nothing
    drop(process);
    restarted(world).await?;
    let (_process, other) = gateway(world, &one).await?;
    let (ways, others) = (Ways::own(world, &one, other)?, Ways::own(world, &two, other)?);
    ways.are_closed("after a start").await?;
    others.are_closed("after a start").await?;
    Ways::elsewhere(world, &one, other)?.are_open("to another address").await?;
    ask(&api, &one.env_id, "unlock").await?;
    ways.are_open("unlocked").await?;
    others.are_closed("another environment was unlocked").await?;
    // all that was checked is in the log by now
    let seen = checked(world, &one.env_id).await?;
    ensure!(seen.0 + seen.1 <= AT_GATEWAYS_MAX + FAILURES_MAX - KNOWN, "at gateways and port: {seen:?}");
    let seen = checked(world, &two.env_id).await?;
    ensure!(seen.0 <= AT_GATEWAYS_MAX && seen.1 <= FAILURES_MAX, "at gateways and port: {seen:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_on_the_list_comes_in_nowhere() {
    let mut world = world().await.unwrap();
    let told = lists(&mut world).await;
    world.blame(told).unwrap();
}

async fn lists(world: &mut World<RealEngine>) -> anyhow::Result<()> {
    let api = world.api()?;
    let created = create_running(&api, &small("list")).await?;
    let (process, other) = gateway(world, &created).await?;
    let path = format!("/api/environments/{}/allow-list", created.env_id);
    let (own, elsewhere) = (Ways::own(world, &created, other)?, Ways::elsewhere(world, &created, other)?);
    let set = async |ranges: &[String]| api.put(&path, &json!({"ranges": ranges})).await?.expect(200);
    own.are_open("without a list").await?;
    set(&["203.0.113.0/24".to_owned()]).await?;
    own.are_barred("a list of others").await?;
    elsewhere.are_barred("a list of others").await?;
    set(&[format!("{}/32", own.ip)]).await?;
    own.are_open("on the list").await?;
    elsewhere.are_barred("not on the list").await?;
    // a start forgets no list
    drop(process);
    restarted(world).await?;
    set(&[]).await?;
    let (_process, other) = gateway(world, &created).await?;
    set(&[format!("{}/32", own.ip)]).await?;
    let (own, elsewhere) = (Ways::own(world, &created, other)?, Ways::elsewhere(world, &created, other)?);
    own.are_open("on the list still").await?;
    elsewhere.are_barred("not on it still").await?;
    set(&[]).await?;
    elsewhere.are_open("without a list again").await?;
    assert_eq!(checked(world, &created.env_id).await?, (0, 0), "who may not come does not guess");
    Ok(())
}
