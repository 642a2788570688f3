//! What does an installation need before its services start? Streams, tables, an administrator.

use projections::Projections;
use secrecy::ExposeSecret;

use crate::settings::{self, BadSetting, LogArgs};
use crate::standalone::{DatabaseArgs, needed_master_keys};
use crate::up_settings::replicas;

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("cannot reach the log as {user}")]
    Connect {
        user: &'static str,
        #[source]
        source: nats::ConnectError,
    },
    #[error("the log is not set up as needed")]
    Topology(#[from] nats::TopologyError),
    #[error("cannot reach PostgreSQL")]
    Database(#[from] projections::ConnectError),
    #[error("the tables cannot be brought up to date")]
    Migrate(#[from] projections::MigrateError),
    #[error("the first administrator cannot be made")]
    Bootstrap(#[from] api::BootstrapError),
}

/// Make streams, tables and the first administrator, whose token is printed. Repeatable
#[derive(Debug, clap::Args)]
pub struct SetupArgs {
    /// Where the log is: nats://host:port. Passwords in PORTREEVE_NATS_PASSWORD_SETUP and _API
    #[arg(long, env = "PORTREEVE_NATS_URL", value_parser = settings::nats_url)]
    nats: String,
    /// Copies of each stream
    #[arg(long, env = "PORTREEVE_NATS_REPLICAS", default_value_t = 1, value_parser = replicas)]
    nats_replicas: usize,
    /// Do not print the token: where output is kept; `portreeve admin-token` prints it on demand
    #[arg(long)]
    no_token: bool,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// A configuration that can be meant.
pub struct Setup {
    setup: nats::Config,
    api: nats::Config,
    replicas: usize,
    database_url: String,
    master_keys: nats::MasterKeys,
    no_token: bool,
}

impl SetupArgs {
    pub fn check(self) -> Result<Setup, BadSetting> {
        let config = |user: &str| -> Result<nats::Config, BadSetting> {
            let password = format!("PORTREEVE_NATS_PASSWORD_{}", user.to_ascii_uppercase());
            Ok(nats::Config {
                url: self.nats.clone(),
                user: user.to_owned(),
                password: settings::needed_secret(&password)?,
                name: format!("setup-{user}"),
            })
        };
        Ok(Setup {
            setup: config("setup")?,
            api: config("api")?,
            replicas: self.nats_replicas,
            database_url: self.database.url(),
            master_keys: needed_master_keys()?,
            no_token: self.no_token,
        })
    }
}

impl Setup {
    /// Prints the administrator's token on standard output, unless it was revoked or nobody wants it.
    pub async fn run(self) -> Result<(), SetupError> {
        let log = connect(&self.setup, "setup").await?;
        log.setup(self.replicas).await?;
        eprintln!("streams are there");
        Projections::connect(&self.database_url).await?.migrate().await?;
        eprintln!("tables are there");
        let api = connect(&self.api, "api").await?;
        match api::bootstrap(&api, &self.master_keys).await? {
            Some(_) if self.no_token => eprintln!("the first administrator is there"),
            Some(token) => println!("{}", token.expose_secret()),
            None => eprintln!("the first administrator's token was revoked, or made with another master key"),
        }
        Ok(())
    }
}

async fn connect(config: &nats::Config, user: &'static str) -> Result<nats::Connection, SetupError> {
    nats::connect(config).await.map_err(|source| SetupError::Connect { user, source })
}
