//! What does the one binary do? `up`, each service alone, and the commands for people.

mod admin_token;
mod children;
mod client;
mod data_dir;
mod engine;
mod exit;
mod http_args;
mod kept;
mod kube_args;
mod leftovers;
mod nats_server;
mod postgres;
mod serving;
mod settings;
mod setup;
mod standalone;
mod tools;
mod up;
mod up_settings;

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
    Up(up_settings::UpArgs),
    Env(client::env::EnvArgs),
    Key(client::key::KeyArgs),
    Events(client::events::EventsArgs),
    Audit(client::audit::AuditArgs),
    Projections(client::projections::ProjectionsArgs),
    Tenant(client::people::TenantArgs),
    User(client::people::UserArgs),
    Token(client::people::TokenArgs),
    Setup(setup::SetupArgs),
    /// Print the first administrator's token, which derives from PORTREEVE_MASTER_KEY
    AdminToken,
    Api(standalone::ApiArgs),
    Provisioner(standalone::ProvisionerArgs),
    Projector(standalone::ProjectorArgs),
    Gateway(standalone::GatewayArgs),
    Sentry(sentry::config::Config),
}

/// Lines of a service that runs alone; `up` writes its own to a person's terminal. What the client of
/// a cluster says of every broken request is said once by those who made it.
const LOG_ALONE: &str = "info,kube_client=off";
const LOG_UP: &str = "warn,kube_client=off";

fn main() -> ExitCode {
    let line = match Line::try_parse() {
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
            let usage =
                error.is::<BadSetting>() || matches!(error.downcast_ref(), Some(ClientError::Usage(_)));
            let status = if usage { exit::USAGE } else { exit::FAILED };
            failed(&serving::chain(error.as_ref()), status)
        }
    }
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
            Ok(up::run(args.check()?, kit::shutdown::on_signal()?).await?)
        }
        Command::Setup(args) => {
            args.log.init(LOG_ALONE);
            Ok(args.check()?.run().await?)
        }
        Command::AdminToken => Ok(admin_token::print()?),
        Command::Api(args) => {
            args.common.log.init(LOG_ALONE);
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
        Command::Gateway(args) => {
            args.common.log.init(LOG_ALONE);
            Ok(args.check()?.run(kit::shutdown::on_signal()?).await?)
        }
        Command::Sentry(config) => {
            kit::telemetry::init(kit::telemetry::LogFormat::Text, LOG_ALONE);
            Ok(sentry::run(config, kit::shutdown::on_signal()?).await?)
        }
        Command::Env(args) => Ok(args.run().await?),
        Command::Key(args) => Ok(args.run().await?),
        Command::Events(args) => Ok(args.run().await?),
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
}
