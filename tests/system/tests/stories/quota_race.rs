//! Can a quota be outrun? 64 people in 4 processes ask at the same moment; 10 may have one.

use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use events::quota::QuotaEvent;
use serde_json::{Value, json};

use system::ledger::Ledger;
use system::world::{World, environments};

const PROCESSES: usize = 4;
const CREATORS: usize = 16;
const QUOTA: usize = 10;
/// The processes start together, so long after they were made.
const TOGETHER_IN: Duration = Duration::from_secs(2);
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_of_ten_gives_ten_however_many_ask() {
    let world = World::on_double(harness::free_ports::range(100).unwrap()).await.unwrap();
    world.blame(race(&world).await).unwrap();
}

async fn race(world: &World<harness::EngineDouble>) -> anyhow::Result<()> {
    let api = world.api()?;
    let tenant = api.post("/api/tenants", &json!({"name": "race"})).await?;
    anyhow::ensure!(tenant.is_success(), "{tenant:?}");
    let tenant_id = tenant.text("tenant_id")?.to_owned();
    let quota = api.put(&format!("/api/tenants/{tenant_id}/quota"), &json!({"environments": QUOTA})).await?;
    anyhow::ensure!(quota.is_success(), "{quota:?}");
    let token = api
        .post("/api/tokens", &json!({"name": "race", "tenant_id": tenant_id, "role": "developer"}))
        .await?;
    let token = token.text("token")?.to_owned();

    let at = SystemTime::now().duration_since(UNIX_EPOCH)? + TOGETHER_IN;
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            tokio::process::Command::new(harness::programs::built("creators")?)
                .args([api.base(), &CREATORS.to_string(), &at.as_millis().to_string()])
                .env("CREATORS_TOKEN", &token)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .context("cannot start a process of creators")
        })
        .collect::<anyhow::Result<_>>()?;
    let mut statuses: Vec<Value> = Vec::new();
    for child in children {
        let output = child.wait_with_output().await?;
        let told = serde_json::from_slice::<Vec<Value>>(&output.stdout);
        statuses.extend(told.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?);
    }
    let count = |what: &str| statuses.iter().filter(|status| *status == what).count();
    let (accepted, refused) = (count("202"), count("403 quota_exceeded"));
    println!("{PROCESSES} processes, {CREATORS} creators each: {accepted} accepted, {refused} refused");
    assert_eq!(statuses.len(), PROCESSES * CREATORS);
    assert_eq!((accepted, refused), (QUOTA, PROCESSES * CREATORS - QUOTA), "{statuses:?}");

    let ledger = Ledger::read(&world.installation).await?;
    let claimed = ledger.quota_events().filter(|event| matches!(event, QuotaEvent::QuotaClaimed(_))).count();
    assert_eq!(claimed, QUOTA, "each claim is an event, and there is none besides");
    assert_eq!(environments(&api.as_caller(&token), None).await?.len(), QUOTA);
    Ok(())
}
