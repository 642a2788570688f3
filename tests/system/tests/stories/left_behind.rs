//! Can two servers get hold of one store? Not even when the product was killed before it had noted
//! which process it started.

use std::time::Duration;

use harness::child::Child;
use harness::{EngineDouble, eventually};

use system::world::{Engine, World, create, show, small};

/// Two servers on one store would destroy it.
pub fn one_server<E: Engine>(world: &World<E>) -> anyhow::Result<()> {
    let servers = world.installation.running("nats-server");
    anyhow::ensure!(servers.len() == 1, "{} servers run on one store: {servers:?}", servers.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_left_behind_is_ended_before_another_takes_its_store() {
    let mut world = World::on_double(harness::free_ports::range(10).unwrap()).await.unwrap();
    let result = left_behind(&mut world).await;
    world.blame(result).unwrap();
}

/// What remains when `kill -9` comes between the start of a server and the note of its process id.
async fn left_behind(world: &mut World<EngineDouble>) -> anyhow::Result<()> {
    let created = create(&world.api()?, &small("kept")).await?;
    let data = world.installation.data_dir();
    let url = world.installation.nats_url()?;
    world.kill();
    let log = data.with_file_name("left.log");
    let secrets = world.installation.kept("secrets.json")?;
    let _left = Child::start(data_program("nats-server")?, &log, |command| {
        command.arg("-c").arg(data.join("nats/server.conf"));
        command.env("PORTREEVE_NATS_NAME", "left").env("PORTREEVE_NATS_HOST", "\"127.0.0.1\"");
        command.env("PORTREEVE_NATS_PORT", url.rsplit(':').next().unwrap_or_default());
        command.env("PORTREEVE_NATS_STORE", format!("\"{}\"", data.join("nats/store").display()));
        for (user, password) in secrets["nats"].as_object().into_iter().flatten() {
            command.env(format!("PORTREEVE_NATS_PASSWORD_{}", user.to_uppercase()), password.to_string());
        }
        let taps = secrets["nats"]["taps"].as_str().unwrap_or_default();
        let issuer = nats::Issuer::of(&taps.into());
        command.env(nats::ISSUER_VARIABLE, nats::quoted(issuer.public()));
    })?;
    eventually("the server that was left behind runs", Duration::from_secs(10), || {
        let answers = std::net::TcpStream::connect(url.trim_start_matches("nats://"));
        std::future::ready(
            answers.map(drop).map_err(|error| format!("{error}: {}", harness::child::log_tail(&log))),
        )
    })
    .await?;
    world.up_again().await?;
    one_server(world)?;
    show(&world.api()?, &created.env_id).await.map(drop)
}

/// Where the product finds it too.
fn data_program(name: &str) -> anyhow::Result<std::path::PathBuf> {
    let tools = std::process::Command::new(harness::programs::repository().join("deploy/dev/tools.sh"))
        .arg("--print-dir")
        .output()?;
    Ok(std::path::Path::new(String::from_utf8(tools.stdout)?.trim()).join("bin").join(name))
}
