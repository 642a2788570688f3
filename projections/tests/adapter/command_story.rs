//! What may have happened to relays, batches and commands? Part of the histories of `story`.

use events::access::pattern::Pattern;
use events::batch::{self, Answer, ApprovalAsked, Batch, BatchRequested};
use events::command::{
    self, Command, CommandCompleted, CommandFailed, CommandRequested, Output, Via, dispatch,
};
use events::ids::{BatchId, CommandId, HubId, RelayId, ServerId, Tag, TenantId};
use events::relay::{self, Relay, RelayRegistered, RelaySettings, change::Change, connect::Knock};
use events::user::Role;
use uuid::Uuid;

use crate::server_story::server;
use crate::story::{Story, instant, owner};

impl Story {
    pub fn step_of_command(&mut self, what: u8, which: u8, tenant: &TenantId) {
        match what % 3 {
            0 => self.step_of_relay(what / 3, which, tenant),
            1 if what.is_multiple_of(2) => self.step_of_batch(what, which, tenant),
            _ => self.step_of_one(what / 3, which, tenant),
        }
    }

    fn step_of_relay(&mut self, what: u8, which: u8, tenant: &TenantId) {
        let digest = |number: u8| format!("digest {number}");
        self.decide::<Relay, _>(tenant, relay(which).as_str(), |state, now| match what % 6 {
            0 | 1 => {
                let settings = RelaySettings {
                    name: format!("relay {which}"),
                    zone: None,
                    labels: [].into(),
                    addresses: vec![],
                    in_flight_max: 1 + u32::from(which),
                };
                relay::register::register(
                    state,
                    RelayRegistered { settings, digest: digest(0), pending: false },
                )
            }
            2 | 3 => {
                let address = which.is_multiple_of(2).then(|| [10, 0, 0, which].into());
                let knock = Knock {
                    hub: hub(which),
                    digest: state.digest.clone(),
                    address,
                    client: None,
                    tunnels: None,
                };
                relay::connect::connect(state, &knock, now)
            }
            4 => relay::connect::disconnect(state, state.epoch, "relay_left"),
            _ if which.is_multiple_of(5) => relay::revoke::revoke(state),
            _ if which.is_multiple_of(3) => {
                let zone = which.is_multiple_of(2).then(|| Tag::parse("dmz").unwrap());
                let asked = Change { zone: Some(zone), in_flight_max: Some(7), ..Change::default() };
                relay::change::change(state, &asked)
            }
            _ => relay::rotate_key::rotate_key(state, &digest(which), now),
        });
    }

    fn step_of_batch(&mut self, what: u8, which: u8, tenant: &TenantId) {
        let second = owner(which.wrapping_add(1));
        self.decide::<Batch, _>(tenant, batch(tenant, which).as_str(), |state, now| match what % 28 {
            4 if which.is_multiple_of(2) => batch::stop::stop(state, 9),
            4 => batch::cancel::cancel(state),
            10 => batch::approve::approve(state, &second, now),
            16 => {
                batch::reject::reject(state, &second, which.is_multiple_of(3).then(|| "no \u{1f6a2}".into()))
            }
            22 => batch::expire::expire(state, now + chrono::TimeDelta::days(1)),
            _ => batch::request::request(state, requested(which)),
        });
    }

    fn step_of_one(&mut self, what: u8, which: u8, tenant: &TenantId) {
        let (batch, asked) = (batch(tenant, which), requested(which));
        // a command comes of a batch
        let subject = events::Subject::new(tenant.clone(), events::Kind::Batch, batch.as_str());
        let fold: Batch = Self::fold(&self.log, &subject);
        match &fold.requested {
            None => return self.step_of_batch(0, which, tenant),
            Some(waits) if waits.approval.is_some() && fold.answer != Some(Answer::Approved) => {
                return self.step_of_batch(if what.is_multiple_of(2) { 10 } else { 22 }, which, tenant);
            }
            Some(_) => {}
        }
        let server = &asked.servers[usize::from(what) % asked.servers.len()];
        let id = CommandId::of(&batch, server, asked.at);
        self.decide::<Command, _>(tenant, id.as_str(), |state, now| {
            let epoch = u64::from(what % 3);
            let via = match which % 4 {
                0 => Via::Direct { hub: hub(which) },
                _ => Via::Relay { relay: relay(which), epoch },
            };
            let place = dispatch::Place { host: "10.0.0.1".into(), port: 22, username: "deploy".into() };
            let bytes: &[u8] = if what.is_multiple_of(2) { b"ok\n" } else { &[0, 255, b'x'] };
            let completed = CommandCompleted {
                exit_code: i32::from(which) - 3,
                stdout: Output::of(bytes, bytes.len() as u64 + u64::from(what % 2)),
                stderr: Output::default(),
            };
            let failed = CommandFailed { class: "auth_failed".into(), reason: "no".into(), suggestion: None };
            match what % 9 {
                0 | 1 => command::request::request(
                    state,
                    CommandRequested {
                        batch: batch.clone(),
                        server: server.clone(),
                        timeout_ms: asked.timeout_ms,
                        idempotent: asked.idempotent,
                        start_by: now + chrono::TimeDelta::days(1),
                    },
                ),
                2 | 3 => dispatch::dispatch(state, &via, &place, now),
                4 | 5 => {
                    let from = state.attempts.first().cloned().unwrap_or(via);
                    command::answer::answer(state, &from, &completed, now)
                }
                6 => command::fail::fail(state, None, &failed),
                7 => command::time_out::time_out(state, now + chrono::TimeDelta::hours(1)),
                _ => match state.attempts.last() {
                    Some(via) => command::lose::lose(state, via, "it left"),
                    None => command::cancel::cancel(state),
                },
            }
        });
    }
}

fn relay(which: u8) -> RelayId {
    RelayId::from_seed(&Uuid::from_u128(u128::from(which % 4)))
}

fn hub(which: u8) -> HubId {
    HubId::from_seed(&Uuid::from_u128(u128::from(which % 2)))
}

fn batch(tenant: &TenantId, which: u8) -> BatchId {
    BatchId::from_seed(&Uuid::new_v5(&Uuid::nil(), format!("{tenant} {}", which % 5).as_bytes()))
}

/// From 3 on, of five, it waits for a second person.
pub fn requested(which: u8) -> BatchRequested {
    let which = which % 5;
    BatchRequested {
        command: format!("echo {which}"),
        servers: (0..=which)
            .map(server)
            .collect::<std::collections::BTreeSet<ServerId>>()
            .into_iter()
            .collect(),
        timeout_ms: 60_000,
        idempotent: which.is_multiple_of(2),
        concurrency: 10,
        stop_after_failures: (which > 2).then_some(u32::from(which)),
        approval: (which > 2).then(|| ApprovalAsked {
            until: instant(0) + chrono::TimeDelta::days(1),
            role: Role::Developer,
            patterns: [Pattern::parse("*echo*").unwrap()].into(),
        }),
        by: owner(which),
        at: instant(0),
    }
}
