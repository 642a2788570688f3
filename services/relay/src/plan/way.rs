//! By which way does a command go now, or why does it go by none?

use events::command::choose::{Candidate, Choice, choose};
use events::command::dispatch::Place;
use events::command::{CommandFailed, Via};
use events::ids::{CommandId, TenantId};
use events::server::Settings;

use super::{Plan, Step};
use crate::desk::{BatchEntry, Entry, Holder};

/// Commands on one server at once, of all batches.
const SERVER_IN_FLIGHT_MAX: u32 = 4;
/// Commands that this hub runs itself at once.
const DIRECT_IN_FLIGHT_MAX: usize = 64;

impl Plan<'_> {
    /// What becomes of this command now, if anything.
    pub(super) fn way(&mut self, id: &CommandId, entry: &Entry, batch: &BatchEntry) -> Option<Step> {
        let server = self.desk.servers.get(&entry.server).filter(|(tenant, _)| *tenant == batch.tenant);
        let Some((_, settings)) = server else {
            return entry.command.attempts.is_empty().then(|| failed(id, &Unable::ServerRemoved));
        };
        let on_server = self.desk.server_in_flight.get(&entry.server).copied().unwrap_or(0);
        let more = self.taken.servers.get(&entry.server).copied().unwrap_or(0);
        let again = u32::from(!entry.command.attempts.is_empty());
        if on_server + more >= SERVER_IN_FLIGHT_MAX + again {
            return None;
        }
        let via = match choose(settings, self.candidates(&batch.tenant)) {
            Choice::Relay(relay) => {
                let epoch = self.desk.relays.get(&relay)?.relay.epoch;
                Via::Relay { relay, epoch }
            }
            Choice::Direct => {
                let holder = Holder::Hub(self.view.own.clone());
                if self.held_by(&holder) >= DIRECT_IN_FLIGHT_MAX {
                    return None;
                }
                Via::Direct { hub: self.view.own.clone() }
            }
            Choice::Busy => return None,
            Choice::NoRelay => {
                let timeout = i64::try_from(batch.requested.timeout_ms).unwrap_or(i64::MAX);
                let waited = (self.view.now - entry.queued_at).num_milliseconds();
                let first = entry.command.attempts.is_empty();
                return (first && waited >= timeout).then(|| failed(id, &Unable::NoRelay(settings)));
            }
        };
        if entry.command.attempts.contains(&via) {
            return None;
        }
        self.taken.add(Holder::of(&via), entry);
        let Settings { host, port, username, .. } = settings;
        let place = Place { host: host.clone(), port: *port, username: username.clone() };
        Some(Step::Dispatch { command: id.clone(), via, place })
    }

    fn candidates<'c>(&'c self, tenant: &'c TenantId) -> impl Iterator<Item = Candidate<'c>> {
        let theirs = self.desk.relays.iter().filter(move |(_, entry)| entry.tenant == *tenant);
        theirs.filter_map(|(id, entry)| {
            let settings = entry.relay.there()?;
            let held = self.held_by(&Holder::Relay(id.clone()));
            Some(Candidate {
                id,
                settings,
                connected: entry.relay.connected.is_some(),
                in_flight: u32::try_from(held).unwrap_or(u32::MAX),
                troubles: entry.troubles,
                used: entry.used,
            })
        })
    }

    fn held_by(&self, holder: &Holder) -> usize {
        self.desk.held_by(holder) + self.taken.holders.get(holder).copied().unwrap_or(0)
    }
}

/// Why a command is given to nobody.
enum Unable<'s> {
    ServerRemoved,
    NoRelay(&'s Settings),
}

fn failed(id: &CommandId, unable: &Unable<'_>) -> Step {
    let (class, reason, suggestion) = match unable {
        Unable::ServerRemoved => ("server_removed", "the server is not there any more".to_owned(), None),
        Unable::NoRelay(settings) => {
            let which = match (&settings.relay, &settings.zone) {
                (Some(relay), _) => format!("relay {relay}"),
                (None, Some(zone)) => format!("a relay of zone {zone}"),
                (None, None) => "a relay".to_owned(),
            };
            let reason = format!("the way leads through {which}, and none was connected in time");
            let what = "start the relay, or take it out of the server's settings";
            ("relay_unavailable", reason, Some(what.to_owned()))
        }
    };
    let failed = CommandFailed { class: class.to_owned(), reason, suggestion };
    Step::Fail { command: id.clone(), failed }
}
