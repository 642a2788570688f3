//! Does the same rule still give the same event? The state is folded from what the aggregate had before it; what was
//! asked for stands in the event itself, and so does, mostly, the instant that the rule was given.

mod nats_tap;
mod subscription;

use std::fmt::Debug;

use chrono::{DateTime, TimeDelta, Utc};

use crate::access::{AccessEvent, set_grants::set_grants, set_people::set_people};
use crate::aggregate::{Aggregate, AggregateEvent, Decision, Refusal};
use crate::batch::BatchEvent;
use crate::catalogue::Event;
use crate::command::{
    Command, CommandAnsweredLate, CommandCompleted, CommandDispatched, CommandEvent, CommandRefusal,
    answer::answer,
    dispatch::{Place, dispatch},
    lose::lose,
    time_out::time_out,
};
use crate::credential::{CredentialEvent, applied, issue, reset, reveal};
use crate::env::{
    self, Env, EnvEvent, EnvFailed, RequestCause, allow_list, bind_port, deadlines, delete, expire, fail,
    job, observe, progress, request, start, stop,
};
use crate::envelope::Recorded;
use crate::login::{LoginEvent, lockout, record, unlock};
use crate::ports::{PortEvent, allocate, block, release};
use crate::quota::{QuotaEvent, claim};
use crate::relay::{Relay, RelayConnected, RelayEvent, connect, rotate_key::rotate_key};
use crate::request::{RequestEvent, accept};
use crate::schedule::{ScheduleEvent, fire, pause, remove as remove_schedule, set, skip};
use crate::server::{
    Server, ServerChanged, ServerEvent, ServerRefusal, account, change, facts, host_key, register, remove,
    test,
};
use crate::session::{SessionEvent, close, join, open, record as recording, share, view_recording};
use crate::sign_in::{SignInEvent, begin, end, refuse};
use crate::ssh_key::SshKeyEvent;
use crate::tenant::TenantEvent;
use crate::token::TokenEvent;
use crate::user::UserEvent;

/// What the rule says today.
#[derive(Debug, Clone, PartialEq)]
pub enum Again {
    Same,
    /// On that state it would add something else.
    Another(Box<Event>),
    /// On that state it would add nothing.
    Nothing,
    /// On that state it would refuse.
    Refused {
        code: &'static str,
        why: String,
    },
    /// What it looked at is not in the log.
    Unknown(&'static str),
}

/// The rule asked again.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What it looked at, for people.
    pub state: String,
    pub again: Again,
}

/// `past` are the events of the aggregate before this one, in order.
pub fn decide_again(past: &[Recorded], decided: &Recorded) -> Decided {
    let (at, case) = (decided.meta.time, Case { past, decided });
    match &decided.event {
        Event::Tenant(event) => tenant(&case, event),
        Event::Quota(event) => match event.clone() {
            QuotaEvent::QuotaSet(set) => case.on(|state| crate::quota::set::set(state, set.limits)),
            QuotaEvent::QuotaClaimed(claimed) => {
                case.on(|state| claim::claim(state, &claimed.env, claimed.resources))
            }
            QuotaEvent::QuotaReleased(released) => {
                case.on(|state| crate::quota::release::release(state, &released.env))
            }
        },
        Event::Env(event) => environment(&case, event, at),
        Event::Port(event) => match event.clone() {
            // how long a port rests is a setting; that nobody holds it is not
            PortEvent::PortAllocated(asked) => {
                case.on(|state| allocate::allocate(state, asked, TimeDelta::zero(), at))
            }
            PortEvent::PortReleased(released) => case.on(|state| release::release(state, &released.env)),
            PortEvent::PortBlocked(blocked) => {
                case.on(|state| block::block(state, &blocked.reason, blocked.until, at))
            }
        },
        Event::Credential(event) => match event.clone() {
            CredentialEvent::PasswordIssued(issued) => {
                case.on(|state| issue::issue(state, issued.secret_ref))
            }
            CredentialEvent::PasswordReset(asked) => {
                case.on(|state| reset::reset(state, asked.secret_ref, &asked.reason))
            }
            CredentialEvent::PasswordApplied(done) => {
                case.on(|state| applied::password_applied(state, done.number))
            }
            CredentialEvent::PasswordRevealed(_) => case.on(reveal::reveal),
            CredentialEvent::KeysAttached(keys) => {
                case.on(|state| applied::keys_attached(state, keys.fingerprints))
            }
        },
        Event::SshKey(event) => match event.clone() {
            SshKeyEvent::SshKeyAdded(asked) => case.on(|state| crate::ssh_key::add::add(state, asked)),
            SshKeyEvent::SshKeyRemoved(_) => case.on(crate::ssh_key::remove::remove),
        },
        Event::Login(event) => match event.clone() {
            LoginEvent::LoginSucceeded(login) => case.on(|state| record::succeeded(state, login)),
            LoginEvent::LoginFailed(login) => case.on(|state| record::failed(state, login)),
            LoginEvent::LoginsRefused(refused) => case.on(|state| record::refused(state, refused)),
            LoginEvent::LoginLocked(locked) => case.on(|state| lockout::lock(state, locked.ip, at)),
            LoginEvent::LoginUnlocked(asked) => case.on(|state| unlock::unlock(state, asked.ip, at)),
        },
        Event::Session(event) => session(&case, event, at),
        Event::Server(event) => server(&case, event),
        Event::Access(event) => match event.clone() {
            AccessEvent::GrantsSet(asked) => case.on(|state| set_grants(state, asked)),
            AccessEvent::PeopleGroupSet(asked) => case.on(|state| set_people(state, asked)),
        },
        Event::Relay(event) => relay(&case, event, at),
        Event::Batch(event) => match event.clone() {
            BatchEvent::BatchRequested(asked) => {
                case.on(|state| crate::batch::request::request(state, asked))
            }
            BatchEvent::BatchCancelled(_) => case.on(crate::batch::cancel::cancel),
            BatchEvent::BatchStopped(stopped) => {
                case.on(|state| crate::batch::stop::stop(state, stopped.failures))
            }
            BatchEvent::BatchApproved(approved) => {
                case.on(|state| crate::batch::approve::approve(state, &approved.by, approved.at))
            }
            BatchEvent::BatchRejected(rejected) => {
                case.on(|state| crate::batch::reject::reject(state, &rejected.by, rejected.reason))
            }
            BatchEvent::BatchExpired(_) => case.on(|state| crate::batch::expire::expire(state, at)),
        },
        Event::Command(event) => command(&case, event, at),
        Event::Schedule(event) => schedule(&case, event),
        Event::Subscription(event) => subscription::again(&case, event),
        Event::User(event) => match event.clone() {
            UserEvent::UserRegistered(asked) => {
                case.on(|state| crate::user::register::register(state, asked))
            }
            UserEvent::UserDisabled(_) => case.on(crate::user::disable::disable),
        },
        Event::SignIn(event) => match event.clone() {
            SignInEvent::SignedIn(asked) => case.on(|state| begin::begin(state, asked)),
            SignInEvent::SignedOut(asked) => case.on(|state| end::end(state, asked)),
            SignInEvent::SignInsRefused(refused) => case.on(|state| refuse::refuse(state, refused)),
        },
        Event::Token(event) => match event.clone() {
            TokenEvent::TokenIssued(asked) => case.on(|state| crate::token::issue::issue(state, asked)),
            TokenEvent::TokenRevoked(_) => case.on(crate::token::revoke::revoke),
        },
        Event::NatsTap(event) => nats_tap::again(&case, event),
        Event::Request(RequestEvent::RequestAccepted(asked)) => {
            case.on(|state| accept::accept(state, asked.clone()))
        }
    }
}

fn tenant(case: &Case<'_>, event: &TenantEvent) -> Decided {
    match event.clone() {
        TenantEvent::TenantRegistered(asked) => {
            case.on(|state| crate::tenant::register::register(state, &asked.name))
        }
        TenantEvent::TenantAllowListSet(set) => {
            case.on(|state| crate::tenant::allow_list::set_allow_list(state, set.ranges))
        }
        TenantEvent::TenantRecordingSet(set) => {
            case.on(|state| crate::tenant::recording::set_recording(state, set.enabled))
        }
    }
}

/// A deadline says when the rule was asked.
fn environment(case: &Case<'_>, event: &EnvEvent, at: DateTime<Utc>) -> Decided {
    let before = |deadline: DateTime<Utc>, given_s: i64| deadline - TimeDelta::seconds(given_s);
    match event.clone() {
        EnvEvent::EnvRequested(asked) => case.on(|state| request::request(state, asked)),
        EnvEvent::PortBound(bound) => case.on(|state| bind_port::bind_port(state, bound)),
        EnvEvent::PodCreated(created) => case.on(|state| observe::created(state, created)),
        EnvEvent::PodReady(ready) => case.on(|state| observe::ready(state, ready.inner)),
        EnvEvent::PodLost(lost) => {
            let seen_at = before(lost.deadline, deadlines::START_S);
            case.on(|state| observe::lost(state, &lost.reason, seen_at))
        }
        EnvEvent::EnvProgressed(seen) => case.on(|state| progress::progress(state, seen)),
        EnvEvent::EnvFailed(failed) => case.on(|state| failure(state, failed, at)),
        EnvEvent::EnvStopRequested(asked) => {
            let now = before(asked.deadline, deadlines::STOP_S);
            case.on(|state| stop::request_stop(state, asked.cause, now))
        }
        EnvEvent::EnvStopped(_) => case.on(stop::stopped),
        EnvEvent::EnvStartRequested(asked) => {
            let now = before(asked.deadline, deadlines::START_S);
            case.on(|state| start::request_start(state, now))
        }
        EnvEvent::EnvDeleteRequested(asked) => {
            let now = before(asked.deadline, deadlines::DELETE_S);
            case.on(|state| match asked.cause {
                RequestCause::TtlEnded => expire::expire(state, now),
                RequestCause::NeverStarted => env::give_up::give_up(state, now),
                RequestCause::Asked | RequestCause::Idle => delete::request_delete(state, asked.cause, now),
            })
        }
        EnvEvent::EnvDeleted(_) => case.on(delete::deleted),
        EnvEvent::EnvEndsSoon(soon) => match soon.cause {
            RequestCause::TtlEnded => case.on(|state: &Env| {
                let given_s = state.requested.as_ref().and_then(|asked| asked.ttl_s).unwrap_or_default();
                let now = soon.at.map_or(at, |end| end - env::idle::warn_before(given_s));
                expire::expire(state, now)
            }),
            RequestCause::Asked | RequestCause::NeverStarted | RequestCause::Idle => case
                .on(|_: &Env| Ok::<_, env::EnvRefusal>(None))
                .unknown("when there was traffic last is not in the log"),
        },
        EnvEvent::JobMarked(marked) => {
            // the mark is for whole seconds from when it was asked for, a moment before the event
            let (for_s, now) = match marked.until {
                None => (0, at),
                Some(until) => {
                    let for_s = (until - at).num_milliseconds().max(0).unsigned_abs().div_ceil(1_000);
                    let span = TimeDelta::seconds(i64::try_from(for_s).unwrap_or_default());
                    (for_s, until - span)
                }
            };
            case.on(|state| job::mark(state, for_s, &marked.note, now))
        }
        EnvEvent::AllowListSet(set) => case.on(|state| allow_list::set_allow_list(state, set.ranges)),
    }
}

/// What a step said, or what the clock or repeated losses say.
fn failure(state: &Env, failed: EnvFailed, at: DateTime<Utc>) -> Decision<EnvEvent, env::EnvRefusal> {
    let last = failed.reason.split_once("; last: ").map(|(_, last)| last.to_owned());
    match (failed.code.as_str(), last) {
        ("deadline_exceeded", _) => fail::overdue(state, at),
        ("crash_loop", Some(last)) => observe::lost(state, &last, at),
        (_, _) => fail::fail(state, failed),
    }
}

fn session(case: &Case<'_>, event: &SessionEvent, at: DateTime<Utc>) -> Decided {
    match event.clone() {
        SessionEvent::SessionOpened(opened) => case.on(|state| open::open(state, opened)),
        SessionEvent::SessionClosed(closed) => case.on(|state| close::close(state, closed)),
        SessionEvent::RecordingStarted(started) => case.on(|state| recording::start(state, started)),
        SessionEvent::RecordingKept(kept) => case.on(|state| recording::keep(state, kept)),
        SessionEvent::RecordingEnded(ended) => case.on(|state| recording::end(state, ended)),
        SessionEvent::RecordingViewed(viewed) => {
            case.on(|state| view_recording::view_recording(state, viewed.recording))
        }
        SessionEvent::SessionShared(shared) => case.on(|state| share::share(state, shared)),
        SessionEvent::SessionUnshared(unshared) => case.on(|state| share::unshare(state, unshared)),
        SessionEvent::SessionJoined(joined) => case.on(|state| join::join(state, joined, at)),
        SessionEvent::SessionLeft(left) => case.on(|state| join::leave(state, left)),
    }
}

/// Who tested or connected did so with the settings that the server had: the rules look away otherwise.
fn server(case: &Case<'_>, event: &ServerEvent) -> Decided {
    match event.clone() {
        ServerEvent::ServerRegistered(asked) => case.on(|state| register::register(state, asked.settings)),
        ServerEvent::ServerChanged(changed) => case.on(|state| changed_again(state, changed)),
        ServerEvent::ServerRemoved(_) => case.on(remove::remove),
        ServerEvent::HostKeyPinned(pinned) => case.on(|state: &Server| {
            let tried = state.there().ok_or(ServerRefusal::NotFound)?;
            host_key::shown(state, tried, &pinned.host_key)
        }),
        ServerEvent::HostKeyChangeSeen(change) => case.on(|state: &Server| {
            let tried = state.there().ok_or(ServerRefusal::NotFound)?;
            host_key::shown(state, tried, &change.seen)
        }),
        ServerEvent::HostKeyAccepted(accepted) => {
            case.on(|state| host_key::accept(state, &accepted.host_key.fingerprint))
        }
        ServerEvent::FactsGathered(gathered) => case.on(|state: &Server| {
            let asked = state.there().ok_or(ServerRefusal::NotFound)?;
            facts::gathered(state, asked, gathered.facts)
        }),
        ServerEvent::AccountChangeAsked(asked) => case.on(|state| account::ask(state, asked)),
        ServerEvent::AccountChangeEnded(ended) => case.on(|state| account::end(state, ended)),
        ServerEvent::ConnectionTested(outcome) => case.on(|state: &Server| {
            let tried = state.there().ok_or(ServerRefusal::NotFound)?;
            test::tested(state, tried, outcome)
        }),
    }
}

/// Everything that the settings say afterwards was asked for; a credential only if it is another one.
fn changed_again(state: &Server, changed: ServerChanged) -> Decision<ServerEvent, ServerRefusal> {
    let after = changed.settings;
    let is_kept = state.there().is_some_and(|before| before.credential == after.credential);
    let asked = change::Change {
        name: Some(after.name),
        host: Some(after.host),
        port: Some(after.port),
        username: Some(after.username),
        credential: (!is_kept).then_some(after.credential),
        zone: Some(after.zone),
        relay: Some(after.relay),
        groups: Some(after.groups),
        labels: Some(after.labels),
    };
    change::change(state, &asked)
}

/// Which key was shown is not in the log: the one that opened is taken.
fn relay(case: &Case<'_>, event: &RelayEvent, at: DateTime<Utc>) -> Decided {
    match event.clone() {
        RelayEvent::RelayRegistered(asked) => case.on(|state| crate::relay::register::register(state, asked)),
        RelayEvent::RelayChanged(changed) => {
            let asked = crate::relay::change::Change::to(changed.settings);
            case.on(|state| crate::relay::change::change(state, &asked))
        }
        RelayEvent::RelayKeyRotated(rotated) => {
            case.on(|state| rotate_key(state, &rotated.digest, rotated.previous_until))
        }
        RelayEvent::RelayAccepted(_) => case.on(crate::relay::accept::accept),
        RelayEvent::RelayRevoked(_) => case.on(crate::relay::revoke::revoke),
        RelayEvent::RelayConnected(connected) => case.on(|state: &Relay| {
            let previous = state.previous.as_ref().filter(|_| connected.previous_key);
            let digest = previous.map_or(&state.digest, |(digest, _)| digest).clone();
            let RelayConnected { hub, address, client, tunnels, .. } = connected;
            connect::connect(state, &connect::Knock { hub, digest, address, client, tunnels }, at)
        }),
        RelayEvent::RelayDisconnected(ended) => {
            case.on(|state| connect::disconnect(state, ended.epoch, &ended.reason))
        }
    }
}

/// A deadline says when the rule was asked; whoever spoke was whom the command was given to.
fn command(case: &Case<'_>, event: &CommandEvent, at: DateTime<Utc>) -> Decided {
    match event.clone() {
        CommandEvent::CommandRequested(asked) => {
            case.on(|state| crate::command::request::request(state, asked))
        }
        CommandEvent::CommandDispatched(given) => case.on(|state: &Command| {
            let timeout_ms = state.asked.as_ref().map(|asked| asked.timeout_ms).unwrap_or_default();
            let span = TimeDelta::milliseconds(i64::try_from(timeout_ms).unwrap_or_default());
            let CommandDispatched { via, host, port, username, deadline, .. } = given;
            dispatch(state, &via, &Place { host, port, username }, deadline - span)
        }),
        CommandEvent::CommandCompleted(completed) => case.on(|state: &Command| {
            let from = state.attempts.last().ok_or(CommandRefusal::NotYours)?;
            answer(state, from, &completed, at)
        }),
        CommandEvent::CommandAnsweredLate(late) => case.on(|state| {
            let CommandAnsweredLate { via, exit_code, stdout, stderr } = late;
            answer(state, &via, &CommandCompleted { exit_code, stdout, stderr }, at)
        }),
        CommandEvent::CommandFailed(failed) => {
            case.on(|state: &Command| crate::command::fail::fail(state, state.attempts.last(), &failed))
        }
        CommandEvent::CommandTimedOut(_) => case.on(|state| time_out(state, at)),
        CommandEvent::CommandLost(lost) => case.on(|state: &Command| {
            let via = state.attempts.last().ok_or(CommandRefusal::NotYours)?;
            lose(state, via, &lost.reason)
        }),
        CommandEvent::CommandCancelled(_) => case.on(crate::command::cancel::cancel),
    }
}

/// What was looked at when says the event; the tables of time zones are those of this release.
fn schedule(case: &Case<'_>, event: &ScheduleEvent) -> Decided {
    match event.clone() {
        ScheduleEvent::ScheduleSet(asked) => case.on(|state: &crate::schedule::Schedule| match state.set {
            None => set::set(state, asked),
            Some(_) => set::change(state, asked),
        }),
        ScheduleEvent::SchedulePaused(_) => case.on(pause::pause),
        ScheduleEvent::ScheduleResumed(resumed) => case.on(|state| pause::resume(state, resumed.since)),
        ScheduleEvent::ScheduleRemoved(_) => case.on(remove_schedule::remove),
        ScheduleEvent::ScheduleFired(fired) => case.on(|state| fire::fire(state, fired)),
        ScheduleEvent::ScheduleSkipped(skipped) => case.on(|state| skip::skip(state, skipped)),
    }
}

struct Case<'c> {
    past: &'c [Recorded],
    decided: &'c Recorded,
}

impl Case<'_> {
    fn on<A: Aggregate + Debug, R: Refusal>(
        &self,
        rule: impl FnOnce(&A) -> Decision<A::Event, R>,
    ) -> Decided {
        let past = self.past.iter();
        let state = A::fold(
            past.filter_map(|recorded| Some((A::Event::from_event(&recorded.event)?, recorded.meta.time))),
        );
        let again = match rule(&state) {
            Err(refusal) => Again::Refused { code: refusal.code(), why: refusal.to_string() },
            Ok(None) => Again::Nothing,
            Ok(Some(event)) => {
                let event: Event = event.into();
                if event == self.decided.event { Again::Same } else { Again::Another(Box::new(event)) }
            }
        };
        Decided { state: format!("{state:#?}"), again }
    }
}

impl Decided {
    fn unknown(self, why: &'static str) -> Self {
        Self { again: Again::Unknown(why), ..self }
    }
}
