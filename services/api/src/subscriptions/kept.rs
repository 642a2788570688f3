//! How far has a subscription got, who reads it now, and what is in its way? Kept beside the log; whoever moves it
//! names the value that they know, so that of two one does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::ids::{SubscriptionId, TenantId};
use events::subscription::{Failure, SubscriptionSet};
use nats::PositionsError;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::app::App;
use crate::problem::Problem;

/// Lost races before it is given up, and the pause after each.
const ATTEMPTS_MAX: u32 = 16;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Everything up to this sequence was delivered, is parked, or is not for it.
    pub position: u64,
    /// The newest reader, who alone may read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// The delivery that is tried again and again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    pub sequence: u64,
    pub attempts: u32,
    /// Of the last attempt.
    pub at: DateTime<Utc>,
    pub next_at: DateTime<Utc>,
    pub failure: Failure,
}

/// What is kept, and which value that is.
pub struct Held {
    pub kept: Kept,
    revision: u64,
}

/// Where nothing is kept yet, or any more, it begins where it was set to.
pub async fn load(
    app: &App,
    tenant: &TenantId,
    id: &SubscriptionId,
    set: &SubscriptionSet,
) -> Result<Held, Problem> {
    let found = app.positions.get(tenant, id).await?;
    let kept = match found.revision {
        0 => Kept { position: set.after, ..Kept::default() },
        _ => serde_json::from_slice(&found.value).map_err(|error| Problem::internal(&error))?,
    };
    Ok(Held { kept, revision: found.revision })
}

/// `contended` when somebody else moved it since it was loaded: then it is theirs to move, or to be looked at again.
pub async fn store(
    app: &App,
    tenant: &TenantId,
    id: &SubscriptionId,
    held: &mut Held,
) -> Result<(), Problem> {
    held.revision = put(app, tenant, id, held).await?;
    Ok(())
}

/// Loads, changes and stores, until nobody came in between.
pub async fn alter<T>(
    app: &App,
    tenant: &TenantId,
    id: &SubscriptionId,
    set: &SubscriptionSet,
    change: impl Fn(&mut Kept) -> Result<T, Problem>,
) -> Result<T, Problem> {
    for _ in 0..ATTEMPTS_MAX {
        let mut held = load(app, tenant, id, set).await?;
        let changed = change(&mut held.kept)?;
        match put(app, tenant, id, &held).await {
            Ok(_) => return Ok(changed),
            Err(PositionsError::Lost) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(PositionsError::Lost.into())
}

async fn put(app: &App, tenant: &TenantId, id: &SubscriptionId, held: &Held) -> Result<u64, PositionsError> {
    // numbers, names and times: writing them down cannot fail
    let value = serde_json::to_vec(&held.kept).unwrap_or_default();
    app.positions.put(tenant, id, value.into(), held.revision).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::subscription::Class;

    use super::*;

    #[test]
    fn what_is_kept_reads_as_it_was_written() {
        let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let failure = Failure { class: Class::Status, status: Some(503) };
        let trouble = Trouble { sequence: 8, attempts: 2, at, next_at: at, failure };
        let kept = Kept { position: 7, reader: Some(Uuid::nil()), trouble: Some(trouble) };
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<Kept>(&text).unwrap(), kept);
        assert_eq!(serde_json::from_str::<Kept>(r#"{"position": 7}"#).unwrap().position, 7);
    }
}
