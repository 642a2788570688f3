//! How fast is it, beside a peer or a limit, measured in the same run? Writes
//! `target/bench/<name>.json` for each bench asked for.
//!
//! `bench [--only NAME...] [--rounds N] [--scale PERCENT]`; without names, all that need no cluster.

mod alone;
mod append;
mod as_of;
mod batch;
mod chain;
mod dispatch;
mod env_ready;
mod fill;
mod gateway;
mod gateway_memory;
mod kube_ready;
mod kube_scale;
mod projection;
mod report;
mod sshpiper;
mod stand;
mod tap_fanout;
mod terminal;
mod visible;

use batch::Beside;
use clap::Parser;
use gateway::Measure;

/// Rounds of each bench: ours and theirs take turns.
const ROUNDS: usize = 5;
/// Of one copy a round: medians of five scatter by a tenth.
const ROUNDS_OF_A_COPY: usize = 15;
/// Of ten runs of Ansible each, which take minutes.
const ROUNDS_OF_ANSIBLE: usize = 3;

#[derive(Parser)]
struct Arguments {
    /// append_1, append_64, append_256, projection, visible, env_ready, gateway_download, gateway_upload,
    /// gateway_connect, gateway_jump, gateway_memory, terminal_echo, terminal_burst, chain, tap_fanout, as_of,
    /// batch_ansible, batch_openssh, dispatch; and only when they are named kube_ready_100 (on a cluster) and kube_scale
    /// (with one of its own)
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    only: Vec<String>,
    /// 5 when absent, 15 of those that copy through the gateway, 3 of batch_ansible
    #[arg(long)]
    rounds: Option<usize>,
    /// Percent of the usual amount of work
    #[arg(long, default_value_t = 100)]
    scale: usize,
    /// Be the other end of a bench
    #[arg(long, hide = true)]
    play_an_environment: bool,
}

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    pub rounds: usize,
    scale: usize,
}

impl Effort {
    /// So much of the usual amount, at least one.
    pub fn of(&self, usual: usize) -> usize {
        (usual * self.scale / 100).max(1)
    }
}

/// Those that need nothing but this machine.
const NAMES: [&str; 19] = [
    "append_1",
    "append_64",
    "append_256",
    "projection",
    "visible",
    "env_ready",
    "gateway_download",
    "gateway_upload",
    "gateway_connect",
    "gateway_jump",
    "gateway_memory",
    "terminal_echo",
    "terminal_burst",
    "chain",
    "tap_fanout",
    "as_of",
    "batch_ansible",
    "batch_openssh",
    "dispatch",
];

fn usual_rounds(name: &str) -> usize {
    match name {
        "gateway_download" | "gateway_upload" | "gateway_jump" => ROUNDS_OF_A_COPY,
        "batch_ansible" => ROUNDS_OF_ANSIBLE,
        _ => ROUNDS,
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.play_an_environment {
        return gateway_memory::play().await;
    }
    let asked: Vec<&str> = match arguments.only.as_slice() {
        [] => NAMES.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    for name in asked {
        eprintln!("{name} ...");
        let rounds = arguments.rounds.unwrap_or_else(|| usual_rounds(name)).max(1);
        let effort = Effort { rounds, scale: arguments.scale };
        let report = match name {
            "append_1" => append::measure(1, effort).await?,
            "append_64" => append::measure(64, effort).await?,
            "append_256" => append::measure(256, effort).await?,
            "projection" => projection::measure(effort).await?,
            "visible" => visible::measure(effort).await?,
            "env_ready" => env_ready::measure(effort).await?,
            "gateway_download" => gateway::measure(Measure::Download, effort).await?,
            "gateway_upload" => gateway::measure(Measure::Upload, effort).await?,
            "gateway_connect" => gateway::measure(Measure::Connect, effort).await?,
            "gateway_jump" => gateway::measure(Measure::Jump, effort).await?,
            "gateway_memory" => gateway_memory::measure(effort).await?,
            "terminal_echo" => terminal::measure(terminal::Measure::Echo, effort).await?,
            "terminal_burst" => terminal::measure(terminal::Measure::Burst, effort).await?,
            "chain" => chain::measure(effort).await?,
            "tap_fanout" => tap_fanout::measure(effort).await?,
            "as_of" => as_of::measure(effort).await?,
            "batch_ansible" => batch::measure(Beside::Ansible, effort).await?,
            "batch_openssh" => batch::measure(Beside::OpenSsh, effort).await?,
            "dispatch" => dispatch::measure(effort).await?,
            "kube_ready_100" => kube_ready::measure(effort).await?,
            kube_scale::NAME => kube_scale::measure(effort).await?,
            other => anyhow::bail!(
                "there is no bench {other:?}; there are {}, kube_ready_100 and {}",
                NAMES.join(", "),
                kube_scale::NAME
            ),
        };
        report.write()?;
    }
    Ok(())
}
