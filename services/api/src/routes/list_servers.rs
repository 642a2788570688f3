//! `GET /api/servers`, `GET /api/servers/{id}`: the servers on which the caller may do something.

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::Utc;
use events::access::may::{Visible, visible};
use events::ids::{ServerId, Tag};
use projections::Page;
use projections::servers::Filter;

use crate::app::App;
use crate::auth::Caller;
use crate::params::{Params, yes_or_no};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::reading::AS_OF;
use crate::routes::Listed;
use crate::server::{View, access_of};

fn tag(text: &str) -> Result<Tag, String> {
    Tag::parse(text).map_err(|invalid| format!("must be {}", invalid.rule))
}

fn label(text: &str) -> Result<(Tag, Tag), String> {
    let (key, value) = text.split_once('=').ok_or("must be key=value")?;
    Ok((tag(key)?, tag(value)?))
}

/// List servers
///
/// Newest first; removed ones are left out. A developer sees those on which something is granted to them.
#[utoipa::path(
    get, path = "/api/servers", tag = "servers",
    params(
        ("name" = Option<String>, Query, description = "Only those of this name"),
        ("zone" = Option<String>, Query, description = "Only those in this zone"),
        ("group" = Option<String>, Query, description = "Only those in this group"),
        ("label" = Option<String>, Query, description = "Only those with this label, `key=value`"),
        ("ok" = Option<bool>, Query, description = "Only those whose newest test went well, or did not"),
        ("limit" = Option<u32>, Query, description = "1 to 500; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = Listed<View>, headers(("Portreeve-Position" = u64))),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    let mut filter = Filter {
        tenant: caller.tenant_seen().cloned(),
        visible: None,
        name: params.text("name"),
        zone: params.parsed("zone", tag),
        group: params.parsed("group", tag),
        label: params.parsed("label", label),
        ok: params.parsed("ok", yes_or_no),
    };
    let (limit, cursor) = params.page();
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let reading = app.reading(after, as_of).await?;
    let (access, now) = (access_of(&app, &caller).await?, Utc::now());
    filter.visible = match visible(&access, caller.person(), now) {
        Visible::All => None,
        some @ Visible::In(_) => Some(some),
    };
    let page = reading.servers(&filter, cursor.as_deref(), limit).await?;
    Ok(position::page(Page {
        items: page.items.into_iter().filter_map(|row| View::of(row, &access, &caller, now)).collect(),
        next_cursor: page.next_cursor,
        position: page.position,
    }))
}

/// Show a server
#[utoipa::path(
    get, path = "/api/servers/{id}", tag = "servers",
    params(
        ("id" = String, Path, description = "Server id"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
        ("as_of" = Option<String>, Query, description = AS_OF),
    ),
    responses(
        (status = 200, body = View, headers(("Portreeve-Position" = u64))),
        (status = 404, description = "`not_found`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (after, as_of) = (params.number("after"), params.as_of());
    params.end()?;
    let unknown = || Problem::not_found("server");
    let id = ServerId::parse(id).map_err(|_| unknown())?;
    let reading = app.reading(after, as_of).await?;
    let access = access_of(&app, &caller).await?;
    let found = reading.server(caller.tenant_seen(), &id).await?;
    let view = found.value.and_then(|row| View::of(row, &access, &caller, Utc::now()));
    Ok(position::shown(found.position, view.ok_or_else(unknown)?))
}
