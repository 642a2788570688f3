//! `/api/people-groups`: which groups of people can something be granted to?

use axum::extract::{Path, State};
use axum::response::Response;
use events::access::set_people::{MEMBERS_MAX, set_people};
use events::access::{Access, PeopleGroupSet};
use events::ids::{Tag, UserName};
use events::user::Role;
use projections::grants;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::Caller;
use crate::fields::{self, Fields};
use crate::idempotency::index;
use crate::incoming::Incoming;
use crate::params::Params;
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::routes::Listed;

#[derive(ToSchema)]
#[schema(as = PeopleGroupAsked, example = json!({"members": ["alice", "bob"]}))]
#[allow(dead_code)] // a description
pub struct AskedShape {
    /// At most 1000 user names; none ends the group.
    members: Vec<String>,
}

/// Say who is in a group of people
///
/// Replaces the members. What is granted to the group holds for them at once.
#[utoipa::path(
    put, path = "/api/people-groups/{name}", tag = "servers", request_body = AskedShape,
    params(("name" = String, Path, description = "Name of the group")),
    responses(
        (status = 200, body = Value, headers(("Portreeve-Position" = u64)), example = json!({"name": "ops", "members": ["alice", "bob"]})),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 404, description = "`not_found`: no group can have this name", body = ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "`validation_failed`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn set(
    State(app): State<App>,
    Path(name): Path<String>,
    incoming: Incoming,
) -> Result<Response, Problem> {
    incoming.caller.keeps_servers()?;
    let group = Tag::parse(name).map_err(|_| Problem::not_found("group"))?;
    let mut fields = Fields::of(&incoming.body.json);
    let members = fields.required_list("members", MEMBERS_MAX, fields::id(UserName::parse));
    let members = fields.finish(Some(members))?.into_iter().collect();
    let cause = incoming.accept(&app).await?;
    let tenant = &incoming.caller.tenant;
    let asked = PeopleGroupSet { group, members };
    let rule = |access: &Access| set_people(access, asked.clone());
    let decided = app.log.decide::<Access, _>(tenant, tenant.as_str(), &cause, index::FIRST, rule).await?;
    Ok(position::shown(decided.seq, json!({"name": asked.group, "members": asked.members})))
}

/// List groups of people
#[utoipa::path(
    get, path = "/api/people-groups", tag = "servers",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, body = Listed<Value>, headers(("Portreeve-Position" = u64)), example = json!({
            "items": [{"tenant_id": "default", "name": "ops", "members": ["alice", "bob"],
                "updated_at": "2026-01-02T03:04:05Z", "seq": 42}],
            "next_cursor": null,
        })),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let (limit, cursor) = params.page();
    let after = params.number("after");
    params.end()?;
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])?;
    app.caught_up(after).await?;
    let cursor = cursor.as_deref();
    Ok(position::page(grants::people_groups(&app.projections, caller.tenant_seen(), cursor, limit).await?))
}
