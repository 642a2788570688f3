//! On which servers may somebody run a command? On all that are named, or on those that fit; asked for at once, or when
//! a schedule is due.

use chrono::Utc;
use events::access::Right;
use events::access::may::{Visible, visible};
use events::ids::{ServerId, TenantId};
use events::schedule::{Selector, Which};
use events::server::Settings;
use futures_util::{StreamExt, stream};
use projections::servers::{self, Filter};

use crate::access::Caller;
use crate::app::App;
use crate::command_fields::SERVERS_MAX;
use crate::problem::{FieldError, Problem};
use crate::server::{Found, access_of, find};

/// Servers looked up at once.
const LOOK_UPS_AT_ONCE: usize = 64;
/// Wrong servers that are named in one answer.
const NAMED_MAX: usize = 100;
const PAGE: u32 = 500;

/// A server, as it was when it was asked for.
pub type Meant = (ServerId, Settings);

/// The servers and their tenant, or what is wrong with what was asked.
pub async fn servers(app: &App, caller: &Caller, which: &Which) -> Result<(TenantId, Vec<Meant>), Problem> {
    match which {
        Which::Servers(named) => named_servers(app, caller, named).await,
        Which::Selector(selector) => selected_servers(app, caller, selector).await,
    }
}

/// Those of the tenant's servers that are left, and how many of the named ones are not.
pub async fn left(
    app: &App,
    caller: &Caller,
    tenant: &TenantId,
    which: &Which,
) -> Result<(Vec<Meant>, u32), Problem> {
    let named = match which {
        Which::Servers(named) => named,
        Which::Selector(selector) => return Ok((selected_servers(app, caller, selector).await?.1, 0)),
    };
    let mut servers = Vec::new();
    for found in look_up(app, caller, named).await {
        match found {
            Ok(found) if found.tenant == *tenant && found.needs(&[Right::Command]).is_ok() => {
                servers.push((found.id, found.settings));
            }
            Ok(_) => {}
            Err(problem) if problem.code() == "not_found" => {}
            Err(problem) => return Err(problem),
        }
    }
    let left_out = u32::try_from(named.len() - servers.len()).unwrap_or(u32::MAX);
    Ok((servers, left_out))
}

async fn look_up(app: &App, caller: &Caller, named: &[ServerId]) -> Vec<Result<Found, Problem>> {
    stream::iter(named.to_vec())
        .map(|server| async move { find(app, caller, server.as_str()).await })
        .buffered(LOOK_UPS_AT_ONCE)
        .collect()
        .await
}

/// All must be there, of one tenant, and the caller may run commands on each.
async fn named_servers(
    app: &App,
    caller: &Caller,
    named: &[ServerId],
) -> Result<(TenantId, Vec<Meant>), Problem> {
    let looked_up = look_up(app, caller, named).await;
    let (mut errors, mut tenant, mut servers) = (Vec::new(), None, Vec::new());
    let mut wrong = |index: usize, code, detail: String| {
        errors.push(FieldError { field: format!("servers[{index}]"), code, detail });
    };
    for (index, found) in looked_up.into_iter().enumerate() {
        match found {
            Ok(found) if found.needs(&[Right::Command]).is_err() => {
                wrong(index, "forbidden", format!("you have no grant for command on {}", found.id));
            }
            Ok(found) => {
                if *tenant.get_or_insert_with(|| found.tenant.clone()) != found.tenant {
                    wrong(index, "malformed", "belongs to another tenant than the first".to_owned());
                }
                servers.push((found.id, found.settings));
            }
            Err(problem) if problem.code() == "not_found" => {
                wrong(index, "not_found", "there is no such server".to_owned());
            }
            Err(problem) => return Err(problem),
        }
    }
    if !errors.is_empty() && errors.iter().all(|error| error.code == "forbidden") {
        let details: Vec<_> = errors.iter().take(NAMED_MAX).map(|error| error.detail.as_str()).collect();
        return Err(Problem::new("forbidden", details.join("; ")));
    }
    if !errors.is_empty() {
        errors.truncate(NAMED_MAX);
        return Err(Problem::fields(errors));
    }
    Ok((tenant.unwrap_or_else(|| caller.tenant.clone()), servers))
}

/// Those that fit and on which the caller may run commands; at least one. An admin's selector looks in its own tenant.
async fn selected_servers(
    app: &App,
    caller: &Caller,
    selector: &Selector,
) -> Result<(TenantId, Vec<Meant>), Problem> {
    let access = access_of(app, caller).await?;
    let now = Utc::now();
    let mut labels = selector.labels.iter();
    let filter = Filter {
        tenant: Some(caller.tenant.clone()),
        visible: Some(visible(&access, caller.person(), now)).filter(|seen| *seen != Visible::All),
        zone: selector.zone.clone(),
        group: selector.group.clone(),
        label: labels.next().map(|(key, value)| (key.clone(), value.clone())),
        ..Filter::default()
    };
    let more: Vec<_> = labels.collect();
    let (mut servers, mut cursor) = (Vec::new(), None);
    loop {
        let page = servers::list(&app.projections, &filter, cursor.as_deref(), PAGE).await?;
        for row in page.items {
            let Some(settings) = row.server.there() else { continue };
            let may = events::access::may::rights(&access, caller.person(), &row.server_id, settings, now);
            let fits = more.iter().all(|(key, value)| settings.labels.get(*key) == Some(*value));
            if fits && may.contains(&Right::Command) {
                servers.push((row.server_id, settings.clone()));
            }
        }
        if servers.len() > SERVERS_MAX {
            let detail = format!("fits more than {SERVERS_MAX} servers; say more of them");
            return Err(selector_wrong("too_long", detail));
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if servers.is_empty() {
        return Err(selector_wrong("not_found", "fits no server on which you may run commands".to_owned()));
    }
    Ok((caller.tenant.clone(), servers))
}

fn selector_wrong(code: &'static str, detail: String) -> Problem {
    Problem::fields(vec![FieldError { field: "selector".to_owned(), code, detail }])
}
