//! Do the rows say what the folds of the aggregates say?

use std::collections::BTreeMap;

use events::access::Access;
use events::batch::{Answer, Batch};
use events::command::{Command, CommandEvent, Via};
use events::env::{Env, PortPurpose, Status};
use events::ids::{
    BatchId, CommandId, EnvId, NatsTapId, RelayId, ScheduleId, ServerId, TenantId, TokenId, UserName,
};
use events::nats_tap::NatsTap;
use events::ports::{Port, parse_port_id};
use events::quota::Quota;
use events::relay::Relay;
use events::schedule::{Schedule, ScheduleEvent, due};
use events::server::{Server, Stage as ServerStage};
use events::session::{Session, SessionEvent, Stage};
use events::ssh_key::SshKey;
use events::tenant::Tenant;
use events::token::Token;
use events::user::User;
use events::{Event, Kind, Recorded};
use harness::postgres::Postgres;
use projections::environments::EnvironmentRow;
use projections::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::story::Story;
use crate::subscription_story::assert_subscriptions;
use crate::{assert_rows_follow, feed_all, fresh};

/// Histories tried.
const CASES: u32 = 24;

#[test]
fn rows_equal_the_fold_of_any_history_in_any_chunks() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let postgres = runtime.block_on(Postgres::start()).unwrap();
    let number = std::cell::Cell::new(0);
    let steps = prop::collection::vec((any::<u8>(), any::<u8>()), 0..400);
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(steps, 1_usize..120), |(steps, size)| {
            number.set(number.get() + 1);
            let log = Story::play(steps).log;
            runtime.block_on(async {
                let url = postgres.create_database(&format!("case{}", number.get())).await.unwrap();
                let projections = Projections::connect(&url).await.unwrap();
                projections.migrate().await.unwrap();
                feed_all(&projections, &log, size).await;
                assert_folds(&projections, &log).await;
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_long_history_is_followed_and_nothing_is_parked() {
    let (_postgres, projections) = fresh().await;
    let log = Story::long(6_000);
    feed_all(&projections, &log, 500).await;
    assert_folds(&projections, &log).await;
    assert_rows_follow(&projections, &log).await;
    for status in projections.status().await.unwrap() {
        assert_eq!(status.position, log.len() as u64, "{}", status.name);
        assert_eq!((status.parked_subjects, status.unreadable), (0, 0), "{status:?}");
    }
    let kinds: std::collections::BTreeSet<_> = log.iter().map(|event| event.event.event_type()).collect();
    assert!(kinds.len() >= 43, "the story is too dull: {kinds:?}");
}

async fn assert_folds(projections: &Projections, log: &[Recorded]) {
    assert_environments(projections, log).await;
    assert_ports(projections, log).await;
    assert_quotas(projections, log).await;
    assert_people(projections, log).await;
    assert_servers(projections, log).await;
    assert_commands(projections, log).await;
    assert_schedules(projections, log).await;
    assert_subscriptions(projections, log).await;
    assert_logins_and_sessions(projections, log).await;
    assert_audit(projections, log).await;
}

async fn assert_environments(projections: &Projections, log: &[Recorded]) {
    let mut shown = Vec::new();
    for subject in Story::subjects(log, Kind::Env) {
        let fold: Env = Story::fold(log, &subject);
        let env = EnvId::parse(subject.id.as_str()).unwrap();
        let row = environments::get(projections, Some(&subject.tenant), &env).await.unwrap();
        assert_eq!(row.position, log.len() as u64);
        let row = row.value.expect("it was asked for");
        assert_environment(&row, &fold);
        let history: Vec<&Recorded> = log.iter().filter(|event| event.subject == subject).collect();
        assert_eq!((row.created_at, row.created_seq), (history[0].meta.time, history[0].seq));
        let last = history.last().unwrap();
        assert_eq!((row.updated_at, row.seq), (last.meta.time, last.seq));
        if fold.status != Status::Deleted {
            shown.push(row.clone());
        }
        let other = TenantId::parse("stranger").unwrap();
        assert_eq!(environments::get(projections, Some(&other), &env).await.unwrap().value, None);
    }
    shown.sort_by_key(|row| std::cmp::Reverse(row.created_seq));
    let listed = environments::list(projections, &environments::Filter::default(), None, 500).await.unwrap();
    assert_eq!(listed.items, shown);
}

fn assert_environment(row: &EnvironmentRow, fold: &Env) {
    let asked = fold.requested.as_ref().unwrap();
    let failed = fold.failure.as_ref().map(|failure| (failure.phase, &failure.code, &failure.reason));
    let progressed = fold.newest_progress().map(|newest| (newest.phase, &newest.code, &newest.message));
    let said = failed.or(progressed);
    assert_eq!(row.status, fold.status.name());
    assert_eq!(row.phase.as_deref(), said.map(|(phase, _, _)| phase.name()));
    assert_eq!(row.code.as_ref(), said.map(|(_, code, _)| code));
    assert_eq!(row.reason.as_ref(), said.map(|(_, _, reason)| reason));
    assert_eq!(row.deadline, fold.deadline);
    assert_eq!(
        (row.ssh_port, row.jupyter_port),
        (fold.port(PortPurpose::Ssh), fold.port(PortPurpose::Jupyter))
    );
    assert_eq!(row.allow_list, fold.allow_list);
    assert_eq!((&row.owner, &row.name, &row.image), (&asked.owner, &asked.name, &asked.image));
    assert_eq!((row.resources, row.jupyter, row.ttl_s), (asked.resources, asked.jupyter, asked.ttl_s));
    assert_eq!((row.expires_at, row.idle_s), (fold.expires_at(), asked.idle_s));
    assert_eq!(
        (row.job_until, row.stops_at, row.deletes_at),
        (fold.job_until, fold.stops_at, fold.deletes_at)
    );
}

async fn assert_ports(projections: &Projections, log: &[Recorded]) {
    let all = port_mappings::list(projections, &port_mappings::Filter::default(), None, 500).await.unwrap();
    let allocations = log.iter().filter(|event| event.event.event_type() == "PortAllocated").count().min(500);
    assert_eq!(all.items.len(), allocations);
    let filter = port_mappings::Filter { held: true, ..Default::default() };
    let held = port_mappings::list(projections, &filter, None, 500).await.unwrap();
    let mut found = BTreeMap::new();
    for row in held.items {
        let before = found.insert((row.pool.clone(), row.port), (row.tenant, row.env_id, row.allocated_at));
        assert_eq!(before, None, "one holder");
    }
    let mut expected = BTreeMap::new();
    for subject in Story::subjects(log, Kind::Port) {
        if let Some(holder) = Story::fold::<Port>(log, &subject).holder {
            let port = parse_port_id(&subject.id).unwrap();
            expected.insert(port, (holder.tenant, holder.env, holder.since));
        }
    }
    assert_eq!(found, expected);
}

async fn assert_quotas(projections: &Projections, log: &[Recorded]) {
    for subject in Story::subjects(log, Kind::Quota) {
        let fold: Quota = Story::fold(log, &subject);
        let row = quotas::get(projections, &subject.tenant).await.unwrap().value.unwrap();
        assert_eq!(row.limits, fold.limits);
        assert_eq!(row.used.environments, fold.claims.len() as u64);
        assert_eq!((row.used.cpu, row.used.memory), (fold.used.cpu, fold.used.memory));
        assert_eq!((row.used.gpu, row.used.storage), (fold.used.gpu.into(), fold.used.storage));
    }
    for subject in Story::subjects(log, Kind::Tenant) {
        let row = quotas::get(projections, &subject.tenant).await.unwrap().value.unwrap();
        assert_eq!(row.name, Some(subject.tenant.to_string()));
        assert_eq!(row.recording, Story::fold::<Tenant>(log, &subject).records);
    }
}

async fn assert_people(projections: &Projections, log: &[Recorded]) {
    let keys = ssh_keys::list(projections, &ssh_keys::Filter::default(), None, 500).await.unwrap();
    let mut found: Vec<_> =
        keys.items.into_iter().map(|row| (row.tenant, row.key_id.to_string(), row.owner, row.name)).collect();
    let mut expected = Vec::new();
    for subject in Story::subjects(log, Kind::SshKey) {
        if let Some(added) = Story::fold::<SshKey>(log, &subject).added {
            expected.push((subject.tenant, subject.id, added.owner, added.name));
        }
    }
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for subject in Story::subjects(log, Kind::User) {
        let fold: User = Story::fold(log, &subject);
        let name = UserName::parse(subject.id.as_str()).unwrap();
        let row = users::get(projections, None, &name).await.unwrap().value.unwrap();
        let registered = fold.registered.unwrap();
        assert_eq!(
            (row.disabled, row.role.as_str(), row.tenant),
            (fold.disabled, registered.role.name(), registered.tenant)
        );
    }
    for subject in Story::subjects(log, Kind::Token) {
        let fold: Token = Story::fold(log, &subject);
        let id = TokenId::parse(subject.id.as_str()).unwrap();
        let row = tokens::get(projections, None, &id).await.unwrap().value.unwrap();
        let issued = fold.issued.unwrap();
        assert_eq!(
            (row.revoked_at.is_some(), row.expires_at, row.owner),
            (fold.revoked, issued.expires_at, issued.owner)
        );
    }
    for subject in Story::subjects(log, Kind::NatsTap) {
        let fold: NatsTap = Story::fold(log, &subject);
        let id = NatsTapId::parse(subject.id.as_str()).unwrap();
        let row = nats_taps::get(projections, Some(&subject.tenant), &id).await.unwrap().value.unwrap();
        let issued = fold.issued.unwrap();
        assert_eq!(
            (row.revoked_at.is_some(), row.kinds, row.issued_by),
            (fold.revoked, issued.kinds.into_iter().collect(), issued.by)
        );
    }
}

async fn assert_servers(projections: &Projections, log: &[Recorded]) {
    let mut shown = Vec::new();
    for subject in Story::subjects(log, Kind::Server) {
        let id = ServerId::parse(subject.id.as_str()).unwrap();
        let row = servers::get(projections, Some(&subject.tenant), &id).await.unwrap().value.unwrap();
        assert_eq!(row.server, Story::fold::<Server>(log, &subject));
        let history: Vec<&Recorded> = log.iter().filter(|event| event.subject == subject).collect();
        assert_eq!((row.created_at, row.created_seq), (history[0].meta.time, history[0].seq));
        let last = history.last().unwrap();
        assert_eq!((row.updated_at, row.seq), (last.meta.time, last.seq));
        let tested = history.iter().rev().find(|event| event.event.event_type() == "ConnectionTested");
        let tested_at = row.server.tested.as_ref().and(tested.map(|event| event.meta.time));
        assert_eq!(row.tested_at, tested_at);
        let gathered = history.iter().rev().find(|event| event.event.event_type() == "FactsGathered");
        assert_eq!(row.facts_at, row.server.facts.as_ref().and(gathered.map(|event| event.meta.time)));
        if row.server.stage == ServerStage::There {
            shown.push(row);
        }
    }
    shown.sort_by_key(|row| std::cmp::Reverse(row.created_seq));
    let listed = servers::list(projections, &servers::Filter::default(), None, 500).await.unwrap();
    assert_eq!(listed.items, shown);
    for subject in Story::subjects(log, Kind::Access) {
        let fold: Access = Story::fold(log, &subject);
        let rows = grants::list(projections, Some(&subject.tenant), None, None, 500).await.unwrap();
        let found: BTreeMap<_, _> = rows.items.into_iter().map(|row| (row.servers, row.grants)).collect();
        assert_eq!(found, fold.grants);
        let rows = grants::people_groups(projections, Some(&subject.tenant), None, 500).await.unwrap();
        let found: BTreeMap<_, _> = rows.items.into_iter().map(|row| (row.name, row.members)).collect();
        assert_eq!(found, fold.groups);
    }
}

/// Commands that went by this relay last and have no outcome.
fn given_to(log: &[Recorded], relay: &RelayId) -> u64 {
    let subjects = Story::subjects(log, Kind::Command);
    let given = subjects.iter().map(|subject| Story::fold::<Command>(log, subject)).filter(|command| {
        let by = |via: &Via| matches!(via, Via::Relay { relay: by, .. } if by == relay);
        command.outcome().is_none() && command.attempts.last().is_some_and(by)
    });
    given.count() as u64
}

async fn assert_commands(projections: &Projections, log: &[Recorded]) {
    for subject in Story::subjects(log, Kind::Relay) {
        let id = RelayId::parse(subject.id.as_str()).unwrap();
        let row = relays::get(projections, Some(&subject.tenant), &id).await.unwrap().value.unwrap();
        let fold: Relay = Story::fold(log, &subject);
        assert_eq!((Some(&row.settings), row.revoked), (fold.settings.as_ref(), fold.revoked));
        assert_eq!((row.epoch, &row.hub), (fold.epoch, &fold.connected));
        assert_eq!(row.in_flight, given_to(log, &id), "{id}");
    }
    for subject in Story::subjects(log, Kind::Batch) {
        let id = BatchId::parse(subject.id.as_str()).unwrap();
        let row = batches::get(projections, &batches::Filter::default(), &id).await.unwrap().value.unwrap();
        let fold: Batch = Story::fold(log, &subject);
        let requested = fold.requested.clone().unwrap();
        assert_eq!((row.cancelled_at.is_some(), &row.command), (fold.cancelled, &requested.command));
        assert_eq!(row.stopped_at.is_some(), fold.stopped);
        let answer = row.answer.as_ref().map(|answered| answered.answer.as_str());
        assert_eq!((row.awaiting, answer), (fold.waits_for().is_some(), fold.answer.map(Answer::name)));
        assert_eq!(row.approval, requested.approval);
        let never_begun = fold.waits_for().is_none() && requested.approval.is_some();
        let never_begun = never_begun && fold.answer != Some(Answer::Approved);
        let all = commands::Filter::default();
        let shown = commands::of_batch(projections, &id, &all, None, 500).await.unwrap().items;
        let servers: Vec<_> = shown.iter().map(|row| row.server_id.clone()).collect();
        assert_eq!(servers, requested.servers, "a command for each server");
        let counts = row.counts;
        let ended = counts.completed + counts.failed + counts.timed_out + counts.lost + counts.cancelled;
        assert_eq!(ended + counts.pending(), row.servers);
        for listed in shown {
            let id = &listed.command_id;
            let subject = events::Subject::new(subject.tenant.clone(), Kind::Command, id.as_str());
            let fold: Command = Story::fold(log, &subject);
            let whole = commands::get(projections, None, None, id).await.unwrap().value.unwrap().state;
            let outcome = fold.outcome().map(|outcome| outcome.name().to_owned());
            let pending = match fold.attempts.is_empty() {
                true if row.awaiting => "awaiting_approval",
                true if never_begun => "cancelled",
                true => "queued",
                false => "dispatched",
            };
            assert_eq!(whole.status, outcome.unwrap_or_else(|| pending.to_owned()), "{whole:?}");
            assert_eq!((whole.attempts, whole.late.is_some()), (fold.attempts.len() as u64, fold.late));
            let completed = log.iter().filter(|recorded| recorded.subject == subject).find_map(|recorded| {
                let Event::Command(CommandEvent::CommandCompleted(event)) = &recorded.event else {
                    return None;
                };
                Some((event.exit_code, event.stdout.bytes()))
            });
            assert_eq!(whole.exit_code.zip(whole.stdout.map(|kept| kept.bytes)), completed, "byte by byte");
        }
    }
    for subject in Story::subjects(log, Kind::Command) {
        assert!(CommandId::parse(subject.id.as_str()).is_ok());
    }
}

async fn assert_schedules(projections: &Projections, log: &[Recorded]) {
    let everybody = schedules::Filter::default();
    for subject in Story::subjects(log, Kind::Schedule) {
        let id = ScheduleId::parse(subject.id.as_str()).unwrap();
        let row = schedules::get(projections, &everybody, &id).await.unwrap().value.unwrap();
        let fold: Schedule = Story::fold(log, &subject);
        assert_eq!((Some(&row.set), row.paused, row.removed), (fold.set.as_ref(), fold.paused, fold.removed));
        assert_eq!((row.covered, row.next_due), (fold.covered, due::next(&fold)));
        assert_eq!(row.batch_id, fold.newest.map(|begun| begun.batch_id));
        let runs = schedule_runs::of_schedule(projections, &id, 500).await.unwrap().value;
        let shown: Vec<_> = runs.iter().rev().map(|run| (run.due_at, run.last_due_at, run.count)).collect();
        let of_it = log.iter().filter(|recorded| recorded.subject == subject);
        let expected: Vec<_> = of_it
            .filter_map(|recorded| {
                if let Event::Schedule(ScheduleEvent::ScheduleFired(run)) = &recorded.event {
                    return Some((run.due_at, run.due_at, 1));
                }
                let Event::Schedule(ScheduleEvent::ScheduleSkipped(run)) = &recorded.event else {
                    return None;
                };
                Some((run.first, run.last, u64::from(run.count)))
            })
            .collect();
        assert_eq!(shown, expected);
        let newest = schedule_runs::newest(projections, [&id]).await.unwrap().value;
        assert_eq!(newest.first(), runs.first());
    }
}

async fn assert_logins_and_sessions(projections: &Projections, log: &[Recorded]) {
    let logins = logins::list(projections, &logins::Filter::default(), None, 500).await.unwrap();
    let expected = log.iter().filter(|event| event.subject.kind == Kind::Login).count();
    assert_eq!(logins.items.len(), expected.min(500));
    for row in &logins.items {
        let recorded = &log[usize::try_from(row.seq).unwrap() - 1];
        let Event::Login(event) = &recorded.event else { panic!("{recorded:?}") };
        let json = recorded.event.to_json();
        assert_eq!(
            json.get("ip").and_then(|ip| ip.as_str()).map(str::to_owned),
            row.ip.map(|ip| ip.to_string()),
            "{event:?}"
        );
        assert_eq!(row.env_id.as_str(), recorded.subject.id);
        assert_eq!(json.get("count").and_then(serde_json::Value::as_u64), row.count, "{event:?}");
    }
    for subject in Story::subjects(log, Kind::Session) {
        let id = events::ids::SessionId::parse(subject.id.as_str()).unwrap();
        let row = sessions::get(projections, Some(&subject.tenant), &id).await.unwrap().value.unwrap();
        assert_eq!(row.closed_at.is_some(), Story::fold::<Session>(log, &subject).stage == Stage::Closed);
        assert_eq!(row.bytes_out.is_some(), row.closed_at.is_some());
        let opened = log.iter().filter(|recorded| recorded.subject == subject).find_map(|recorded| {
            let Event::Session(SessionEvent::SessionOpened(event)) = &recorded.event else { return None };
            Some(event)
        });
        let opened = opened.unwrap();
        assert_eq!(row.client, opened.client);
        assert_eq!(
            (row.env_id.as_ref(), row.server_id.as_ref()),
            (opened.place.env(), opened.place.server())
        );
        assert_recordings(projections, &id, &Story::fold(log, &subject)).await;
    }
}

async fn assert_recordings(projections: &Projections, id: &events::ids::SessionId, session: &Session) {
    for (number, fold) in &session.recordings {
        let row = recordings::get(projections, None, id, *number).await.unwrap().value.unwrap();
        assert_eq!((row.bytes, row.sha256.clone().unwrap_or_default()), (fold.bytes, fold.sha256.clone()));
        assert_eq!(row.complete, fold.end.is_some_and(|end| end.complete));
        assert_eq!((row.env_id.as_ref(), row.server_id.as_ref()), (fold.place.env(), fold.place.server()));
        match fold.end {
            Some(end) => assert_eq!(row.ended_at, Some(end.at)),
            None => assert_eq!(row.ended_at.is_some(), session.stage == Stage::Closed, "{row:?}"),
        }
    }
    let absent = recordings::get(projections, None, id, 9).await.unwrap().value;
    assert_eq!(absent, None);
}

async fn assert_audit(projections: &Projections, log: &[Recorded]) {
    let (mut cursor, mut rows) = (None, Vec::new());
    loop {
        let filter = audit_log::Filter::default();
        let page = audit_log::list(projections, &filter, cursor.as_deref(), 333).await.unwrap();
        rows.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    rows.reverse();
    assert_eq!(rows.len(), log.len());
    for (row, recorded) in rows.iter().zip(log) {
        assert_eq!(row.data, recorded.event.to_json());
        assert_eq!(
            (row.seq, row.time, &row.event_type[..]),
            (recorded.seq, recorded.meta.time, recorded.event.event_type())
        );
        assert_eq!((row.event_id, row.correlation_id), (recorded.meta.id.0, recorded.meta.correlation));
        assert_eq!((&row.tenant, &row.aggregate_id), (&recorded.subject.tenant, &recorded.subject.id));
    }
}
