//! Is the next step about what waits, runs, is lost or called off the right one, and is none taken too early?
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::testing::{Story, hub, t};

fn at(story: &Story, second: i64) -> Vec<Step> {
    with(story, second, &Busy::new())
}

fn with(story: &Story, second: i64, busy: &Busy) -> Vec<Step> {
    let is_gone = |gone: &HubId| *gone == hub(9);
    let view = View { own: &hub(1), busy, is_gone: &is_gone, now: t(second), turn: 0 };
    plan(&story.desk, &view, 100)
}

fn vias(steps: &[Step]) -> Vec<&Via> {
    steps
        .iter()
        .filter_map(|step| if let Step::Dispatch { via, .. } = step { Some(via) } else { None })
        .collect()
}

/// Servers of the zone and a batch on them that waits.
fn waiting(story: &mut Story, names: &[&str], zone: Option<&str>, idempotent: bool) -> Vec<CommandId> {
    names.iter().for_each(|name| story.server(name, zone));
    let batch = story.batch(names, idempotent);
    let commands: Vec<_> = names.iter().map(|name| story.command(&batch, name)).collect();
    commands.iter().for_each(|command| story.request(command));
    commands
}

#[test]
fn what_waits_goes_directly_where_no_relay_serves() {
    let mut story = Story::new();
    let a = waiting(&mut story, &["a"], None, false);
    let steps = at(&story, 1);
    assert_eq!(vias(&steps), [&story.direct(1)]);
    let busy = Busy::from([(Key::Command(a[0].clone()), None)]);
    assert_eq!(with(&story, 1, &busy), [], "it is under way");
}

#[test]
fn batches_take_turns_within_their_concurrency() {
    let mut story = Story::new();
    let names: Vec<String> = (0..9).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let one = waiting(&mut story, &names, None, false);
    let two = waiting(&mut story, &names, None, false);
    let given: Vec<_> = at(&story, 1).iter().map(Step::key).collect();
    assert_eq!(given.len(), 6, "three of each at once");
    let first = [&one[0], &two[0]].map(|id| Key::Command(id.clone()));
    assert!(given[..2].iter().all(|key| first.contains(key)), "{given:?}");
}

#[test]
fn a_server_has_at_most_so_many_at_once_and_holds_nobody_up() {
    let mut story = Story::new();
    for _ in 0..4 {
        let full = waiting(&mut story, &["full"], None, false);
        story.dispatch(&full[0], story.direct(1));
    }
    let more = waiting(&mut story, &["full", "free"], None, false);
    let steps = at(&story, 1);
    assert_eq!(steps.iter().map(Step::key).collect::<Vec<_>>(), [Key::Command(more[1].clone())]);
}

#[test]
fn relays_share_the_work_and_are_not_overfilled() {
    let mut story = Story::new();
    let (one, two) = (story.relay(1, Some("dmz")), story.relay(2, Some("dmz")));
    story.connect(&one, 4);
    story.connect(&two, 7);
    for _ in 0..2 {
        waiting(&mut story, &["a", "b", "c"], Some("dmz"), false);
    }
    let steps = at(&story, 1);
    let vias = vias(&steps);
    for via in [story.by(&one, 4), story.by(&two, 7)] {
        assert_eq!(vias.iter().filter(|given| ***given == via).count(), 2, "{vias:?}");
    }
}

#[test]
fn without_a_relay_a_command_waits_its_time_and_fails() {
    let mut story = Story::new();
    story.relay(1, Some("dmz"));
    waiting(&mut story, &["a"], Some("dmz"), false);
    assert_eq!(at(&story, 9), []);
    let steps = at(&story, 10);
    let [Step::Fail { failed, .. }] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(failed.class, "relay_unavailable");
    assert!(failed.reason.contains("zone dmz"), "{}", failed.reason);
}

#[test]
fn what_a_lost_relay_had_is_lost_after_a_while_or_goes_to_another_at_once() {
    let mut story = Story::new();
    let (one, two) = (story.relay(1, Some("dmz")), story.relay(2, Some("dmz")));
    story.connect(&one, 1);
    let harm = waiting(&mut story, &["a"], Some("dmz"), false);
    let safe = waiting(&mut story, &["b"], Some("dmz"), true);
    story.dispatch(&harm[0], story.by(&one, 1));
    story.dispatch(&safe[0], story.by(&one, 1));
    story.disconnect(&one, 1);
    assert_eq!(at(&story, 4), [], "nobody is there to take the other");
    story.connect(&two, 1);
    let steps = at(&story, 4);
    assert_eq!(vias(&steps), [&story.by(&two, 1)]);
    assert_eq!(steps[0].key(), Key::Command(safe[0].clone()));
    let steps = at(&story, 5);
    assert!(steps.iter().any(|step| matches!(step, Step::Lose { command, .. } if *command == harm[0])));
}

#[test]
fn whoever_is_gone_is_said_to_be_and_what_they_had_is_lost() {
    let mut story = Story::new();
    let a = waiting(&mut story, &["a"], None, false);
    story.dispatch(&a[0], story.direct(9));
    let steps = at(&story, 1);
    assert!(matches!(&steps[..], [Step::Lose { command, .. }] if *command == a[0]), "{steps:?}");
}

#[test]
fn time_is_over_for_what_runs() {
    let mut story = Story::new();
    let a = waiting(&mut story, &["a"], None, false);
    story.dispatch(&a[0], story.direct(1));
    assert_eq!(at(&story, 9), []);
    assert_eq!(at(&story, 10), [Step::TimeOut(a[0].clone())]);
}

#[test]
fn a_batch_that_is_called_off_begins_nothing_and_ends_everything() {
    let mut story = Story::new();
    ["a", "b", "c"].iter().for_each(|name| story.server(name, None));
    let batch = story.batch(&["a", "b", "c"], false);
    let [a, b, c] = ["a", "b", "c"].map(|name| story.command(&batch, name));
    story.request(&a);
    story.dispatch(&a, story.direct(1));
    story.request(&b);
    story.cancel(&batch);
    let steps = at(&story, 1);
    assert_eq!(steps, [Step::Cancel(b), Step::Cancel(a), Step::Request(c)]);
}

#[test]
fn nothing_of_a_batch_begins_before_a_second_person_says_so_and_its_waiting_ends() {
    let mut story = Story::new();
    story.server("a", None);
    let [batch, other] = [1, 2].map(|_| story.dangerous(&["a"]));
    assert_eq!(at(&story, 99), []);
    story.second = 99;
    story.approve(&batch, 99);
    let command = story.command(&batch, "a");
    let expire = Step::Expire(other.clone());
    assert_eq!(at(&story, 100), [expire.clone(), Step::Request(command)]);
    let busy = Busy::from([(Key::Batch(other.clone()), None)]);
    assert!(!with(&story, 100, &busy).contains(&expire), "it is under way");
    story.expire(&other);
    assert_eq!(at(&story, 101).len(), 1);
}

#[test]
fn of_a_batch_that_went_wrong_too_often_the_rest_is_left_and_what_runs_goes_on() {
    let mut story = Story::new();
    let names = ["a", "b", "c", "d", "e"];
    let commands = waiting(&mut story, &names, None, false);
    let direct = story.direct(1);
    commands[..3].iter().for_each(|id| story.dispatch(id, direct.clone()));
    story.end_with(&commands[0], 1);
    assert_eq!(vias(&at(&story, 1)).len(), 1, "one failure is borne");
    story.end_with(&commands[1], 2);
    let batch = story.desk.commands[&commands[2]].batch.clone();
    assert_eq!(at(&story, 1), [Step::Stop { batch: batch.clone(), failures: 2 }]);
    assert!(with(&story, 1, &Busy::from([(Key::Batch(batch.clone()), None)])).is_empty());
    story.stop(&batch);
    let left: Vec<_> = commands[3..].iter().map(|id| Step::Cancel(id.clone())).collect();
    assert_eq!(at(&story, 1), left);
}
