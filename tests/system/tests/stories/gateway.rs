//! Is the gateway as good a way in as an environment's own port? The same programs, through both.

use anyhow::{Context, ensure};
use harness::{Proof, RealEngine, Ssh, eventually, ssh};
use serde_json::{Value, json};
use system::client_automation::automation;
use system::client_commands::commands;
use system::client_files::files;
use system::client_forwards::forwards;
use system::client_loads::loads;
use system::client_mounts::mounts;
use system::client_programs::programs;
use system::client_windows::windows;
use system::world::{
    Created, DONE_AT_MOST, World, ask, create_running, door, gateway_door, merged, small, until_listed,
    until_status,
};

/// What the big copies of [`commands`] carry at least.
const BIG_BYTES: u64 = 100 << 20;

struct Place {
    world: World<RealEngine>,
    folder: tempfile::TempDir,
    key: std::path::PathBuf,
    created: Created,
    /// Name and way in.
    doors: [(&'static str, Ssh); 2],
}

/// An environment that a key opens too.
async fn place(name: &str) -> anyhow::Result<Place> {
    let world = World::on_real().await?;
    let folder = tempfile::tempdir()?;
    let (key, public) = ssh::new_key(folder.path(), "key").await?;
    let body = merged(small(name), &json!({"ssh_public_keys": [public]}));
    let created = world.blame(create_running(&world.api()?, &body).await)?;
    let doors = [("gateway", gateway_door(&world, &created)), ("port", door(&created))];
    Ok(Place { world, folder, key, created, doors })
}

fn by_key(door: &Ssh, key: &std::path::Path) -> Ssh {
    Ssh { proof: Proof::Key(key.to_owned()), ..door.clone() }
}

async fn sessions(place: &Place, what: &str, holds: impl Fn(&[Value]) -> bool) -> anyhow::Result<Vec<Value>> {
    let path = format!("/api/environments/{}/sessions", place.created.env_id);
    until_listed(&place.world.api()?, &path, what, holds).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_shells_and_pipes_work_and_each_session_is_recorded() {
    let place = place("commands").await.unwrap();
    let story = async {
        for (name, door) in &place.doors {
            commands(door, place.folder.path()).await.context(*name)?;
        }
        let carried = |entrance: &'static str| {
            move |item: &Value| {
                let more = |field: &str| item[field].as_u64() > Some(BIG_BYTES);
                item["entrance"] == entrance && more("bytes_in") && more("bytes_out")
            }
        };
        let of_gateway = carried("gateway");
        let listed = sessions(&place, "what was carried through the gateway", |items| {
            items.iter().any(&of_gateway) && items.iter().all(|item| !item["closed_at"].is_null())
        })
        .await?;
        let (gateway, port): (Vec<_>, Vec<_>) = listed.iter().partition(|item| item["entrance"] == "gateway");
        ensure!(gateway.iter().all(|item| item["client"].as_str().is_some_and(|c| c.contains("OpenSSH"))));
        ensure!(port.iter().any(|item| carried("direct_port")(item)), "{port:#?}");
        // nothing of the way between gateway and environment is shown as somebody's visit
        ensure!(gateway.len() == port.len(), "{} at the gateway, {} at the port", gateway.len(), port.len());
        Ok(())
    };
    place.world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_and_go() {
    let place = place("files").await.unwrap();
    let story = async {
        for (name, door) in &place.doors {
            let folder = place.folder.path().join(name);
            std::fs::create_dir(&folder)?;
            let inside = format!("/gemini/code/{name}");
            files(door, &folder, &inside).await.context(*name)?;
            mounts(door, &folder, &format!("{inside}/mounted")).await.context(*name)?;
        }
        anyhow::Ok(())
    };
    place.world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwards_and_jumps_lead_where_they_should() {
    let place = place("forwards").await.unwrap();
    let story = async {
        for (name, door) in &place.doors {
            let folder = place.folder.path().join(name);
            std::fs::create_dir(&folder)?;
            forwards(&by_key(door, &place.key), &folder, &place.key).await.context(*name)?;
        }
        anyhow::Ok(())
    };
    place.world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_peoples_clients_get_in_and_work() {
    let place = place("programs").await.unwrap();
    let story = async {
        for (name, door) in &place.doors {
            let folder = place.folder.path().join(name);
            std::fs::create_dir(&folder)?;
            programs(door, &folder).await.context(*name)?;
            windows(door, &folder).await.context(*name)?;
            let folder = folder.join("ansible");
            std::fs::create_dir(&folder)?;
            automation(&by_key(door, &place.key), &folder).await.context(*name)?;
        }
        anyhow::Ok(())
    };
    place.world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_arrives_unchanged_and_an_interrupt_soon() {
    let place = place("loads").await.unwrap();
    let story = async {
        let product = place.world.product.as_ref().context("it runs")?.pid();
        for (name, door) in &place.doors {
            let folder = place.folder.path().join(name);
            std::fs::create_dir(&folder)?;
            loads(door, name, &folder, product).await.context(*name)?;
        }
        anyhow::Ok(())
    };
    place.world.blame(story.await).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_get_in_is_told_why() {
    let place = place("why").await.unwrap();
    let story = async {
        let (api, env) = (place.world.api()?, place.created.env_id.as_str());
        let gateway = &place.doors[0].1;
        let named = Ssh { user: format!("{env}+developer"), ..gateway.clone() };
        assert_eq!(named.run("whoami").await?.expect_success()?.trim(), "developer");
        let colleague = Ssh { user: format!("{env}+alice"), ..by_key(gateway, &place.key) };
        assert_eq!(colleague.run("whoami").await?.expect_success()?.trim(), "developer");
        sessions(&place, "the colleague by name", |items| {
            items.iter().any(|item| item["user"] == "alice" && item["method"] == "publickey")
        })
        .await?;
        // who is told apart from whom: nobody's environment and a wrong password look the same
        let unknown = Ssh { user: "env-aaaaaaaaaaaa".to_owned(), ..gateway.clone() };
        unknown.run("true").await?.expect_refused()?;
        let wrong = Ssh { proof: Proof::Password("wrong-Password-1".to_owned()), ..gateway.clone() };
        wrong.run("true").await?.expect_refused()?;
        let no_name = Ssh { user: "developer".to_owned(), ..gateway.clone() };
        let told = no_name.run("true").await?;
        ensure!(told.stderr.contains("environment's id"), "{told:?}");
        // a change of the password counts at the gateway at once
        let reset = ask(&api, env, "reset-password").await?;
        gateway.run("true").await?.expect_refused()?;
        let gateway =
            Ssh { proof: Proof::Password(reset.text("ssh_password")?.to_owned()), ..gateway.clone() };
        gateway.run("true").await?.expect_success()?;
        // stopped
        let mut staying = gateway.stay("exec sleep 1000")?;
        eventually("a session is there", DONE_AT_MOST, || async {
            let there = gateway.run("pgrep -f 'sleep 1000'").await.map_err(|error| format!("{error:#}"))?;
            if there.success { Ok(()) } else { Err(format!("{there:?}")) }
        })
        .await?;
        ask(&api, env, "stop").await?;
        until_status(&api, env, "stopped").await?;
        let ended = tokio::time::timeout(DONE_AT_MOST, staying.wait()).await.context("it goes on")??;
        ensure!(!ended.success());
        let told = gateway.run("true").await?;
        ensure!(told.code == Some(255) && told.stderr.contains("stopped; start it first"), "{told:?}");
        sessions(&place, "every session has its end", |items| {
            items.iter().all(|item| !item["closed_at"].is_null())
        })
        .await?;
        Ok(())
    };
    place.world.blame(story.await).unwrap();
}
