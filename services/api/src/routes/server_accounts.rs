//! `/api/servers/{id}/accounts`: accounts on a server with their keys: pushed, verified, rotated, removed.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use events::server::{Account, AccountAction, AccountChangeAsked, AccountChangeEnded};
use events::user::Role;
use projections::servers;
use reach::{AccountChanged, AccountError, AccountOrder, AccountWish, Who};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::fields::{self, Fields, Wrong};
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::readers;
use crate::routes::diagnose_server::FindingView;
use crate::server::{Found, find};
use crate::server_fields::login_name;

const KEYS_MAX: usize = 16;
const GROUPS_MAX: usize = 16;
const SHELL_LENGTH_MAX: usize = 128;
/// Seconds that a change may take.
const DEADLINE_S_DEFAULT: u64 = 60;
const DEADLINE_S_MIN: u64 = 5;
const DEADLINE_S_MAX: u64 = 80;

#[derive(ToSchema)]
#[schema(as = ServerAccountAsked, example = json!({
    "account": "alice", "public_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPg/Ks5tPPuMzKJqbHXeEY2R+qDaB2ZbKN8C3lNKpMCX"],
}))]
#[allow(dead_code)] // a description
pub struct PushShape {
    account: String,
    /// The keys that it shall have of us, 1 to 16; others that are there stay.
    public_keys: Vec<String>,
    /// Groups there that it shall be in, at most 16.
    groups: Option<Vec<String>>,
    /// Its shell, as a path; bash or sh for a new one.
    shell: Option<String>,
    /// Whether it may become root by sudo without a password; as it is when absent.
    sudo: Option<bool>,
    /// Seconds that it may take, 5 to 80; 60 when absent.
    deadline_s: Option<u64>,
}

#[derive(ToSchema)]
#[schema(as = ServerAccountRotated, example = json!({
    "public_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPg/Ks5tPPuMzKJqbHXeEY2R+qDaB2ZbKN8C3lNKpMCX"],
}))]
#[allow(dead_code)] // a description
pub struct RotateShape {
    /// They take the place of those that were pushed from here.
    public_keys: Vec<String>,
    /// Seconds that it may take, 5 to 80; 60 when absent.
    deadline_s: Option<u64>,
}

#[derive(ToSchema)]
#[schema(as = ServerAccountRemoval, example = json!({"remove_home": false}))]
#[allow(dead_code)] // a description
pub struct RemoveShape {
    /// `true`: with its home, if the account was made from here.
    remove_home: Option<bool>,
    /// Seconds that it may take, 5 to 80; 60 when absent.
    deadline_s: Option<u64>,
}

#[derive(ToSchema)]
#[schema(as = ServerAccountVerification, example = json!({"deadline_s": 30}))]
#[allow(dead_code)] // a description
pub struct VerifyShape {
    /// Seconds that it may take, 5 to 80; 60 when absent.
    deadline_s: Option<u64>,
}

/// How a change of an account ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerAccountChange)]
pub struct ChangeView {
    #[schema(value_type = String)]
    change_id: uuid::Uuid,
    account: String,
    /// `push`, `verify`, `rotate` or `remove`.
    #[schema(value_type = String)]
    action: AccountAction,
    /// `done`, `failed` or `lost`: nobody said how it ended before the deadline.
    #[schema(value_type = String)]
    outcome: events::server::AccountOutcome,
    class: Option<String>,
    reason: Option<String>,
    suggestion: Option<String>,
    /// The account was not there before.
    made: bool,
    /// What is seen of the account; empty when nobody got so far.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    findings: Vec<FindingView>,
}

impl ChangeView {
    fn of(ended: AccountChangeEnded, findings: Vec<FindingView>) -> Self {
        let AccountChangeEnded { change_id, account, action, outcome, class, reason, suggestion, made } =
            ended;
        Self { change_id, account, action, outcome, class, reason, suggestion, made, findings }
    }
}

/// An account as far as it is known here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerAccount)]
pub struct AccountView {
    account: String,
    /// It is there with these keys, as the last change that ended well left it.
    there: bool,
    /// It was made from here.
    ours: bool,
    #[schema(value_type = Vec<String>)]
    public_keys: BTreeSet<String>,
    /// What is being done now: `push`, ...
    #[schema(value_type = Option<String>)]
    pending: Option<AccountAction>,
    deadline: Option<DateTime<Utc>>,
    last: Option<ChangeView>,
}

impl AccountView {
    fn of((account, known): (String, Account)) -> Self {
        let Account { there, ours, keys, pending, last } = known;
        let deadline = pending.as_ref().map(|asked| asked.deadline);
        let pending = pending.map(|AccountChangeAsked { action, .. }| action);
        let last = last.map(|ended| ChangeView::of(ended, Vec::new()));
        Self { account, there, ours, public_keys: keys, pending, deadline, last }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServerAccounts)]
pub struct AccountsView {
    items: Vec<AccountView>,
    /// There is one page only.
    next_cursor: Option<String>,
}

fn keys(fields: &mut Fields<'_>) -> BTreeSet<String> {
    let keys = fields.required_list("public_keys", KEYS_MAX, readers::public_key);
    // without the comment: whose key it is says the account
    let bare = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let keys: BTreeSet<String> = keys.iter().map(|key| bare(&key.line)).collect();
    if keys.is_empty() && !fields.has_errors() {
        fields.note("public_keys", Wrong::new("too_short", "must have at least one key"));
    }
    keys
}

fn shell(value: &Value) -> Result<String, Wrong> {
    let path = fields::text(1, SHELL_LENGTH_MAX)(value)?;
    let fits = path.starts_with('/') && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if fits { Ok(path) } else { Err(Wrong::new("malformed", "must be the path of a shell, like /bin/bash")) }
}

fn deadline(fields: &mut Fields<'_>) -> DateTime<Utc> {
    let asked = fields.optional("deadline_s", fields::whole(DEADLINE_S_MIN, DEADLINE_S_MAX));
    let seconds = i64::try_from(asked.unwrap_or(DEADLINE_S_DEFAULT)).unwrap_or_default();
    Utc::now() + TimeDelta::seconds(seconds)
}

async fn found(app: &App, incoming: &Incoming, id: &str) -> Result<Found, Problem> {
    let found = find(app, &incoming.caller, id).await?;
    incoming.caller.keeps_servers()?;
    Ok(found)
}

/// Once asked for it is brought to its end, also when nobody waits for it any more.
async fn change(
    app: App,
    incoming: Incoming,
    found: Found,
    order: AccountOrder,
) -> Result<Response, Problem> {
    let reach = found.reach(&app, &incoming.caller).await?;
    let cause = incoming.accept(&app).await?;
    let changing = tokio::spawn(async move {
        let who = Who { session: "account", user: incoming.caller.owner.as_str() };
        reach.change_account(&found.tenant, &found.id, &order, who, &cause).await
    });
    let changed = changing.await.map_err(|error| Problem::internal(&error))?;
    let AccountChanged { ended, findings, seq } = changed.map_err(|error| match error {
        AccountError::Refused(refusal) => Problem::refused(&refusal),
        AccountError::Reach(error) => error.into(),
    })?;
    let view = ChangeView::of(ended, findings.into_iter().map(FindingView::of).collect());
    Ok((position::header(seq), Json(view)).into_response())
}

/// The account of an address, which is read as a field is.
fn named(account: String) -> Result<String, Problem> {
    login_name(&account.into()).map_err(|_| Problem::not_found("account"))
}

/// Push an account
///
/// Makes it if it is missing, gives it these keys, and corrects owner and modes of its home and of `.ssh`; doing it
/// again changes nothing. The server's own account must be root or become it by sudo. It ends by its deadline, and
/// how it ended is one event. 200 says that it ended; `outcome` says how.
#[utoipa::path(
    post, path = "/api/servers/{id}/accounts", tag = "servers", request_body = PushShape,
    params(("id" = String, Path, description = "Server id")),
    responses(
        (status = 200, body = ChangeView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`account_busy`, `too_many_accounts`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn push(
    State(app): State<App>,
    Path(id): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = found(&app, &incoming, &id).await?;
    let mut fields = Fields::of(&incoming.body.json);
    let account = fields.required("account", login_name);
    let keys = keys(&mut fields);
    let groups = fields.list("groups", GROUPS_MAX, login_name);
    let shell = fields.optional("shell", shell);
    let sudo = fields.optional("sudo", fields::boolean);
    let deadline = deadline(&mut fields);
    let groups = groups.into_iter().collect();
    let wish = account.map(|account| AccountWish { account, keys, groups, shell, sudo, remove_home: false });
    let wish = fields.finish(wish)?;
    change(app, incoming, found, AccountOrder { action: AccountAction::Push, wish, deadline }).await
}

/// Verify an account
///
/// Looks whether it could be used with the keys that were pushed, and changes nothing.
#[utoipa::path(
    post, path = "/api/servers/{id}/accounts/{account}/verify", tag = "servers", request_body = VerifyShape,
    params(("id" = String, Path, description = "Server id"), ("account" = String, Path, description = "Its name there")),
    responses(
        (status = 200, body = ChangeView, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`account_busy`, `account_unknown`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn verify(
    State(app): State<App>,
    Path((id, account)): Path<(String, String)>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = found(&app, &incoming, &id).await?;
    let mut fields = Fields::of(&incoming.body.json);
    let deadline = deadline(&mut fields);
    fields.finish(Some(()))?;
    let account = named(account)?;
    let server = app.log.load::<events::server::Server>(&found.tenant, found.id.as_str()).await?.state;
    let keys = server.accounts.get(&account).map(|known| known.keys.clone()).unwrap_or_default();
    let wish = AccountWish { account, keys, ..AccountWish::default() };
    change(app, incoming, found, AccountOrder { action: AccountAction::Verify, wish, deadline }).await
}

/// Rotate an account's keys
///
/// The new keys take the place of those that were pushed from here, in one step.
#[utoipa::path(
    post, path = "/api/servers/{id}/accounts/{account}/rotate", tag = "servers", request_body = RotateShape,
    params(("id" = String, Path, description = "Server id"), ("account" = String, Path, description = "Its name there")),
    responses(
        (status = 200, body = ChangeView, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`account_busy`, `account_unknown`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn rotate(
    State(app): State<App>,
    Path((id, account)): Path<(String, String)>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = found(&app, &incoming, &id).await?;
    let mut fields = Fields::of(&incoming.body.json);
    let keys = keys(&mut fields);
    let deadline = deadline(&mut fields);
    let keys = fields.finish(Some(keys))?;
    let wish = AccountWish { account: named(account)?, keys, ..AccountWish::default() };
    change(app, incoming, found, AccountOrder { action: AccountAction::Rotate, wish, deadline }).await
}

/// Remove an account
///
/// The keys that were pushed go, and the account itself if it was made from here; an account that was there before
/// stays.
#[utoipa::path(
    delete, path = "/api/servers/{id}/accounts/{account}", tag = "servers", request_body = RemoveShape,
    params(("id" = String, Path, description = "Server id"), ("account" = String, Path, description = "Its name there")),
    responses(
        (status = 200, body = ChangeView, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 409, description = "`account_busy`, `account_unknown`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    State(app): State<App>,
    Path((id, account)): Path<(String, String)>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    let found = found(&app, &incoming, &id).await?;
    let mut fields = Fields::of(&incoming.body.json);
    let remove_home = fields.optional("remove_home", fields::boolean).unwrap_or_default();
    let deadline = deadline(&mut fields);
    fields.finish(Some(()))?;
    let wish = AccountWish { account: named(account)?, remove_home, ..AccountWish::default() };
    change(app, incoming, found, AccountOrder { action: AccountAction::Remove, wish, deadline }).await
}

/// List a server's accounts
///
/// Those that were pushed from here, and how the last change of each ended.
#[utoipa::path(
    get, path = "/api/servers/{id}/accounts", tag = "servers",
    params(
        ("id" = String, Path, description = "Server id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = AccountsView, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let found = find(&app, &caller, &id).await?;
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])?;
    let row = servers::get(&app.projections, Some(&found.tenant), &found.id).await?;
    let accounts = row.value.map(|row| row.server.accounts).unwrap_or_default();
    let items = accounts.into_iter().map(AccountView::of).collect();
    Ok(position::shown(row.position, AccountsView { items, next_cursor: None }))
}
