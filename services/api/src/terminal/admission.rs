//! May this person have a terminal in this environment, from where they are? The same rules as at the other
//! entrances, asked of the log.

use std::net::IpAddr;

use chrono::Utc;
use events::aggregate::Refusal;
use events::env::{Env, Status};
use events::ids::{EnvId, TenantId};
use events::login::come_in::{AddressRefusal, come_in};
use events::login::{Entrance, Login};
use events::tenant::Tenant;

use crate::access::Caller;
use crate::app::App;
use crate::environment::{Found, find};
use crate::problem::Problem;
use crate::terminal::failure::Failure;
use crate::watch::NATS;

/// Somebody who wants a shell of their own there.
pub async fn to_environment(app: &App, caller: &Caller, ip: IpAddr, id: &str) -> Result<Found, Failure> {
    needs_log(app)?;
    caller.may_write()?;
    let found = find(app, caller, id).await?;
    from_address(app, &found.tenant, &found.id, &found.env, ip).await?;
    Ok(found)
}

/// A new shell needs more than one that is there already.
pub fn is_running(found: &Found) -> Result<(), Failure> {
    if found.env.status == Status::Running {
        return Ok(());
    }
    let why = format!("the environment is {}", found.env.status.name());
    Err(Failure::new("environment_not_running", why))
}

/// Whether the allow-lists of environment and tenant have this address, and no lockout closes it.
pub async fn from_address(
    app: &App,
    tenant: &TenantId,
    id: &EnvId,
    env: &Env,
    ip: IpAddr,
) -> Result<(), Failure> {
    let known = app.log.load::<Tenant>(tenant, tenant.as_str());
    let login = app.log.load::<Login>(tenant, id.as_str());
    let (known, login) = tokio::join!(known, login);
    let (known, login) = (known.map_err(Problem::from)?.state, login.map_err(Problem::from)?.state);
    let now = Utc::now();
    come_in(env, &known, &login, ip, now).map_err(|refusal| {
        tracing::debug!(env.id = %id, %ip, code = refusal.code(), "a terminal was refused");
        if matches!(refusal, AddressRefusal::Locked { .. }) {
            app.refusals.count(tenant, id, Entrance::WebTerminal, ip, now);
        }
        Failure::new(refusal.code(), refusal.told(now))
    })
}

/// While the log is known to be away, nobody new waits for it.
pub fn needs_log(app: &App) -> Result<(), Failure> {
    if app.health.failing().contains_key(NATS) {
        return Err(Failure::new("log_unavailable", "the event log is not reachable"));
    }
    Ok(())
}
