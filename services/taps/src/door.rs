//! Who is let in? Whoever shows the password of a tap that was issued and not revoked, to what the tap says.

use std::sync::Arc;

use kit::error::chain;
use nats::{Admission, Callout, CalloutError, Followers, Knock, Knocks, Way};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::desk::Desk;

/// Answers under way; who knocks beyond them is refused at once.
const ANSWERS_AT_ONCE_MAX: usize = 256;

pub struct Door {
    pub callout: Callout,
    pub desk: Arc<Desk>,
    pub followers: Followers,
}

impl Door {
    /// Answers all who knock until `shutdown`; those who have knocked by then are answered.
    pub async fn keep_answering(self: &Arc<Self>, mut knocks: Knocks, shutdown: CancellationToken) {
        let (places, answers) = (Arc::new(Semaphore::new(ANSWERS_AT_ONCE_MAX)), TaskTracker::new());
        while let Some(Some(knock)) = shutdown.run_until_cancelled(knocks.next()).await {
            let place = Arc::clone(&places).try_acquire_owned();
            let door = Arc::clone(self);
            answers.spawn(async move {
                let admission = match place {
                    Ok(_place) => door.judge(&knock).await,
                    Err(_) => None,
                };
                if let Err(error) = door.answer(&knock, admission).await {
                    tracing::warn!(
                        error = chain(&error),
                        "somebody who knocked at the server was not answered"
                    );
                }
            });
        }
        answers.close();
        answers.wait().await;
    }

    async fn answer(&self, knock: &Knock, admission: Option<Admission>) -> Result<(), CalloutError> {
        match admission {
            Some(admission) => {
                tracing::info!(tap = %admission.name, "let in");
                self.callout.admit(knock, &admission).await
            }
            None => self.callout.refuse(knock).await,
        }
    }

    async fn judge(&self, knock: &Knock) -> Option<Admission> {
        let (id, way) = Way::of(&knock.user)?;
        let tap = self.desk.find(&id).await?;
        let issued = tap.state.valid()?;
        if !fits(&knock.password, &issued.digest) {
            return None;
        }
        let admission = way.admission(&id, &tap.tenant, issued)?;
        if way == Way::Resume {
            let consumer = issued.consumer(&id);
            let subjects = way.subjects(&tap.tenant, issued.kinds.iter().map(String::as_str));
            let made = self.followers.ensure_consumer(&consumer, subjects);
            if let Err(error) = made.await {
                tracing::error!(error = chain(&error), tap = %admission.name, "a tap has no place to go on from");
                return None;
            }
        }
        Some(admission)
    }
}

/// The digest is that of the whole password.
fn fits(password: &SecretString, digest: &str) -> bool {
    let shown = data_encoding::HEXLOWER.encode(&Sha256::digest(password.expose_secret().as_bytes()));
    shown.as_bytes().ct_eq(digest.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_digest_alone() {
        let digest = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        assert!(fits(&"password".into(), digest));
        assert!(!fits(&"Password".into(), digest));
        assert!(!fits(&"".into(), ""));
    }
}
