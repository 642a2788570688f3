//! `POST /api/servers/{id}/doctor`: what keeps somebody from using a server, and what is to be done about it?

use axum::extract::{Path, State};
use axum::response::Response;
use events::access::Right;
use reach::{Diagnosis, Finding, Who};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::fields::Fields;
use crate::incoming::Incoming;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::server::{TestView, find};
use crate::server_fields::login_name;

#[derive(ToSchema)]
#[schema(as = ServerDoctor, example = json!({"account": "alice"}))]
#[allow(dead_code)] // a description
pub struct AskedShape {
    /// Another account on that machine that is to be looked at; the one of the server's settings when absent.
    account: Option<String>,
}

/// What was seen at one step.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerFinding)]
pub struct FindingView {
    /// `name`, `route`, `port`, `identification`, `key_exchange`, `host_key`, `authentication`, `shell`, `privilege`,
    /// `sudo`, `account`, `home`, `policy`, `storage` or `clock`.
    #[schema(example = "authentication")]
    step: &'static str,
    /// `ok`, `warning`, `failed` or `skipped`.
    #[schema(example = "failed")]
    status: &'static str,
    /// For programs; `null` when there is nothing to say.
    #[schema(example = "auth_failed")]
    class: Option<&'static str>,
    /// In a sentence.
    said: String,
    /// What a person can do about it.
    remedy: Option<String>,
}

/// All findings, in the order of the way.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerDiagnosis)]
pub struct DiagnosisView {
    /// Nothing failed; there may be warnings.
    ok: bool,
    findings: Vec<FindingView>,
    /// The test that is part of it, recorded as every test is.
    test: TestView,
}

impl FindingView {
    pub fn of(finding: Finding) -> Self {
        let Finding { step, status, class, said, remedy } = finding;
        Self { step, status: status.name(), class, said, remedy }
    }
}

impl DiagnosisView {
    fn of(diagnosis: Diagnosis) -> Self {
        let ok = diagnosis.ok();
        let findings = diagnosis.findings.into_iter().map(FindingView::of).collect();
        Self { ok, findings, test: TestView::of(diagnosis.outcome, None) }
    }
}

/// Examine a server
///
/// Goes the way that test, terminals and commands go, and from there looks around: each finding says what is to be
/// done. For whoever keeps servers, because it tells of accounts and policies there.
#[utoipa::path(
    post, path = "/api/servers/{id}/doctor", tag = "servers", request_body = AskedShape,
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = DiagnosisView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn diagnose(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = find(&app, &incoming.caller, &id).await?;
    found.needs(&[Right::Terminal, Right::Command])?;
    incoming.caller.keeps_servers()?;
    let mut fields = Fields::of(&incoming.body.json);
    let account = fields.optional("account", login_name);
    fields.finish(Some(()))?;
    let reach = found.reach(&app, &incoming.caller).await?;
    let cause = incoming.accept(&app).await?;
    let who = Who { session: "doctor", user: incoming.caller.owner.as_str() };
    let diagnosis = reach.diagnose(&found.tenant, &found.id, account.as_deref(), who, &cause).await?;
    Ok(position::shown(diagnosis.seq, DiagnosisView::of(diagnosis)))
}
