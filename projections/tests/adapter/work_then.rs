//! Do the batches, commands, relays and schedules of an instant answer as their rows did then?

use events::batch::{BatchCancelled, BatchEvent, BatchRejected};
use events::command::{CommandCancelled, CommandEvent, CommandLost, CommandPhase, CommandRequested};
use events::ids::{BatchId, CommandId, RelayId, ScheduleId, TenantId};
use events::{Kind, Recorded};
use projections::commands::CommandRow;
use projections::fleet::{Change, Fleet};
use projections::*;
use uuid::Uuid;

use crate::command_story::requested;
use crate::story::{Story, owner, tenant};
use crate::time_travel::folded;
use crate::{feed_all, fresh};

/// Every list under some filters, page by page, and every single read.
pub async fn assert_same_work(projections: &Projections, fleet: &Fleet, log: &[Recorded]) {
    for tenant in [None, Some(tenant(0)), Some(tenant(1))] {
        assert_same_lists(projections, fleet, &tenant).await;
    }
    for subject in Story::subjects(log, Kind::Relay) {
        let id = RelayId::parse(subject.id.as_str()).unwrap();
        let live = relays::get(projections, Some(&subject.tenant), &id).await.unwrap().value;
        assert_eq!(fleet.relay(Some(&subject.tenant), &id), live);
        assert_eq!(fleet.relay(Some(&TenantId::parse("stranger").unwrap()), &id), None);
    }
    for subject in Story::subjects(log, Kind::Batch) {
        let id = BatchId::parse(subject.id.as_str()).unwrap();
        for filter in [batches::Filter::default(), of_owner(0)] {
            let live = batches::get(projections, &filter, &id).await.unwrap().value;
            assert_eq!(fleet.batch(&filter, &id), live);
        }
        assert_same_commands(projections, fleet, &id, log).await;
    }
    for subject in Story::subjects(log, Kind::Schedule) {
        let (id, all) = (ScheduleId::parse(subject.id.as_str()).unwrap(), schedules::Filter::default());
        let live = schedules::get(projections, &all, &id).await.unwrap().value;
        assert_eq!(fleet.schedule(&all, &id), live);
        for limit in [2, 500] {
            let live = schedule_runs::of_schedule(projections, &id, limit).await.unwrap().value;
            assert_eq!(fleet.runs(&id, limit), live);
        }
        let live = schedule_runs::newest(projections, [&id]).await.unwrap().value;
        assert_eq!(fleet.newest_runs([&id]), live);
    }
}

fn of_owner(which: u8) -> batches::Filter {
    batches::Filter { owner: Some(owner(which)), ..Default::default() }
}

async fn assert_same_lists(projections: &Projections, fleet: &Fleet, tenant: &Option<TenantId>) {
    for flag in [None, Some(false), Some(true)] {
        let filter = relays::Filter {
            tenant: tenant.clone(),
            revoked: flag.is_none(),
            pending: flag.map(|_| false),
            connected: flag,
        };
        let live = relays::list(projections, &filter, None, 500).await.unwrap();
        assert_eq!(fleet.relays(&filter, None, 500).unwrap(), live);
    }
    for awaiting in [false, true] {
        let filter = batches::Filter { tenant: tenant.clone(), owner: None, awaiting };
        let mut cursor: Option<String> = None;
        loop {
            let live = batches::list(projections, &filter, cursor.as_deref(), 3).await.unwrap();
            assert_eq!(fleet.batches(&filter, cursor.as_deref(), 3).unwrap(), live);
            cursor = live.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
    let filter = schedules::Filter { tenant: tenant.clone(), owner: None };
    let live = schedules::list(projections, &filter, None, 500).await.unwrap();
    assert_eq!(fleet.schedules(&filter, None, 500).unwrap(), live);
}

async fn assert_same_commands(projections: &Projections, fleet: &Fleet, batch: &BatchId, log: &[Recorded]) {
    let some = ["queued", "completed", "cancelled"];
    let some = some.map(|status| commands::Filter { status: Some(status.into()), ok: None });
    let ended = [true, false].map(|ok| commands::Filter { status: None, ok: Some(ok) });
    for filter in some.into_iter().chain(ended).chain([commands::Filter::default()]) {
        let whole = filter.status.is_none() && filter.ok.is_none();
        let mut cursor: Option<String> = None;
        loop {
            let live = commands::of_batch(projections, batch, &filter, cursor.as_deref(), 2).await.unwrap();
            assert_eq!(fleet.commands(batch, &filter, cursor.as_deref(), 2).unwrap(), live, "{filter:?}");
            for listed in live.items.iter().filter(|_| whole) {
                assert_same_command(projections, fleet, &listed.command_id, log).await;
            }
            cursor = live.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
    }
}

async fn assert_same_command(projections: &Projections, fleet: &Fleet, id: &CommandId, log: &[Recorded]) {
    let live = commands::get(projections, None, None, id).await.unwrap().value.unwrap();
    assert_eq!(heard(fleet, log, &live).as_ref(), Some(&live));
    for by in [0, 1, 2].map(owner) {
        assert_eq!(fleet.command(None, Some(&by), id).is_some(), by == live.owner, "{by}");
    }
    assert!(fleet.command(Some(&TenantId::parse("stranger").unwrap()), None, id).is_none());
}

/// The command of the fleet with its outputs, which are read where the fleet says.
fn heard(fleet: &Fleet, log: &[Recorded], of: &CommandRow) -> Option<CommandRow> {
    let (mut row, spoke) = fleet.command(Some(&of.tenant), Some(&of.owner), &of.command_id)?;
    assert_eq!((&row.state.stdout, &row.state.late), (&None, &None), "the fleet holds no outputs");
    for seq in spoke {
        row.hear(&log[usize::try_from(*seq).unwrap() - 1]);
    }
    Some(row)
}

#[tokio::test]
async fn a_difference_has_batches_whose_commands_got_further() {
    let log = Story::long(1_500);
    let (before, after) = (folded(&log, 200, 100).await, folded(&log, 1_500, 100).await);
    let found = before.differences(&after, None);
    let by_commands_alone = found.batches.iter().filter(|both| match (&both.before, &both.after) {
        (Some(before), Some(after)) => before.seq == after.seq && before.counts != after.counts,
        (_, _) => false,
    });
    assert!(by_commands_alone.count() > 0, "{:?}", found.batches);
    assert!(!found.relays.is_empty() && !found.schedules.is_empty());
    let everybody = batches::Filter::default();
    for both in &found.batches {
        let row = both.after.as_ref().expect("a batch stays");
        assert_ne!(both.before, both.after);
        let of = |fleet: &Fleet| fleet.batch(&everybody, &row.batch_id);
        assert_eq!((of(&before), of(&after)), (both.before.clone(), both.after.clone()));
        let gone = matches!(both.change, Change::Went | Change::CameAndWent);
        assert_eq!(gone, row.counts.pending() == 0, "{both:?}");
    }
    // and nothing else: what is not told is the same in both
    for subject in Story::subjects(&log[..1_500], Kind::Batch) {
        let id = BatchId::parse(subject.id.as_str()).unwrap();
        let told = found.batches.iter().any(|both| both.after.as_ref().is_some_and(|row| row.batch_id == id));
        assert_eq!(told, before.batch(&everybody, &id) != after.batch(&everybody, &id), "{id}");
    }
}

#[tokio::test]
async fn what_is_parked_of_a_batch_and_of_a_command_is_parked_in_the_fleet() {
    let (_postgres, projections) = fresh().await;
    let (mut story, tenant) = (Story::default(), tenant(0));
    let [waits, runs] = [0, 1].map(|number| BatchId::from_seed(&Uuid::from_u128(number)));
    let nul = "a NUL \0 in the text".to_owned();
    story.append(&tenant, waits.as_str(), BatchEvent::from(requested(4)));
    let rejected = BatchRejected { by: owner(1), reason: Some(nul.clone()) };
    story.append(&tenant, waits.as_str(), BatchEvent::from(rejected));
    story.append(&tenant, waits.as_str(), BatchEvent::from(BatchCancelled {}));
    let asked = requested(0);
    let server = asked.servers[0].clone();
    let id = CommandId::of(&runs, &server, asked.at);
    let begun = CommandRequested {
        batch: runs.clone(),
        server,
        timeout_ms: asked.timeout_ms,
        idempotent: asked.idempotent,
        start_by: story.now(),
    };
    story.append(&tenant, runs.as_str(), BatchEvent::from(asked));
    story.append(&tenant, id.as_str(), CommandEvent::from(begun));
    story.append(&tenant, id.as_str(), CommandEvent::from(CommandLost { reason: nul }));
    let cancelled = CommandCancelled { phase: CommandPhase::Queued };
    story.append(&tenant, id.as_str(), CommandEvent::from(cancelled));
    feed_all(&projections, &story.log, 2).await;
    let fleet = folded(&story.log, story.log.len() as u64, 2).await;
    assert_same_work(&projections, &fleet, &story.log).await;
    let everybody = batches::Filter::default();
    let batch = |id: &BatchId| fleet.batch(&everybody, id).unwrap();
    assert!(batch(&waits).awaiting && batch(&waits).counts.awaiting_approval > 0);
    assert_eq!((batch(&runs).counts.queued, batch(&runs).counts.cancelled), (1, 0));
}
