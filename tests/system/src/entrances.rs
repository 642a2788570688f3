//! What do stories do at several entrances? Gateways and APIs of processes of their own, people who guess, and a
//! look at whether somebody is let in.

use anyhow::Context;
use events::Event;
use events::login::{Entrance, LoginEvent};
use harness::child::Child;
use harness::ssh::{self, Output};
use harness::{Api, Proof, RealEngine, Ssh, eventually, free_ports};

use crate::ledger::Ledger;
use crate::world::{DONE_AT_MOST, Engine, World};

/// The same way in for somebody who does not know the password.
pub fn guessing(door: &Ssh) -> Ssh {
    Ssh { proof: Proof::Password("wrong-Password-1".to_owned()), ..door.clone() }
}

pub async fn until_let_in(door: &Ssh, what: &str) -> anyhow::Result<()> {
    eventually(what, DONE_AT_MOST, || async {
        let output = door.run("true").await.map_err(|error| format!("{error:#}"))?;
        if output.success { Ok(()) } else { Err(output.stderr) }
    })
    .await
}

pub async fn until_shut_out(door: &Ssh, what: &str) -> anyhow::Result<Output> {
    eventually(what, DONE_AT_MOST, || async {
        let output = door.run("true").await.map_err(|error| format!("{error:#}"))?;
        if output.success { Err("it is open".to_owned()) } else { Ok(output) }
    })
    .await
}

/// A gateway of its own process, which lets in whom `door` lets in.
pub async fn another_gateway(world: &World<RealEngine>, door: &Ssh) -> anyhow::Result<(Child, Ssh)> {
    let (listen, health) = (free_ports::one()?, free_ports::one()?);
    let arguments =
        ["--ssh-listen", &format!("0.0.0.0:{listen}"), "--health-listen", &format!("127.0.0.1:{health}")];
    let running = world.installation.service("gateway", &arguments)?;
    let door = Ssh { port: listen, ..door.clone() };
    until_let_in(&door, "the other gateway lets people in").await.with_context(|| running.log_tail())?;
    Ok((running, door))
}

/// An API of its own process, asked by the administrator.
pub async fn another_api<E: Engine>(world: &World<E>) -> anyhow::Result<(Child, Api)> {
    let installation = &world.installation;
    let listen = |port: u16| format!("127.0.0.1:{port}");
    let place = listen(free_ports::one()?);
    let (health, jupyter) = (listen(free_ports::one()?), listen(free_ports::one()?));
    let database = installation.database_url()?;
    let arguments = [
        ["--listen", &place],
        ["--health-listen", &health],
        ["--jupyter-listen", &jupyter],
        ["--database-url", &database],
    ];
    let running = installation.service("api", arguments.as_flattened())?;
    let api = Api::new(format!("http://{place}"), Some(installation.admin_token()?))?;
    eventually("the other API is ready", DONE_AT_MOST, || async {
        match api.get("/readyz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.body)),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await
    .with_context(|| running.log_tail())?;
    Ok((running, api))
}

/// The host key that somebody sees there.
pub async fn host_key(door: &Ssh) -> anyhow::Result<String> {
    let mut scan = tokio::process::Command::new("ssh-keyscan");
    scan.args(["-t", "ed25519", "-p", &door.port.to_string(), "127.0.0.1"]);
    let shown = ssh::output(scan).await?.expect_success()?;
    Ok(shown.split_whitespace().last().context("no key")?.to_owned())
}

/// Passwords that were checked and wrong, by the log: where, for each.
pub async fn failures(world: &World<RealEngine>, env: &str) -> anyhow::Result<Vec<Entrance>> {
    let ledger = Ledger::read(&world.installation).await?;
    let of_env = ledger.events.iter().filter(|recorded| recorded.subject.id == env);
    let failed = of_env.filter_map(|recorded| {
        let Event::Login(LoginEvent::LoginFailed(failed)) = &recorded.event else { return None };
        Some(failed.entrance)
    });
    Ok(failed.collect())
}
