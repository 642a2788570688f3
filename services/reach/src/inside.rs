//! How is something asked of a machine that let us in? Over our own login, or by a courier.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use ssh::client::Connection;
use tokio::time::timeout;

use crate::courier::Visit;
use crate::script::{Said, collect, quoted};
use crate::trouble::Trouble;

const GOODBYE_WAIT: Duration = Duration::from_secs(1);

pub(crate) enum Inside {
    Login(Connection),
    /// Nobody is there; somebody goes and asks.
    Courier(Visit),
}

impl Inside {
    /// A script for the machine's own `/bin/sh`, whatever the account's shell is.
    pub async fn script(&self, text: &SecretString, wait: Duration) -> Result<Said, Trouble> {
        match self {
            Self::Login(connection) => {
                timeout(wait, through_input(connection, text)).await.unwrap_or_else(|_| Err(too_slow(wait)))
            }
            Self::Courier(visit) => {
                let command = format!("exec /bin/sh -c {}", quoted(text.expose_secret()));
                visit.run("script", command, wait).await
            }
        }
    }

    /// A script may hold what belongs on no record.
    pub const fn keeps_secrets(&self) -> bool {
        matches!(self, Self::Login(_))
    }

    /// Says good-bye; it may be gone already.
    pub async fn leave(&self) {
        if let Self::Login(connection) = self {
            timeout(GOODBYE_WAIT, connection.disconnect()).await.ok();
        }
    }
}

/// No list of processes shows it.
async fn through_input(connection: &Connection, text: &SecretString) -> Result<Said, Trouble> {
    let channel =
        connection.command(b"exec /bin/sh -s", None).await.map_err(|error| Trouble::from(&error))?;
    let whole = text.expose_secret().as_bytes().to_vec();
    channel.writer.data(whole).await.map_err(|error| Trouble::from(&error))?;
    channel.writer.eof().await.map_err(|error| Trouble::from(&error))?;
    collect(&channel).await.map_err(|lost| {
        let reason = format!("the connection broke while the machine was looked at: {}", lost.why);
        Trouble::at_shell("connection_lost", reason, "try again; look at the server's log")
    })
}

fn too_slow(wait: Duration) -> Trouble {
    let reason = format!("the machine did not finish its answer within {} s", wait.as_secs());
    let what = "look at its load, at hanging mounts (df) and at how long names take (getent)";
    Trouble::at_shell("script_timeout", reason, what)
}
