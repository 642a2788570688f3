//! Can a person get an environment, work in it, and get rid of it? The story, with OpenSSH, on any engine
//! whose environments people can work in.

use std::time::Duration;

use anyhow::Context;
use harness::{Proof, eventually, ssh};
use serde_json::json;

use crate::ledger::{Ledger, connect};
use crate::world::{
    DONE_AT_MOST, Inhabited, QUARANTINE_S, World, ask, create, create_running, delete, door, gateway_door,
    merged, small, until, until_deleted, until_listed, until_status,
};

/// The shortest time to live that may be asked for.
const TTL_S: u64 = 60;
/// Failures that close the entrances to an address.
const FAILURES_MAX: usize = 5;

/// Passwords, keys, files, stop and start, a reset, and who was there.
pub async fn work<E: Inhabited>(world: &World<E>) -> anyhow::Result<()> {
    let api = world.api()?;
    let folder = tempfile::tempdir()?;
    let (early_key, early_public) = ssh::new_key(folder.path(), "early").await?;
    let body = merged(small("work"), &json!({"ssh_public_keys": [early_public]}));
    let created = create_running(&api, &body).await?;
    let env = created.env_id.as_str();
    let door = world.enter(door(&created)).await?;

    // the password, the key that came with the request, and one that is added while it runs
    assert_eq!(door.run("whoami").await?.expect_success()?.trim(), "developer");
    let through = gateway_door(world, &created);
    assert_eq!(through.run("whoami").await?.expect_success().context("the gateway")?.trim(), "developer");
    let by_key = |path: &std::path::Path| harness::Ssh { proof: Proof::Key(path.to_owned()), ..door.clone() };
    assert_eq!(by_key(&early_key).run("echo key").await?.expect_success()?.trim(), "key");
    let (late_key, late_public) = ssh::new_key(folder.path(), "late").await?;
    by_key(&late_key).run("true").await?.expect_refused().context("nobody knows this key yet")?;
    let added = api.post("/api/ssh-keys", &json!({"name": "late", "public_key": late_public})).await?;
    assert!(added.is_success(), "{added:?}");
    eventually("the key added later opens the running environment", DONE_AT_MOST, || async {
        let output = by_key(&late_key).run("echo late").await.map_err(|error| error.to_string())?;
        if output.success { Ok(()) } else { Err(output.stderr) }
    })
    .await?;

    // files
    let file = folder.path().join("in.bin");
    std::fs::write(&file, (0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())?;
    door.copy_in(&file, "/gemini/code/in.bin").await?.expect_success()?;
    let back = folder.path().join("out.bin");
    door.copy_out("/gemini/code/in.bin", &back).await?.expect_success()?;
    assert_eq!(std::fs::read(&file)?, std::fs::read(&back)?);
    let script = format!("put {} /gemini/code/by_sftp\nls /gemini/code\n", file.display());
    assert!(door.sftp(&script).await?.expect_success()?.contains("by_sftp"));

    // stop and start
    ask(&api, env, "stop").await?;
    until_status(&api, env, "stopped").await?;
    assert!(!door.run("true").await?.success, "nothing answers while it is stopped");
    ask(&api, env, "start").await?;
    until_status(&api, env, "running").await?;
    world.enter(door.clone()).await?;
    assert!(door.run("ls /gemini/code").await?.expect_success()?.contains("by_sftp"), "data survives a stop");

    // reset
    let reset = ask(&api, env, "reset-password").await?;
    let new = reset.text("ssh_password")?.to_owned();
    assert_ne!(new, created.password);
    door.run("true").await?.expect_refused().context("the old password stopped working before the answer")?;
    let new_door = harness::Ssh { proof: Proof::Password(new.clone()), ..door.clone() };
    assert_eq!(new_door.run("echo new").await?.expect_success()?.trim(), "new");
    through.run("true").await?.expect_refused().context("the gateway knows that the old one is over")?;
    let new_through = harness::Ssh { proof: Proof::Password(new.clone()), ..through };
    assert_eq!(new_through.run("echo new").await?.expect_success()?.trim(), "new");
    let shown = api.get(&format!("/api/environments/{env}/ssh")).await?.expect(200)?;
    assert_eq!(shown.text("ssh_password")?, new);

    // who was there
    let sessions = until_listed(
        &api,
        &format!("/api/environments/{env}/sessions"),
        "a closed session carried the file in and out",
        |items| {
            let more_than = |field: &str| items.iter().any(|item| item[field].as_u64() > Some(1_000_000));
            more_than("bytes_in") && more_than("bytes_out")
        },
    )
    .await?;
    assert!(sessions.len() >= 8, "{sessions:#?}");
    let logins = api.list(&format!("/api/environments/{env}/logins")).await?;
    let has = |method: &str| logins.iter().any(|login| login["method"] == method);
    assert!(has("password") && has("publickey"), "{logins:#?}");
    Ok(())
}

/// Guessing closes the door to one address; a list says who may connect at all.
pub async fn guess<E: Inhabited>(world: &World<E>) -> anyhow::Result<()> {
    let api = world.api()?;
    let created = create_running(&api, &small("guess")).await?;
    let env = created.env_id.as_str();
    let door = world.enter(door(&created)).await?;
    let wrong = harness::Ssh { proof: Proof::Password("wrong-Password-1".to_owned()), ..door.clone() };
    // offered keys never count
    let folder = tempfile::tempdir()?;
    let (key, _) = ssh::new_key(folder.path(), "stranger").await?;
    for _ in 0..=FAILURES_MAX {
        let stranger = harness::Ssh { proof: Proof::Key(key.clone()), ..door.clone() };
        stranger.run("true").await?.expect_refused()?;
    }
    door.run("true").await?.expect_success()?;
    for number in 1..FAILURES_MAX {
        wrong.run("true").await?.expect_refused().with_context(|| format!("guess {number}"))?;
    }
    // the last one is cut off rather than answered
    assert!(!wrong.run("true").await?.success);
    let closed = door.run("true").await?;
    assert!(!closed.success, "the right password does not help after {FAILURES_MAX} failures");
    until_listed(&api, &format!("/api/environments/{env}/logins"), "all failures are listed", |items| {
        items.iter().filter(|login| login["class"] == "wrong_password").count() >= FAILURES_MAX
    })
    .await?;
    let unlocked = eventually("the lock can be lifted", DONE_AT_MOST, || async {
        let answer = api.post(&format!("/api/environments/{env}/unlock"), &json!({})).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.is_success() { Ok(answer) } else { Err(answer.body.to_string()) }
    });
    unlocked.await?;
    eventually("the right password opens again", DONE_AT_MOST, || async {
        let output = door.run("true").await.map_err(|error| error.to_string())?;
        if output.success { Ok(()) } else { Err(output.stderr) }
    })
    .await?;

    // who may connect at all
    let path = format!("/api/environments/{env}/allow-list");
    let set = api.put(&path, &json!({"ranges": ["203.0.113.0/24"]})).await?;
    assert!(set.is_success(), "{set:?}");
    eventually("an address outside the list is refused", DONE_AT_MOST, || async {
        let output = door.run("true").await.map_err(|error| error.to_string())?;
        if output.success { Err("it was let in") } else { Ok(()) }.map_err(str::to_owned)
    })
    .await?;
    assert!(api.put(&path, &json!({"ranges": []})).await?.is_success());
    eventually("an empty list lets everyone in", DONE_AT_MOST, || async {
        let output = door.run("true").await.map_err(|error| error.to_string())?;
        if output.success { Ok(()) } else { Err(output.stderr) }
    })
    .await
}

/// What is deleted is gone, and its port comes back. The world has two ports: the second environment
/// takes the other one, the third must wait for one of them.
pub async fn delete_and_reuse<E: Inhabited>(world: &World<E>) -> anyhow::Result<()> {
    let api = world.api()?;
    let first = create_running(&api, &small("first")).await?;
    let brief = create_running(&api, &merged(small("brief"), &json!({"ttl_s": TTL_S}))).await?;
    let asked = std::time::Instant::now();
    delete(&api, &first.env_id).await?;
    until_deleted(&api, &first.env_id).await?;
    // its time to live ends without anybody asking
    until(&api, &brief.env_id, "ends by itself", Duration::from_secs(TTL_S) + DONE_AT_MOST, |shown| {
        shown["status"] == "deleted"
    })
    .await?;

    for env in [&first.env_id, &brief.env_id] {
        let left = world.engine.left_of(env).await?;
        assert!(left.is_empty(), "{left:#?}");
    }
    let master_key = std::fs::read_to_string(world.installation.data_dir().join("master.key"))?;
    let vault =
        connect(&world.installation, "provisioner").await?.vault(nats::MasterKeys::parse(master_key.trim())?);
    let owners = vault.owners().await?;
    assert!(!owners.iter().any(|owner| *owner == first.env_id || *owner == brief.env_id), "{owners:?}");

    // the port comes back after its rest, and is used again
    let third = eventually("a port is free again", DONE_AT_MOST, || async {
        create(&api, &small("third")).await.map_err(|error| format!("{error:#}"))
    })
    .await?;
    assert!([first.port, brief.port].contains(&third.port));
    if third.port == first.port {
        assert!(asked.elapsed() >= Duration::from_secs(QUARANTINE_S), "it did not rest");
    }
    until_status(&api, &third.env_id, "running").await?;
    let ledger = Ledger::read(&world.installation).await?;
    assert_eq!(ledger.ports_held.len(), 1, "{:?}", ledger.ports_held);
    world.enter(door(&third)).await.map(drop)
}

/// A start that fails says in which phase and why, and can be cleared away.
pub async fn no_image<E: Inhabited>(world: &World<E>) -> anyhow::Result<()> {
    let api = world.api()?;
    let body = merged(small("nowhere"), &json!({"image": world.engine.no_such_image()}));
    let created = create(&api, &body).await?;
    let failed = until_status(&api, &created.env_id, "failed").await?;
    assert_eq!(failed["phase"], "image", "{failed}");
    let reason = failed["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no-such-image"), "the reason names what is missing: {failed}");
    delete(&api, &created.env_id).await?;
    until_deleted(&api, &created.env_id).await?;
    let left = world.engine.left_of(&created.env_id).await?;
    assert!(left.is_empty(), "{left:#?}");
    Ok(())
}
