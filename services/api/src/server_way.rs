//! How is a server reached: from here, or through a relay? As commands reach it; whatever no relay carries stays away.

use events::command::choose::serves;
use events::ids::TenantId;
use events::server::Settings;
use projections::relays::{self, Filter};

use crate::app::App;
use crate::problem::Problem;
use crate::server::Found;

/// Relays of a tenant that are looked at.
const RELAYS_MAX: u32 = 500;

/// As far as the read model knows.
pub enum Way {
    Direct,
    /// A relay that serves it is connected.
    Relay,
    Nowhere,
}

pub async fn way(app: &App, tenant: &TenantId, settings: &Settings) -> Result<Way, Problem> {
    if settings.relay.is_none() && settings.zone.is_none() && settings.labels.is_empty() {
        return Ok(Way::Direct);
    }
    // one that nobody has accepted leads nowhere, however many there are
    let filter = Filter { tenant: Some(tenant.clone()), pending: Some(false), ..Filter::default() };
    let page = relays::list(&app.projections, &filter, None, RELAYS_MAX).await?;
    let serving = page.items.iter().filter(|relay| serves(&relay.relay_id, &relay.settings, settings));
    let connected: Vec<bool> = serving.map(relays::RelayRow::connected).collect();
    Ok(match connected.is_empty() && settings.relay.is_none() {
        true => Way::Direct,
        false if connected.contains(&true) => Way::Relay,
        false => Way::Nowhere,
    })
}

/// For what no relay carries. In the relay's network the address is the server's; here it may be another machine's,
/// which must not be told a password, and what it says is nothing about the server.
pub async fn needs_direct(app: &App, found: &Found) -> Result<(), Problem> {
    match way(app, &found.tenant, &found.settings).await? {
        Way::Direct => Ok(()),
        Way::Relay | Way::Nowhere => Err(Problem::new(
            "behind_relay",
            "the way leads through a relay, which carries commands and the connection test and nothing else",
        )),
    }
}
