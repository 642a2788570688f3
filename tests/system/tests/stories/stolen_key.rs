//! Is a relay's key that somebody else has seen, and can it be stopped? Whoever comes with it from elsewhere is on
//! record with the address; a limit of addresses turns them away, and another key throws everybody out but its owner,
//! at once or when the key before counts no longer.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use events::Event;
use events::relay::RelayEvent;
use harness::way::Way;
use harness::{Api, EngineDouble, Sshd, eventually};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use system::foreign_relay::{ForeignRelay, Kind, Manner, Registered, begin, ended, is_connected, register};
use system::ledger::Ledger;
use system::world::World;

const PASSWORD: &str = "Right-Pass-1";
const SOON: Duration = Duration::from_secs(20);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OWNER: Manner = Manner::new(Kind::Python, "auth", "websocket");
const THIEF: Manner = Manner::new(Kind::Node4, "auth", "websocket");

struct Stage {
    world: World<EngineDouble>,
    api: Api,
    elsewhere: Way,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let world = World::on_double(harness::free_ports::range(20)?).await?;
        let api = world.api()?;
        let address: SocketAddr = world.installation.url().trim_start_matches("http://").parse()?;
        Ok(Self { elsewhere: Way::from(ELSEWHERE, address).await?, world, api })
    }

    fn owner(&self, relay: &Registered) -> anyhow::Result<ForeignRelay> {
        ForeignRelay::start(OWNER, &self.world.installation.url(), relay)
    }

    fn thief(&self, relay: &Registered) -> anyhow::Result<ForeignRelay> {
        ForeignRelay::start(THIEF, &format!("http://127.0.0.1:{}", self.elsewhere.port()), relay)
    }

    /// From where its connections came, as the log has them.
    async fn came_from(&self, relay: &Registered) -> anyhow::Result<BTreeSet<IpAddr>> {
        let ledger = Ledger::read(&self.world.installation).await?;
        let of_relay = ledger.events.iter().filter(|recorded| recorded.subject.id == relay.id);
        let came = of_relay.filter_map(|recorded| {
            let Event::Relay(RelayEvent::RelayConnected(connected)) = &recorded.event else { return None };
            connected.address
        });
        Ok(came.collect())
    }

    /// Until when its key before counted, and when its newest connection ended.
    async fn overlap_and_end(&self, relay: &Registered) -> anyhow::Result<(DateTime<Utc>, DateTime<Utc>)> {
        let ledger = Ledger::read(&self.world.installation).await?;
        let (mut until, mut ended) = (None, None);
        for recorded in ledger.events.iter().filter(|recorded| recorded.subject.id == relay.id) {
            if let Event::Relay(RelayEvent::RelayKeyRotated(rotated)) = &recorded.event {
                until = Some(rotated.previous_until);
            } else if let Event::Relay(RelayEvent::RelayDisconnected(_)) = &recorded.event {
                ended = Some(recorded.meta.time);
            }
        }
        Ok((until.context("no key was replaced")?, ended.context("no connection ended")?))
    }

    /// How many relays were turned away for this reason.
    async fn refused(&self, reason: &str) -> anyhow::Result<u64> {
        let metrics =
            reqwest::get(format!("{}/metrics", self.world.installation.url())).await?.text().await?;
        let name = format!("portreeve_relay_refused_total{{reason=\"{reason}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(Ok(0), |number| Ok(number.parse()?))
    }

    /// The line of our own log that says so of this relay.
    fn is_logged(&self, relay: &Registered, code: &str) -> anyhow::Result<()> {
        let log = std::fs::read_to_string(self.world.installation.log())?;
        let elsewhere = ELSEWHERE.to_string();
        let words = ["a relay was turned away", code, &elsewhere, &relay.id];
        let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.map(drop).with_context(|| format!("no line says {words:?}"))
    }

    async fn shown_from(&self, relay: &Registered, address: Ipv4Addr) -> anyhow::Result<()> {
        let path = format!("/api/relays/{}", relay.id);
        eventually("it is shown from where the relay came", SOON, || async {
            let shown = self.api.get(&path).await.map_err(|error| error.to_string())?.body;
            let there = shown["connected"] == true && shown["address"] == address.to_string();
            if there { Ok(()) } else { Err(shown.to_string()) }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_two_places_is_seen_and_another_key_throws_both_out() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(rotate(&stage).await).unwrap();
}

async fn rotate(stage: &Stage) -> anyhow::Result<()> {
    let relay = register(&stage.api, &json!({"name": "dmz", "zone": "dmz"})).await?;
    let owner = stage.owner(&relay)?;
    owner.says("connected", 1).await?;
    stage.shown_from(&relay, HERE).await?;
    let thief = stage.thief(&relay)?;
    thief.says("connected", 1).await?;
    // each throws the other out, and comes back: nobody can miss it
    owner.says("disconnected", 1).await?;
    owner.says("connected", 2).await?;
    thief.says("disconnected", 1).await?;
    assert_eq!(stage.came_from(&relay).await?, BTreeSet::from([HERE, ELSEWHERE].map(IpAddr::from)));

    // one that hangs does not take its place again: the thief has it, and stays
    owner.process.signal(Signal::SIGSTOP)?;
    stage.shown_from(&relay, ELSEWHERE).await?;
    let path = format!("/api/relays/{}/rotate-key", relay.id);
    let rotated = stage.api.post(&path, &json!({"overlap_s": 0})).await?.expect(200)?;
    let renewed = Registered { key: rotated.text("api_key")?.to_owned(), ..relay.clone() };
    thief.says("refused", 1).await?;
    owner.process.signal(Signal::SIGCONT)?;
    owner.says("refused", 1).await?;
    for log in [thief.log(), owner.log()] {
        assert!(log.contains("key_refused"), "{log}");
    }
    is_connected(&stage.api, &relay, false).await?;
    stage.is_logged(&relay, "key_refused")?;
    drop(owner);

    let owner = stage.owner(&renewed)?;
    owner.says("connected", 1).await?;
    stage.shown_from(&relay, HERE).await?;
    let before = stage.refused("key_refused").await?;
    eventually("the thief is turned away again and again", SOON, || async {
        let now = stage.refused("key_refused").await.map_err(|error| error.to_string())?;
        if now > before + 1 { Ok(()) } else { Err(now.to_string()) }
    })
    .await?;
    let target = Sshd::start(PASSWORD, "").await?;
    let body = json!({
        "name": "target", "host": "127.0.0.1", "port": target.port, "zone": "dmz",
        "username": harness::sshd::USER, "password": PASSWORD, "test": false,
    });
    let server = stage.api.post("/api/servers", &body).await?.expect(201)?.text("server_id")?.to_owned();
    let (_, ids) = begin(&stage.api, "echo mine", &[&server], json!({})).await?;
    let ran = ended(&stage.api, &ids[0], SOON).await?;
    assert_eq!((&ran["stdout"], &ran["relay_id"]), (&json!("mine\n"), &json!(relay.id)), "{ran}");
    assert!(!thief.log().contains("execute") && !owner.log().contains("disconnected"), "{}", owner.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_addresses_keeps_a_stolen_key_from_being_of_use() {
    let stage = Stage::set().await.unwrap();
    stage.world.blame(limit(&stage).await).unwrap();
}

async fn limit(stage: &Stage) -> anyhow::Result<()> {
    let relay = register(&stage.api, &json!({"name": "dmz", "addresses": ["127.0.0.1/32"]})).await?;
    let owner = stage.owner(&relay)?;
    owner.says("connected", 1).await?;
    let thief = stage.thief(&relay)?;
    thief.says("refused", 2).await?;
    let told = "address_refused: this relay may not connect from 127.0.0.2";
    assert!(thief.log().contains(told) && !thief.log().contains("connected"), "{}", thief.log());
    assert!(stage.refused("address_refused").await? >= 2);
    stage.is_logged(&relay, "address_refused")?;
    assert!(!owner.log().contains("disconnected"), "{}", owner.log());
    assert_eq!(stage.came_from(&relay).await?, BTreeSet::from([IpAddr::from(HERE)]));
    stage.shown_from(&relay, HERE).await?;

    // another limit holds for who is connected too
    let path = format!("/api/relays/{}", relay.id);
    let elsewhere = json!({"addresses": ["127.0.0.2/32"]});
    stage.api.call(Method::PATCH, &path, Some(&elsewhere), None).await?.expect(200)?;
    owner.says("disconnected", 1).await?;
    owner.says("refused", 1).await?;
    assert!(owner.log().contains("address_refused"), "{}", owner.log());
    thief.says("connected", 1).await?;
    stage.shown_from(&relay, ELSEWHERE).await?;

    // by the key before one stays as long as it counts, and no longer
    stage.api.post(&format!("{path}/rotate-key"), &json!({"overlap_s": 3})).await?.expect(200)?;
    thief.says("disconnected", 1).await?;
    is_connected(&stage.api, &relay, false).await?;
    let (until, ended) = stage.overlap_and_end(&relay).await?;
    assert!(ended >= until, "it counted until {until}, and its connection ended at {ended}");
    eventually("it is not let in again", SOON, || async {
        let log = thief.log();
        if log.contains("key_refused") { Ok(()) } else { Err(log) }
    })
    .await
}
