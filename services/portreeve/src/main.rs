//! What does the one binary do? `up`, each service alone, and the commands for people.

mod admin_token;
mod agent_args;
mod children;
mod client;
mod data_dir;
mod descriptors;
mod engine;
mod exit;
mod http_args;
mod kept;
mod kube_args;
mod leftovers;
mod nats_issuer;
mod nats_server;
mod postgres;
mod relay_service;
mod serving;
mod settings;
mod setup;
mod ssh_args;
mod standalone;
mod taps_args;
mod tools;
mod up;
mod up_settings;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use client::ClientError;
use settings::BadSetting;

/// Dev environments with public SSH access; every change an event on one log.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, propagate_version = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Up(Box<up_settings::UpArgs>),
    Env(client::env::EnvArgs),
    Key(client::key::KeyArgs),
    Server(client::server::ServerArgs),
    Relay(client::relay::RelayArgs),
    Run(client::run::RunArgs),
    Schedule(client::schedule::ScheduleArgs),
    Batch(client::batch::BatchArgs),
    Events(client::events::EventsArgs),
    Subscription(client::subscription::SubscriptionArgs),
    Audit(client::audit::AuditArgs),
    Projections(client::projections::ProjectionsArgs),
    Tenant(client::people::TenantArgs),
    User(client::people::UserArgs),
    Token(client::people::TokenArgs),
    Setup(setup::SetupArgs),
    /// Print the first administrator's token, which derives from PORTREEVE_MASTER_KEY
    AdminToken,
    /// Print the public key that a NATS server of your own needs, which derives from PORTREEVE_NATS_PASSWORD_TAPS
    NatsIssuer,
    Api(standalone::ApiArgs),
    Provisioner(standalone::ProvisionerArgs),
    Projector(standalone::ProjectorArgs),
    Gateway(standalone::GatewayArgs),
    Taps(standalone::TapsServiceArgs),
    Agent(agent_args::AgentArgs),
    Sentry(sentry::config::Config),
}

/// Lines of a service that runs alone; `up` writes its own to a person's terminal. What the client of
/// a cluster says of every broken request is said once by those who made it.
const LOG_ALONE: &str = "info,kube_client=off";
const LOG_UP: &str = "warn,kube_client=off";

fn main() -> ExitCode {
    let line = match Line::try_parse_from(spelled_out(std::env::args_os())) {
        Ok(line) => line,
        Err(shown) => {
            let asked_for = !shown.use_stderr();
            let _closed = shown.print();
            return ExitCode::from(if asked_for { exit::OK } else { exit::USAGE });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start: {error}"), exit::FAILED),
    };
    match runtime.block_on(run(line.command)) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            let status = match error.downcast_ref() {
                Some(ClientError::Usage(_)) => exit::USAGE,
                Some(ClientError::Unproven { .. }) => exit::UNREADABLE,
                _ if error.is::<BadSetting>() => exit::USAGE,
                _ => exit::FAILED,
            };
            failed(&kit::error::chain(error.as_ref()), status)
        }
    }
}

/// `portreeve audit` and `portreeve relay` are services, as `portreeve api` is, and nouns with verbs, as `portreeve env`
/// is: without a verb they are the service.
fn spelled_out(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let verbs = match arguments.get(1).and_then(|command| command.to_str()) {
        Some("audit") => client::audit::VERBS,
        Some("relay") => client::relay::VERBS,
        Some(_) | None => return arguments,
    };
    let asks = |word: &OsString| ["--help", "-h", "--version", "-V"].iter().any(|asked| word == asked);
    let verb = |word: &OsString| verbs.iter().any(|verb| word == verb) || asks(word);
    if !arguments.iter().skip(2).any(verb) {
        arguments.insert(2, "run".into());
    }
    arguments
}

fn failed(why: &str, status: u8) -> ExitCode {
    eprintln!("portreeve: {why}");
    ExitCode::from(status)
}

/// Configuration is checked whole before a service opens anything.
async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => {
            args.log.init(LOG_UP);
            descriptors::raise_limit();
            Ok(Box::pin(up::run(args.check()?, kit::shutdown::on_signal()?)).await?)
        }
        Command::Setup(args) => {
            args.log.init(LOG_ALONE);
            Ok(args.check()?.run().await?)
        }
        Command::AdminToken => Ok(admin_token::print()?),
        Command::NatsIssuer => Ok(nats_issuer::print()?),
        Command::Api(args) => {
            args.common.log.init(LOG_ALONE);
            descriptors::raise_limit();
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Provisioner(args) => {
            args.common.log.init(LOG_ALONE);
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Projector(args) => {
            args.common.log.init(LOG_ALONE);
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Taps(args) => {
            args.common.log.init(LOG_ALONE);
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Gateway(args) => {
            args.common.log.init(LOG_ALONE);
            descriptors::raise_limit();
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Agent(args) => {
            args.log.init(LOG_ALONE);
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Sentry(config) => {
            kit::telemetry::init(kit::telemetry::LogFormat::Text, LOG_ALONE);
            Ok(sentry::run(config, kit::shutdown::on_signal()?).await?)
        }
        Command::Env(args) => Ok(args.run().await?),
        Command::Server(args) => Ok(args.run().await?),
        Command::Relay(client::relay::RelayArgs { what: client::relay::Relay::Run(args), .. }) => {
            args.common.log.init(LOG_ALONE);
            descriptors::raise_limit();
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Relay(args) => Ok(args.run().await?),
        Command::Run(args) => Ok(args.run().await?),
        Command::Schedule(args) => Ok(args.run().await?),
        Command::Batch(args) => Ok(args.run().await?),
        Command::Key(args) => Ok(args.run().await?),
        Command::Events(args) => Ok(args.run().await?),
        Command::Subscription(args) => Ok(args.run().await?),
        Command::Audit(client::audit::AuditArgs { what: client::audit::Audit::Run(args), .. }) => {
            args.common.log.init(LOG_ALONE);
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Audit(args) => Ok(args.run().await?),
        Command::Projections(args) => Ok(args.run().await?),
        Command::Tenant(args) => Ok(args.run().await?),
        Command::User(args) => Ok(args.run().await?),
        Command::Token(args) => Ok(args.run().await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn without_a_verb_it_is_the_service() {
        let spelled = |line: &str| {
            let words = line.split(' ').map(OsString::from);
            spelled_out(words).join(&OsString::from(" ")).into_string().unwrap_or_default()
        };
        assert_eq!(spelled("portreeve audit"), "portreeve audit run");
        assert_eq!(spelled("portreeve relay"), "portreeve relay run");
        assert_eq!(spelled("portreeve audit --nats nats://a:1"), "portreeve audit run --nats nats://a:1");
        for same in [
            "portreeve audit list",
            "portreeve audit --json verify",
            "portreeve audit --help",
            "portreeve relay list",
            "portreeve relay add one --zone a",
            "portreeve api",
        ] {
            assert_eq!(spelled(same), same);
        }
    }
}
