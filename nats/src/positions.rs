//! How far has a subscription got? One value each in the key-value bucket `POSITIONS`, replaced by whoever knows the
//! one before: of two who believe that it is theirs to move, one does.
//!
//! It lies beside the log and is kept as safely, but it is no fact: lost, it begins anew where its subscription says.

use async_nats::{Client, HeaderMap, Request, header};
use bytes::Bytes;
use events::ids::{SubscriptionId, TenantId};

use crate::BoxError;
use crate::connect::{Api, REQUEST_TIMEOUT};
use crate::wire::{self, ApiError, PublishAnswer, STATUS_NOT_FOUND, server_number};

#[derive(Debug, thiserror::Error)]
pub enum PositionsError {
    #[error("the positions do not answer")]
    Unavailable(#[source] BoxError),
    /// Nothing was written: somebody else was faster.
    #[error("the position is another one by now")]
    Lost,
    #[error("the positions take no more")]
    Refused(#[source] ApiError),
}

/// A value, and which one it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// Empty where there is none yet.
    pub value: Bytes,
    /// 0 where there is none yet.
    pub revision: u64,
}

/// The bucket; what a value says is the affair of who writes it.
#[derive(Clone)]
pub struct Positions {
    client: Client,
    api: Api,
}

impl Positions {
    pub(crate) fn new(client: Client, api: Api) -> Self {
        Self { client, api }
    }

    pub async fn get(&self, tenant: &TenantId, id: &SubscriptionId) -> Result<Position, PositionsError> {
        let subject = format!("{}.{}", self.api.direct_get(wire::POSITIONS), key_of(tenant, id));
        let request = Request::new().timeout(Some(REQUEST_TIMEOUT));
        let answer = self.client.send_request(subject, request).await.map_err(unavailable)?;
        if answer.status.is_some_and(|status| status.as_u16() == STATUS_NOT_FOUND) {
            return Ok(Position::default());
        }
        if let Some(status) = answer.status {
            return Err(unavailable(format!("status {status}")));
        }
        let revision = server_number(answer.headers.as_ref(), "Nats-Sequence")
            .ok_or_else(|| unavailable("the server named no sequence"))?;
        Ok(Position { value: answer.payload, revision })
    }

    /// In place of the value of this revision. On disk when this returns; answers the new revision.
    pub async fn put(
        &self,
        tenant: &TenantId,
        id: &SubscriptionId,
        value: Bytes,
        revision: u64,
    ) -> Result<u64, PositionsError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
        let request = Request::new().headers(headers).payload(value).timeout(Some(REQUEST_TIMEOUT));
        let answer = self.client.send_request(key_of(tenant, id), request).await.map_err(unavailable)?;
        let answer: PublishAnswer = serde_json::from_slice(&answer.payload).map_err(unavailable)?;
        match answer.error {
            None => Ok(answer.seq),
            Some(error) => Err(match error.err_code {
                wire::WRONG_LAST_SEQUENCE | wire::WRONG_LAST_SEQUENCE_UNKNOWN => PositionsError::Lost,
                _ => PositionsError::Refused(error),
            }),
        }
    }
}

/// Both are tokens of a subject as they are.
fn key_of(tenant: &TenantId, id: &SubscriptionId) -> String {
    format!("$KV.POSITIONS.{tenant}.{id}")
}

fn unavailable(error: impl Into<BoxError>) -> PositionsError {
    PositionsError::Unavailable(error.into())
}
