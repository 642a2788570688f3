//! Does it matter to somebody at work that others get environments? No: their network stays as it is.

use std::fs;

use anyhow::{Context, ensure};
use system::world::{World, create_running, small};

/// Of each bridge of Podman's that has containers: its hardware address, and who gave it (3: somebody).
fn bridges() -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with("podman");
        let ports = fs::read_dir(entry.path().join("brif"));
        if is_ours && ports.is_ok_and(|mut ports| ports.next().is_some()) {
            let read = |what: &str| fs::read_to_string(entry.path().join(what));
            found.push((read("address")?.trim().to_owned(), read("addr_assign_type")?.trim().to_owned()));
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_the_way_to_who_is_there_stays() {
    let world = World::on_real().await.unwrap();
    let story = async {
        let api = world.api()?;
        create_running(&api, &small("first")).await?;
        let before = bridges()?;
        before.first().context("a bridge with containers")?;
        ensure!(before.iter().all(|(_, kind)| kind == "3"), "an address that may change: {before:?}");
        for name in ["second", "third"] {
            create_running(&api, &small(name)).await?;
        }
        ensure!(bridges()? == before, "{before:?} became {:?}", bridges()?);
        Ok(())
    };
    world.blame(story.await).unwrap();
}
