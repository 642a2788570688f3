//! Does a password lie anywhere in the clear? After creations, resets and deletions everything that
//! is kept or shown is searched; a word that must be found proves that the search can find.

use std::path::Path;

use harness::real_engine::podman;
use harness::{Api, RealEngine};

use system::ledger::{Ledger, connect};
use system::world::{World, ask, create_running, delete, door, small, until_deleted};

/// Something that is no secret and must be found, or the search is blind.
const MARKER: &str = "marker-of-this-story";

/// A place and what stands there.
struct Place {
    name: &'static str,
    text: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_lies_in_the_clear() {
    let world = World::on_real().await.unwrap();
    world.blame(search(&world).await).unwrap();
}

async fn search(world: &World<RealEngine>) -> anyhow::Result<()> {
    let api = world.api()?;
    let kept = create_running(&api, &small(MARKER)).await?;
    let gone = create_running(&api, &small("gone")).await?;
    let mut secrets = vec![kept.password.clone(), gone.password.clone()];
    for created in [&kept, &gone] {
        door(created).run("true").await?.expect_success()?;
        for _ in 0..2 {
            secrets
                .push(ask(&api, &created.env_id, "reset-password").await?.text("ssh_password")?.to_owned());
        }
    }
    // shown once more, which is an event
    api.get(&format!("/api/environments/{}/ssh", kept.env_id)).await?.expect(200)?;
    delete(&api, &gone.env_id).await?;
    until_deleted(&api, &gone.env_id).await?;
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 6, "each is another one");

    let data = world.installation.data_dir();
    for place in shown(world, &api, &kept.env_id).await? {
        let speaks = [MARKER, &kept.env_id, "portreeve"].iter().any(|word| place.text.contains(word));
        assert!(speaks, "{} is empty of this story: {:.200}", place.name, place.text);
        for secret in &secrets {
            assert!(!place.text.contains(secret.as_str()), "a password stands in {}", place.name);
        }
    }
    let marker = [MARKER.to_owned()];
    for folder in ["nats/store", "postgres"] {
        let found = files_with(&marker, &[&data.join(folder)])?;
        assert!(!found.is_empty(), "the search of {folder} does not even find {MARKER}");
    }
    let found = files_with(&secrets, &[&data, &world.installation.log()])?;
    assert!(found.is_empty(), "a password stands in {found:?}");
    println!("{} passwords are in no file and in nothing that is shown", secrets.len());

    let master_key = std::fs::read_to_string(data.join("master.key"))?;
    let vault =
        connect(&world.installation, "provisioner").await?.vault(nats::MasterKeys::parse(master_key.trim())?);
    let owners = vault.owners().await?;
    assert!(owners.contains(&kept.env_id), "{owners:?}");
    assert!(!owners.contains(&gone.env_id), "the vault keeps nothing of a deleted environment: {owners:?}");
    Ok(())
}

/// What is shown to people and machines.
async fn shown(world: &World<RealEngine>, api: &Api, env: &str) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    let mut place = |name, text| places.push(Place { name, text });
    // Files of the stream are compressed: the messages themselves are searched too.
    let ledger = Ledger::read(&world.installation).await?;
    let events: Vec<String> = ledger.events.iter().map(|event| event.to_cloudevent().to_string()).collect();
    place("the events", events.join("\n"));
    place("/metrics", api.get("/metrics").await?.expect(200)?.body.to_string());
    place(
        "the environment",
        api.get(&format!("/api/environments/{env}")).await?.expect(200)?.body.to_string(),
    );
    place("the audit log", serde_json::Value::Array(api.list("/api/audit").await?).to_string());
    let inspected = podman(&["inspect", &format!("portreeve-{env}")])?;
    place("podman inspect", String::from_utf8_lossy(&inspected.stdout).into_owned());
    // What a person would see in the database, whatever its files look like.
    let mut dump = std::process::Command::new("pg_dump");
    let dumped = dump.arg(world.installation.database_url()?).output()?;
    anyhow::ensure!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    place("pg_dump", String::from_utf8_lossy(&dumped.stdout).into_owned());
    Ok(places)
}

/// Files below the places that hold one of the words, whatever else they hold.
fn files_with(words: &[String], places: &[&Path]) -> anyhow::Result<Vec<String>> {
    let patterns = tempfile::NamedTempFile::new()?;
    std::fs::write(patterns.path(), words.join("\n"))?;
    let mut grep = std::process::Command::new("grep");
    // Binary files too; a file that goes while it is looked for keeps nothing (-s).
    grep.args(["-rlaFs", "--devices=skip", "-f"]).arg(patterns.path()).args(places);
    let output = grep.output()?;
    anyhow::ensure!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
