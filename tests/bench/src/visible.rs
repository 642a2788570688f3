//! How soon is a decision visible? From the append to the read model of a running installation, at a
//! steady rate; beside an acknowledged publish and the bare commit of one row on the same servers.

use std::time::{Duration, Instant};

use anyhow::Context;
use events::ids::{EnvId, SessionId, TenantId};
use events::login::Entrance;
use events::session::open::open;
use events::session::{Session, SessionEvent, SessionOpened};
use events::{Cause, Event};
use harness::{EngineDouble, Installation, Setup};
use projections::Projections;
use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Effort;
use crate::report::{Better, Report, Run, median, percentile};

/// Events a second.
const RATE: u64 = 300;
/// Events of a round.
const EVENTS: usize = 3_000;
const VISIBLE_AT_MOST: Duration = Duration::from_secs(30);
/// Ours takes at most so many times theirs.
const GOAL: f64 = 3.0;

pub async fn measure(effort: Effort) -> anyhow::Result<Report> {
    let double = EngineDouble::start().await?;
    let ports = harness::free_ports::range(10)?;
    let installation = Installation::new(Setup::new(Some(double.url()), ports))?;
    let _up = installation.up().await?;
    // Sessions change a table and nobody reacts to them; the other stream has the same settings and
    // no reader that would take part of the machine.
    let config = nats::Config {
        url: installation.nats_url()?,
        user: "provisioner".to_owned(),
        password: installation.nats_password("provisioner")?.into(),
        name: "bench".to_owned(),
    };
    let log = nats::connect(&config).await?.log();
    let password = installation.nats_password("projector")?;
    let options = async_nats::ConnectOptions::with_user_and_password("projector".into(), password);
    let raw = async_nats::jetstream::new(options.connect(installation.nats_url()?).await?);
    let projections = Projections::connect(&installation.database_url()?).await?;
    let bare = PgPool::connect(&installation.database_url()?).await?;
    sqlx::query("CREATE TABLE bare (id uuid PRIMARY KEY, data jsonb NOT NULL)").execute(&bare).await?;

    let count = effort.of(EVENTS);
    let (mut runs, mut all_ours, mut all_theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let ours = paced(count, || one_of_ours(log.clone(), projections.clone())).await?;
        let theirs = paced(count, || one_of_theirs(raw.clone(), bare.clone())).await?;
        runs.push(Run { ours: median(ours.clone()), theirs: median(theirs.clone()) });
        all_ours.extend(ours);
        all_theirs.extend(theirs);
    }
    let report = Report::new(
        "visible",
        "ms",
        "an acknowledged publish and the bare commit of one row",
        (Better::Lower, GOAL),
        runs,
    );
    Ok(report
        .with("rate_per_s", RATE)
        .with(
            "p50",
            json!({"ours": percentile(all_ours.clone(), 50), "theirs": percentile(all_theirs.clone(), 50)}),
        )
        .with("p99", json!({"ours": percentile(all_ours, 99), "theirs": percentile(all_theirs, 99)})))
}

/// Starts one every so often, whether those before are done or not; milliseconds of each.
async fn paced<F>(count: usize, one: impl Fn() -> F) -> anyhow::Result<Vec<f64>>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    let mut going = JoinSet::new();
    for _ in 0..count {
        ticks.tick().await;
        let work = one();
        going.spawn(async move {
            let began = Instant::now();
            work.await.map(|()| began.elapsed().as_secs_f64() * 1_000.0)
        });
    }
    going.join_all().await.into_iter().collect()
}

async fn one_of_ours(log: nats::Log, projections: Projections) -> anyhow::Result<()> {
    let (command, tenant) = (Uuid::new_v4(), TenantId::parse("bench")?);
    let (id, cause) = (SessionId::from_seed(&command), Cause::new(command, "service:bench"));
    let asked = opened()?;
    let decided =
        log.decide(&tenant, id.as_str(), &cause, 0, |session: &Session| open(session, asked.clone())).await?;
    let seq = decided.appended.context("nothing was appended")?.seq;
    anyhow::ensure!(projections.wait_for(seq, VISIBLE_AT_MOST).await?, "{seq} was never visible");
    Ok(())
}

async fn one_of_theirs(jetstream: async_nats::jetstream::Context, pool: PgPool) -> anyhow::Result<()> {
    let data = Event::from(SessionEvent::from(opened()?)).to_json();
    let id = Uuid::new_v4();
    jetstream.publish(format!("parked.projector.{id}"), data.to_string().into()).await?.await?;
    sqlx::query("INSERT INTO bare (id, data) VALUES ($1, $2)").bind(id).bind(data).execute(&pool).await?;
    Ok(())
}

fn opened() -> anyhow::Result<SessionOpened> {
    Ok(SessionOpened {
        place: EnvId::from_seed(&Uuid::nil()).into(),
        ip: [127, 0, 0, 1].into(),
        entrance: Entrance::DirectPort,
        user: "developer".to_owned(),
        method: "publickey".to_owned(),
        client: None,
        at: chrono::Utc::now(),
    })
}
