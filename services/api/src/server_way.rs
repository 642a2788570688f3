//! How is a server reached: from here, or through a relay? As commands reach it, and never past a relay that serves it.

use std::sync::Arc;

use events::command::choose::serves;
use events::ids::{ServerId, TenantId, UserName};
use events::server::Settings;
use projections::relays::{self, Filter, RelayRow};
use reach::{Reach, Through};

use crate::access::Caller;
use crate::app::App;
use crate::problem::Problem;
use crate::relay_courier::RelayCourier;
use crate::server::Found;

/// Relays of a tenant that are looked at.
const RELAYS_MAX: u32 = 500;

/// As far as the read model knows.
enum Way {
    Direct,
    /// A relay that serves it is connected, and carries connections.
    Tunnel(Through),
    /// A relay that serves it is connected, and carries commands.
    Commands,
    Nowhere,
}

fn choose(relays: &[RelayRow], settings: &Settings) -> Way {
    let serving = || relays.iter().filter(|relay| serves(&relay.relay_id, &relay.settings, settings));
    if settings.relay.is_none() && serving().next().is_none() {
        return Way::Direct;
    }
    let mut connected = serving().filter(|relay| relay.connected());
    let through = |relay: &RelayRow| Some(Through { relay: relay.relay_id.clone(), door: relay.tunnels? });
    if let Some(tunnel) = connected.clone().find_map(through) {
        return Way::Tunnel(tunnel);
    }
    if connected.next().is_some() { Way::Commands } else { Way::Nowhere }
}

impl Found {
    /// Goes there, on behalf of the caller.
    pub async fn reach(&self, app: &App, caller: &Caller) -> Result<Reach, Problem> {
        reach_for(app, &self.tenant, &self.id, &self.settings, &caller.owner).await
    }
}

/// Goes to a server, on behalf of `by`. In the relay's network the address is the server's; here it may be another
/// machine's, which must not be told a password, and what it says is nothing about the server.
pub async fn reach_for(
    app: &App,
    tenant: &TenantId,
    id: &ServerId,
    settings: &Settings,
    by: &UserName,
) -> Result<Reach, Problem> {
    let reach = app.reach.clone();
    if settings.relay.is_none() && settings.zone.is_none() && settings.labels.is_empty() {
        return Ok(reach);
    }
    // one that nobody has accepted leads nowhere, however many there are
    let filter = Filter { tenant: Some(tenant.clone()), pending: Some(false), ..Filter::default() };
    let page = relays::list(&app.projections, &filter, None, RELAYS_MAX).await?;
    Ok(match choose(&page.items, settings) {
        Way::Direct => reach,
        Way::Tunnel(through) => reach.through(through),
        Way::Commands => reach.by_courier(Arc::new(RelayCourier {
            app: app.clone(),
            tenant: tenant.clone(),
            server: id.clone(),
            by: by.clone(),
        })),
        Way::Nowhere => reach.nowhere(),
    })
}
