//! From when to when did somebody have something? It begins with one event and ends with another, or by itself.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::Recorded;
use events::ids::TenantId;

use super::rows::Rows;

pub const COLUMNS: &[&str] = &[
    "tenant",
    "what",
    "who",
    "on",
    "may",
    "detail",
    "from",
    "until",
    "began_sequence",
    "began_by",
    "ended_sequence",
    "ended_by",
];

/// What somebody has.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub tenant: TenantId,
    pub what: &'static str,
    pub who: String,
    pub on: String,
    pub may: String,
    pub detail: String,
    /// Not before; `None`: from the event on.
    pub from: Option<DateTime<Utc>>,
    /// It ends by itself.
    pub until: Option<DateTime<Utc>>,
}

struct Open {
    held: Held,
    from: DateTime<Utc>,
    began_sequence: u64,
    began_by: String,
}

/// What is held, by a key.
pub struct Intervals<K> {
    open: BTreeMap<K, Open>,
}

impl<K> Default for Intervals<K> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Intervals<K> {
    /// It is held from this event on, in the place of what was; the same again goes on.
    pub fn begin(&mut self, key: K, held: Held, event: &Recorded, rows: &mut Rows) {
        if self.open.get(&key).is_some_and(|open| open.held == held) {
            return;
        }
        self.end(&key, event, rows);
        let from = held.from.map_or(event.meta.time, |from| from.max(event.meta.time));
        let (began_sequence, began_by) = (event.seq, event.meta.actor.clone());
        self.open.insert(key, Open { held, from, began_sequence, began_by });
    }

    /// It is held no more, if it was.
    pub fn end(&mut self, key: &K, event: &Recorded, rows: &mut Rows) {
        if let Some(open) = self.open.remove(key)
            && rows.has(event.seq)
        {
            open.show(Some(event), rows);
        }
    }

    /// What belongs together, from its first possible key on, is held no more; but for what goes on.
    pub fn end_those(
        &mut self,
        first: &K,
        belongs: impl Fn(&K) -> bool,
        goes_on: impl Fn(&K) -> bool,
        event: &Recorded,
        rows: &mut Rows,
    ) {
        let together = self.open.range::<K, _>(first..).map(|(key, _)| key).take_while(|key| belongs(*key));
        let over: Vec<K> = together.filter(|key| !goes_on(*key)).cloned().collect();
        for key in &over {
            self.end(key, event, rows);
        }
    }

    /// What is held to the end of the range.
    pub fn finish(&mut self, rows: &mut Rows) {
        for open in self.open.values() {
            open.show(None, rows);
        }
    }
}

impl Open {
    fn show(&self, ended: Option<&Recorded>, rows: &mut Rows) {
        let own = self.held.until;
        // of both ends the earlier one
        let ended = ended.filter(|event| own.is_none_or(|until| event.meta.time < until));
        let never = match (ended, own) {
            (Some(event), _) => event.meta.time < self.from,
            (None, Some(until)) => until <= self.from || rows.was_over(until),
            (None, None) => false,
        };
        if never {
            return;
        }
        let Held { tenant, what, who, on, may, detail, .. } = &self.held;
        rows.put(self.began_sequence, tenant, || {
            vec![
                tenant.as_str().into(),
                (*what).into(),
                who.as_str().into(),
                on.as_str().into(),
                may.as_str().into(),
                detail.as_str().into(),
                self.from.into(),
                ended.map(|event| event.meta.time).or(own).into(),
                self.began_sequence.into(),
                self.began_by.as_str().into(),
                ended.map(|event| event.seq).into(),
                ended.map(|event| event.meta.actor.as_str()).into(),
            ]
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::Kind;
    use events::user::{UserDisabled, UserEvent};

    use super::super::testing::{shown, t};
    use super::*;

    /// Any event will do.
    fn event(sequence: u64) -> Recorded {
        super::super::testing::at(sequence, Kind::User, "x", UserEvent::UserDisabled(UserDisabled {}))
    }

    fn held(may: &str, from: Option<i64>, until: Option<i64>) -> Held {
        Held {
            tenant: TenantId::parse("acme").unwrap(),
            what: "grant",
            who: "user alice".into(),
            on: "zone dmz".into(),
            may: may.into(),
            detail: String::new(),
            from: from.map(t),
            until: until.map(t),
        }
    }

    /// From, until, and the event that ended it, of each row.
    fn told(from: u64, story: impl Fn(&mut Intervals<u8>, &mut Rows)) -> Vec<[String; 3]> {
        let (mut intervals, mut rows) = (Intervals::default(), Rows::new(None, from));
        rows.passes(from - 1, t(i64::try_from(from - 1).unwrap()));
        story(&mut intervals, &mut rows);
        intervals.finish(&mut rows);
        let text = |row: &Vec<super::super::rows::Cell>, at: usize| row[at].text().into_owned();
        rows.finish().iter().map(|row| [text(row, 6), text(row, 7), text(row, 10)]).collect()
    }

    fn row(from: i64, until: Option<i64>, ended: &str) -> [String; 3] {
        [shown(from), until.map(shown).unwrap_or_default(), ended.to_owned()]
    }

    #[test]
    fn an_event_begins_it_and_an_event_ends_it() {
        let story = |intervals: &mut Intervals<u8>, rows: &mut Rows| {
            intervals.begin(1, held("a", None, None), &event(1), rows);
            intervals.begin(1, held("a", None, None), &event(2), rows);
            intervals.begin(1, held("b", None, None), &event(3), rows);
            intervals.begin(2, held("c", None, None), &event(4), rows);
            intervals.end(&1, &event(5), rows);
            intervals.end(&1, &event(6), rows);
        };
        let all = [row(1, Some(3), "3"), row(3, Some(5), "5"), row(4, None, "")];
        assert_eq!(told(1, story), all);
        // what was over before is not of the range, what goes on is
        assert_eq!(told(4, story), all[1..]);
        assert_eq!(told(7, story), all[2..]);
    }

    #[test]
    fn it_ends_by_itself_too_and_may_begin_later() {
        let story = |intervals: &mut Intervals<u8>, rows: &mut Rows| {
            intervals.begin(1, held("a", None, Some(10)), &event(1), rows);
            intervals.begin(2, held("b", Some(5), None), &event(2), rows);
            intervals.begin(3, held("never", Some(50), None), &event(3), rows);
            intervals.end(&1, &event(20), rows);
            intervals.end(&3, &event(21), rows);
        };
        assert_eq!(told(1, story), [row(1, Some(10), ""), row(5, None, "")]);
        assert_eq!(told(15, story), [row(5, None, "")]);
    }

    #[test]
    fn what_belongs_together_ends_together() {
        let story = |intervals: &mut Intervals<u8>, rows: &mut Rows| {
            for key in [10, 11, 12, 20] {
                intervals.begin(key, held("a", None, None), &event(1), rows);
            }
            intervals.end_those(&10, |key| *key < 20, |key| *key == 11, &event(2), rows);
        };
        let ended = told(1, story).into_iter().filter(|[_, _, ended]| ended == "2").count();
        assert_eq!(ended, 2);
    }
}
