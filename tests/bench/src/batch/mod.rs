//! How fast does one command run on many servers? Through API, hub, log and our agent, until every output has arrived;
//! beside Ansible, parallel-ssh and a loop of OpenSSH on the same servers.
//!
//! Warm on every side before anything counts: the agent has a login to each server open, as it keeps them for a minute;
//! Ansible and OpenSSH have a shared connection (ControlPersist) to each, parallel-ssh a client. A login is measured on
//! no side. Sides take turns, a run each, and none begins before our read models have caught up.

pub mod asking;
mod peers;
pub mod stage;

use crate::Effort;
use crate::report::{Better, Report, Run, median};
use asking::Asking;
use peers::{Ansible, ParallelSsh};
use stage::{AT_ONCE, Stage};

/// Servers of a run, and runs of a round.
const TARGETS: usize = 100;
const TIMES: usize = 10;
/// Five times as many as Ansible.
const ANSIBLE_GOAL: f64 = 5.0;
/// As many as the bare loop, which puts nothing on record.
const OPENSSH_GOAL: f64 = 1.0;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    Ansible,
    OpenSsh,
}

/// Those beside us.
struct Peers {
    ansible: Ansible,
    parallel_ssh: Option<ParallelSsh>,
}

/// Seconds of all runs of a round, by side.
#[derive(Default)]
struct Took {
    ours: f64,
    theirs: f64,
    parallel_ssh: f64,
}

pub async fn measure(beside: Beside, effort: Effort) -> anyhow::Result<Report> {
    let stage = Stage::set(effort.of(TARGETS)).await?;
    let asking = Asking::of(stage.up.admin());
    let mut peers = match beside {
        Beside::Ansible => {
            Some(Peers { ansible: Ansible::on(&stage)?, parallel_ssh: ParallelSsh::on(&stage).await? })
        }
        Beside::OpenSsh => None,
    };
    let times = effort.of(TIMES);
    let of_round = (times * stage.targets.len()) as f64;
    let of_run = stage.targets.len() as f64;
    let (mut runs, mut parallel_ssh) = (Vec::new(), Vec::new());
    let (mut raw, mut by_command_line) = (Vec::new(), Vec::new());
    for round in 0..=effort.rounds {
        // the first round warms up
        let warming = round == 0;
        let took = one_round(&stage, &asking, peers.as_mut(), if warming { 1 } else { times }).await?;
        if warming {
            continue;
        }
        runs.push(Run { ours: of_round / took.ours, theirs: of_round / took.theirs });
        by_command_line.push(of_run / peers::portreeve_run(&stage).await?);
        if let Some(peers) = &peers {
            raw.push(of_run / peers.ansible.run(&stage, "raw").await?);
            parallel_ssh.extend(peers.parallel_ssh.is_some().then_some(of_round / took.parallel_ssh));
        }
    }
    let (name, against, goal) = match beside {
        Beside::Ansible => {
            ("batch_ansible", "ansible all -m command: forks 50, pipelining, ControlPersist", ANSIBLE_GOAL)
        }
        Beside::OpenSsh => ("batch_openssh", "xargs -P 50 ssh over shared connections", OPENSSH_GOAL),
    };
    let mut report = Report::new(name, "commands/s", against, (Better::Higher, goal), runs)
        .with("targets", stage.targets.len())
        .with("at_once", AT_ONCE)
        .with("portreeve_run_commands_per_s", median(by_command_line));
    if !raw.is_empty() {
        report = report.with("ansible_raw_commands_per_s", median(raw));
    }
    if !parallel_ssh.is_empty() {
        report = report.with("parallel_ssh_commands_per_s", median(parallel_ssh));
    }
    Ok(report)
}

async fn one_round(
    stage: &Stage,
    asking: &Asking,
    mut peers: Option<&mut Peers>,
    times: usize,
) -> anyhow::Result<Took> {
    let servers = stage.servers();
    let mut took = Took::default();
    for _ in 0..times {
        took.ours += asking.run(&servers, AT_ONCE).await?;
        match &mut peers {
            None => took.theirs += peers::openssh(stage).await?,
            Some(peers) => {
                took.theirs += peers.ansible.run(stage, "command").await?;
                if let Some(parallel_ssh) = &mut peers.parallel_ssh {
                    took.parallel_ssh += parallel_ssh.run(stage).await?;
                }
            }
        }
    }
    Ok(took)
}
