//! `GET /api/servers/export`: the servers as a list that an import takes; without their secrets.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use events::user::Role;
use inventory::{write_csv, write_yaml};
use projections::servers::{self, Filter};
use serde_json::{Map, Value};

use crate::app::App;
use crate::auth::Caller;
use crate::params::{PAGE_LIMIT_MAX, Params};
use crate::position;
use crate::problem::{Problem, ProblemDetails};
use crate::server::{View, access_of};

/// Servers in one export.
const SERVERS_MAX: usize = 10_000;

#[derive(Clone, Copy)]
enum Format {
    Csv,
    Yaml,
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "csv" => Ok(Format::Csv),
        "yaml" => Ok(Format::Yaml),
        _ => Err("must be csv or yaml".to_owned()),
    }
}

/// Export servers
///
/// What `POST /api/servers/import` takes, in the order of registration. Secrets are never read back: a server that
/// does not exist where the list is imported needs its credential there.
#[utoipa::path(
    get, path = "/api/servers/export", tag = "servers",
    params(
        ("format" = Option<String>, Query, description = "`csv` (when absent) or `yaml`"),
        ("after" = Option<u64>, Query, description = "Wait until the read model has this sequence"),
    ),
    responses(
        (status = 200, content_type = "text/csv", body = String, headers(("Portreeve-Position" = u64))),
        (status = 403, description = "`forbidden`", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn export(State(app): State<App>, caller: Caller, mut params: Params) -> Result<Response, Problem> {
    caller.needs(&[Role::Admin, Role::Operator, Role::Auditor])?;
    let format = params.parsed("format", format).unwrap_or(Format::Csv);
    let after = params.number("after");
    params.end()?;
    app.caught_up(after).await?;
    let access = access_of(&app, &caller).await?;
    let filter = Filter { tenant: Some(caller.tenant.clone()), ..Filter::default() };
    let (mut rows, mut cursor, mut position) = (Vec::new(), None, 0);
    loop {
        let page = servers::list(&app.projections, &filter, cursor.as_deref(), PAGE_LIMIT_MAX).await?;
        position = page.position.max(position);
        let views = page.items.into_iter().filter_map(|row| View::of(row, &access, &caller, Utc::now()));
        rows.extend(views.map(row));
        cursor = page.next_cursor;
        if cursor.is_none() || rows.len() >= SERVERS_MAX {
            break;
        }
    }
    rows.reverse();
    let (kind, name, text) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "servers.csv", write_csv(&rows)),
        Format::Yaml => ("application/yaml", "servers.yaml", write_yaml(&rows)),
    };
    let named = format!("attachment; filename=\"{name}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, named)];
    Ok((position::header(position), headers, text).into_response())
}

fn row(view: View) -> Map<String, Value> {
    match serde_json::to_value(view) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}
