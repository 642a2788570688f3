//! How new is what an answer shows? `Portreeve-Position` says it, `?after=` asks for it.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use projections::Page;
use serde::Serialize;

use crate::app::App;
use crate::problem::Problem;

pub const POSITION: HeaderName = HeaderName::from_static("portreeve-position");

/// The longest a read waits for the read model.
const AFTER_WAIT: Duration = Duration::from_secs(5);

/// The header of an answer that shows (or made) everything up to `seq`.
pub fn header(seq: u64) -> HeaderMap {
    HeaderMap::from_iter([(POSITION, HeaderValue::from(seq))])
}

/// A value of the read model with the position it is true at.
pub fn shown<T: Serialize>(position: u64, value: T) -> Response {
    (header(position), Json(value)).into_response()
}

/// A page of a list.
pub fn page<T: Serialize>(page: Page<T>) -> Response {
    shown(page.position, page)
}

impl App {
    /// Waits until the read model has the sequence of `?after=`, if there is one.
    pub async fn caught_up(&self, after: Option<u64>) -> Result<(), Problem> {
        if let Some(why) = self.health.failing().get(crate::watch::POSTGRES) {
            let detail = format!("the read model is not reachable; try again: {why}");
            return Err(Problem::new("read_model_unavailable", detail));
        }
        let Some(after) = after else { return Ok(()) };
        if self.projections.wait_for(after, AFTER_WAIT).await? {
            return Ok(());
        }
        let position = self.projections.position().await?;
        let detail = format!("the read model is at {position}, not yet at {after}; try again");
        Err(Problem::new("read_model_behind", detail))
    }
}
