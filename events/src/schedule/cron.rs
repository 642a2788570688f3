//! Which times do five cron fields name on the clocks of a time zone? As Vixie's cron reads them (crontab(5)).
//!
//! Where clocks jump forward or are put back: if minute or hour begins with `*`, the fields name every minute in which
//! the clock shows what they say, also those that come twice, and none that does not come. Otherwise each time of a day
//! comes once a day: in the gap at its end, of two the first.

use chrono::{
    DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

/// The longest text of five fields, in bytes.
pub const CRON_LENGTH_MAX: usize = 255;
/// A 29th of February may be eight years away; what does not come in nine never does.
const DAYS_AHEAD_MAX: usize = 9 * 366;
/// The longest gap: an island that goes over the date line leaves a day out.
const GAP_MINUTES_MAX: i64 = 2 * 24 * 60;
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Why nothing can be made of a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCron {
    #[error("must be five fields with blanks between them, like '0 3 * * *', not {0}")]
    Fields(usize),
    #[error("the {field} {text:?} is wrong: {why}")]
    Field { field: &'static str, text: String, why: String },
    #[error("must have at most {max} bytes", max = CRON_LENGTH_MAX)]
    TooLong,
}

/// What one field may say.
struct Kind {
    name: &'static str,
    min: u32,
    max: u32,
    /// Of the values from `min` on.
    names: &'static [&'static str],
}

const fn kind(name: &'static str, min: u32, max: u32, names: &'static [&'static str]) -> Kind {
    Kind { name, min, max, names }
}

static KINDS: [Kind; 5] = [
    kind("minute", 0, 59, &[]),
    kind("hour", 0, 23, &[]),
    kind("day of the month", 1, 31, &[]),
    kind("month", 1, 12, MONTHS),
    kind("day of the week", 0, 7, WEEKDAYS),
];

/// One bit a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    values: u64,
    /// It begins with `*`.
    star: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Cron {
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        if text.len() > CRON_LENGTH_MAX {
            return Err(InvalidCron::TooLong);
        }
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(InvalidCron::Fields(parts.len()));
        };
        let read = |index: usize, text: &str| KINDS[index].read(text);
        let (minute, hour, day) = (read(0, minute)?, read(1, hour)?, read(2, day)?);
        let (month, mut weekday) = (read(3, month)?, read(4, weekday)?);
        // 7 is Sunday, as 0 is
        weekday.values = (weekday.values | (weekday.values >> 7)) & 0x7f;
        Ok(Self { minute, hour, day, month, weekday })
    }

    /// The first time after that one; `None` if there is none.
    pub fn next(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if self.minute.star || self.hour.star {
            self.next_shown(zone, after)
        } else {
            self.next_of_day(zone, after)
        }
    }

    /// Every minute in which the clock there shows what the fields say.
    fn next_shown(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut time = minute_of(after) + TimeDelta::minutes(1);
        let most = after.checked_add_days(Days::new(DAYS_AHEAD_MAX as u64))?;
        while time < most {
            let clock = time.with_timezone(&zone).naive_local();
            if !self.fits_date(clock.date()) {
                time = next_day(zone, time, clock.date())?;
            } else if self.hour.has(clock.hour()) && self.minute.has(clock.minute()) {
                return Some(time);
            } else {
                time += TimeDelta::minutes(1);
            }
        }
        None
    }

    /// Each time of a day once a day.
    fn next_of_day(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let today = after.with_timezone(&zone).date_naive();
        // what stood in a gap that has a whole day is due the day after
        let first = today.checked_sub_days(Days::new(2))?;
        let days = first.iter_days().take(DAYS_AHEAD_MAX).filter(|day| self.fits_date(*day));
        let times = days.flat_map(|day| self.times_of(day));
        times.filter_map(|clock| instant(zone, clock)).find(|time| *time > after)
    }

    fn times_of(&self, day: NaiveDate) -> impl Iterator<Item = NaiveDateTime> {
        let (hours, minutes) = (self.hour, self.minute);
        let hours = (0..24).filter(move |hour| hours.has(*hour));
        hours.flat_map(move |hour| {
            let minutes = (0..60).filter(move |minute| minutes.has(*minute));
            minutes.filter_map(move |minute| day.and_hms_opt(hour, minute, 0))
        })
    }

    fn fits_date(&self, date: NaiveDate) -> bool {
        let day = self.day.has(date.day());
        let weekday = self.weekday.has(date.weekday().num_days_from_sunday());
        // where both are said either will do
        let fits = if self.day.star || self.weekday.star { day && weekday } else { day || weekday };
        fits && self.month.has(date.month())
    }
}

fn minute_of(time: DateTime<Utc>) -> DateTime<Utc> {
    let past = TimeDelta::seconds(time.timestamp().rem_euclid(60))
        + TimeDelta::nanoseconds(i64::from(time.timestamp_subsec_nanos()));
    time - past
}

/// When the day after begins there; a minute later if the clocks are changed until then.
fn next_day(zone: Tz, time: DateTime<Utc>, date: NaiveDate) -> Option<DateTime<Utc>> {
    let midnight = instant(zone, date.succ_opt()?.and_hms_opt(0, 0, 0)?)?;
    let ahead = |time: DateTime<Utc>| time.with_timezone(&zone).naive_local() - time.naive_utc();
    let is_plain = midnight > time && ahead(midnight) == ahead(time);
    Some(if is_plain { midnight } else { time + TimeDelta::minutes(1) })
}

/// When a clock there first shows that, or jumps over it.
fn instant(zone: Tz, clock: NaiveDateTime) -> Option<DateTime<Utc>> {
    (0..GAP_MINUTES_MAX).find_map(|minutes| {
        match zone.from_local_datetime(&(clock + TimeDelta::minutes(minutes))) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => Some(time.to_utc()),
            LocalResult::None => None,
        }
    })
}

impl Field {
    fn has(self, value: u32) -> bool {
        (self.values >> value) & 1 == 1
    }
}

impl Kind {
    fn read(&self, text: &str) -> Result<Field, InvalidCron> {
        let mut values = 0_u64;
        for part in text.split(',') {
            values |= self.part(part).map_err(|why| InvalidCron::Field {
                field: self.name,
                text: text.to_owned(),
                why,
            })?;
        }
        Ok(Field { values, star: text.starts_with('*') })
    }

    /// `*`, a value or a range; `*` and a range with a step.
    fn part(&self, text: &str) -> Result<u64, String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(self.step(step)?)),
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((first, last)) => (self.value(first)?, self.end(self.value(first)?, last)?),
            None if step.is_some() => return Err("a step goes with '*' or a range".to_owned()),
            None => (self.value(range)?, self.value(range)?),
        };
        if first > last {
            return Err(format!("{range} goes backwards"));
        }
        let step = step.unwrap_or(1) as usize;
        Ok((first..=last).step_by(step).fold(0_u64, |values, value| values | (1_u64 << value)))
    }

    fn step(&self, text: &str) -> Result<u32, String> {
        let step = text.parse::<u32>().ok().filter(|step| (1..=self.max).contains(step));
        step.filter(|_| is_number(text)).ok_or_else(|| format!("a step must be 1 to {}", self.max))
    }

    /// A week may end with its Sunday.
    fn end(&self, first: u32, last: &str) -> Result<u32, String> {
        let value = self.value(last)?;
        Ok(if value == 0 && first > 0 && self.max == 7 { 7 } else { value })
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let name = text.to_ascii_lowercase();
        if let Some(index) = self.names.iter().position(|known| *known == name) {
            return Ok(self.min + u32::try_from(index).unwrap_or_default());
        }
        let value = text.parse::<u32>().ok().filter(|value| (self.min..=self.max).contains(value));
        value.filter(|_| is_number(text)).ok_or_else(|| {
            let names = if self.names.is_empty() { "" } else { ", or a name of three letters" };
            format!("must be {} to {}{names}", self.min, self.max)
        })
    }
}

/// Digits alone: no sign.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    /// The first times after `from`, on the clocks there.
    fn times(fields: &str, time_zone: &str, from: &str, count: usize) -> Vec<String> {
        let (cron, zone) = (Cron::parse(fields).unwrap(), time_zone.parse::<Tz>().unwrap());
        let mut at = utc(from);
        let mut times = Vec::new();
        while let Some(next) = cron.next(zone, at).filter(|_| times.len() < count) {
            times.push(next.with_timezone(&zone).format("%m-%dT%H:%M%:z").to_string());
            at = next;
        }
        times
    }

    #[test]
    fn five_fields_as_every_cron_reads_them() {
        // a Thursday
        let of = |fields, count| {
            let times = times(fields, "UTC", "2026-01-01T00:00:00.5Z", count);
            times.into_iter().map(|time| time.replace("+00:00", "")).collect::<Vec<_>>()
        };
        assert_eq!(of("0 3 * * *", 2), ["01-01T03:00", "01-02T03:00"]);
        assert_eq!(of("*/20 * * * *", 3), ["01-01T00:20", "01-01T00:40", "01-01T01:00"]);
        assert_eq!(of("10-20/5 1 * * *", 4), ["01-01T01:10", "01-01T01:15", "01-01T01:20", "01-02T01:10"]);
        for sunday in ["5 4 * * sun", "5 4 * * SUN", "5 4 * * 0", "5 4 * * 7"] {
            assert_eq!(of(sunday, 2), ["01-04T04:05", "01-11T04:05"], "{sunday}");
        }
        assert_eq!(of("0 0 * * fri-sun", 4), ["01-02T00:00", "01-03T00:00", "01-04T00:00", "01-09T00:00"]);
        assert_eq!(of("0 0 1 FEB,MAR *", 2), ["02-01T00:00", "03-01T00:00"]);
        // the day of the month or of the week; both, where one begins with a star
        assert_eq!(of("0 0 3 * mon", 2), ["01-03T00:00", "01-05T00:00"]);
        assert_eq!(of("0 0 */2 * mon", 2), ["01-05T00:00", "01-19T00:00"]);
        assert_eq!(of("0 0 31 2 *", 1), [""; 0], "never");
        assert_eq!(of("* * 31 2 *", 1), [""; 0], "never");
        let leap = Cron::parse("0 0 29 2 *").unwrap().next(Tz::UTC, utc("2096-03-01T00:00:00Z"));
        assert_eq!(leap, Some(utc("2104-02-29T00:00:00Z")));
        let exact = Cron::parse("0 3 * * *").unwrap().next(Tz::UTC, utc("2026-01-01T03:00:00Z"));
        assert_eq!(exact, Some(utc("2026-01-02T03:00:00Z")), "after, not at");
    }

    #[test]
    fn where_clocks_jump_forward_nothing_is_left_out_and_nothing_comes_twice() {
        // Berlin, 2026-03-29: from 02:00 to 03:00
        let of = |fields, count| times(fields, "Europe/Berlin", "2026-03-28T12:00:00Z", count);
        assert_eq!(of("30 2 * * *", 2), ["03-29T03:00+02:00", "03-30T02:30+02:00"]);
        assert_eq!(of("0,30 2 * * *", 2), ["03-29T03:00+02:00", "03-30T02:00+02:00"]);
        assert_eq!(of("0 2,3 * * *", 2), ["03-29T03:00+02:00", "03-30T02:00+02:00"]);
        let from_one = |fields| times(fields, "Europe/Berlin", "2026-03-28T23:30:00Z", 3);
        assert_eq!(from_one("0 * * * *"), ["03-29T01:00+01:00", "03-29T03:00+02:00", "03-29T04:00+02:00"]);
        assert_eq!(from_one("*/30 2 * * *")[0], "03-30T02:00+02:00", "there was no such minute");
    }

    #[test]
    fn where_clocks_are_put_back_a_fixed_time_comes_once_and_each_hour_twice() {
        // Berlin, 2026-10-25: from 03:00 to 02:00
        let of = |fields, count| times(fields, "Europe/Berlin", "2026-10-24T12:00:00Z", count);
        assert_eq!(of("30 2 * * *", 2), ["10-25T02:30+02:00", "10-26T02:30+01:00"]);
        assert_eq!(of("0,30 2 * * *", 3), ["10-25T02:00+02:00", "10-25T02:30+02:00", "10-26T02:00+01:00"]);
        let hourly = times("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4);
        assert_eq!(
            hourly,
            ["10-25T02:00+02:00", "10-25T02:00+01:00", "10-25T03:00+01:00", "10-25T04:00+01:00"]
        );
        // also where one looks from between the two
        let between = times("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1);
        assert_eq!(between, ["10-26T02:30+01:00"]);
    }

    #[test]
    fn half_hours_midnights_and_a_day_that_was_left_out() {
        let of = |fields, zone, from| times(fields, zone, from, 2);
        let lord_howe = of("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z");
        assert_eq!(lord_howe, ["10-04T02:30+11:00", "10-05T02:15+11:00"]);
        let cairo = of("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z");
        assert_eq!(cairo, ["04-24T01:00+03:00", "04-25T00:00+03:00"]);
        let samoa = of("0 3 * * *", "Pacific/Apia", "2011-12-29T14:00:00Z");
        assert_eq!(samoa, ["12-31T00:00+14:00", "12-31T03:00+14:00"]);
    }

    #[test]
    fn what_cannot_be_read_says_which_field_it_is() {
        let cases = [
            ("* * * *", "not 4"),
            ("0 0 3 * * *", "not 6"),
            ("@daily", "not 1"),
            ("60 * * * *", "the minute \"60\" is wrong: must be 0 to 59"),
            ("* 24 * * *", "the hour \"24\""),
            ("* * 0 * *", "the day of the month \"0\""),
            ("* * L * *", "the day of the month \"L\""),
            ("* * * 13 *", "the month \"13\" is wrong: must be 1 to 12, or a name"),
            ("* * * * 8", "the day of the week \"8\""),
            ("* * * * mon#1", "the day of the week \"mon#1\""),
            ("*/0 * * * *", "the minute \"*/0\" is wrong: a step"),
            ("5/10 * * * *", "a step goes with"),
            ("20-10 * * * *", "20-10 goes backwards"),
            ("1,,2 * * * *", "the minute \"1,,2\""),
            ("+1 * * * *", "the minute \"+1\""),
            ("*-5 * * * *", "the minute \"*-5\""),
            ("x * * * *", "the minute \"x\""),
        ];
        for (text, wanted) in cases {
            let said = Cron::parse(text).map_err(|error| error.to_string());
            assert!(said.as_ref().is_err_and(|said| said.contains(wanted)), "{text}: {said:?}");
        }
        assert_eq!(Cron::parse(&"1,".repeat(200)), Err(InvalidCron::TooLong));
    }

    fn any_field(kind: &'static Kind) -> impl Strategy<Value = String> {
        let value = || kind.min..=kind.max;
        prop_oneof![
            3 => Just("*".to_owned()),
            3 => value().prop_map(|value| value.to_string()),
            1 => (1..=kind.max).prop_map(|step| format!("*/{step}")),
            1 => (value(), value()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (value(), value()).prop_map(|(a, b)| format!("{a},{b}")),
        ]
    }

    fn any_cron() -> impl Strategy<Value = String> {
        let hours = prop_oneof![any_field(&KINDS[1]), Just("2".to_owned()), Just("1,2,3".to_owned())];
        (any_field(&KINDS[0]), hours, any_field(&KINDS[2]), any_field(&KINDS[3]), any_field(&KINDS[4]))
            .prop_map(|(minute, hour, day, month, weekday)| {
                format!("{minute} {hour} {day} {month} {weekday}")
            })
    }

    /// Days around which clocks are changed somewhere.
    fn any_start() -> impl Strategy<Value = (&'static str, DateTime<Utc>)> {
        let days = prop::sample::select(vec![
            ("UTC", "2026-05-01T00:00:00Z"),
            ("Europe/Berlin", "2026-03-28T00:00:00Z"),
            ("Europe/Berlin", "2026-10-24T00:00:00Z"),
            ("America/New_York", "2026-11-01T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-04-04T00:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T00:00:00Z"),
            ("Africa/Cairo", "2026-04-23T00:00:00Z"),
            ("America/St_Johns", "2009-10-31T00:00:00Z"),
            ("Pacific/Apia", "2011-12-29T00:00:00Z"),
        ]);
        (days, 0i64..172_800_000).prop_map(|((zone, day), ms)| (zone, utc(day) + TimeDelta::milliseconds(ms)))
    }

    /// By looking at every minute of two days, as slowly as the sentence at the head of this file.
    fn by_looking(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let minutes = (1..2_880).map(|minute| minute_of(after) + TimeDelta::minutes(minute));
        let shows = |time: DateTime<Utc>| time.with_timezone(&zone).naive_local();
        let fits = |clock: NaiveDateTime| {
            cron.fits_date(clock.date()) && cron.hour.has(clock.hour()) && cron.minute.has(clock.minute())
        };
        if cron.minute.star || cron.hour.star {
            return minutes.into_iter().find(|time| fits(shows(*time)));
        }
        minutes.into_iter().find(|time| {
            let (now, before) = (shows(*time), shows(*time - TimeDelta::minutes(1)));
            let is_first = zone.from_local_datetime(&now).earliest().is_some_and(|first| first == *time);
            let jumped =
                (1..(now - before).num_minutes()).any(|minutes| fits(before + TimeDelta::minutes(minutes)));
            (fits(now) && is_first) || jumped
        })
    }

    proptest! {
        #[test]
        fn the_next_time_is_the_first_that_one_meets(fields in any_cron(), (zone, after) in any_start()) {
            let (cron, zone) = (Cron::parse(&fields).unwrap(), zone.parse::<Tz>().unwrap());
            let near = |time: &DateTime<Utc>| *time < minute_of(after) + TimeDelta::minutes(2_880);
            let next = cron.next(zone, after);
            prop_assert_eq!(next.filter(near), by_looking(&cron, zone, after), "{} from {}", fields, after);
            // it is the same from wherever one looks in between
            if let Some(next) = next {
                let between = after + (next - after) / 2;
                prop_assert_eq!(cron.next(zone, between), Some(next));
                prop_assert_eq!(cron.next(zone, next - TimeDelta::milliseconds(1)), Some(next));
            }
        }
    }
}
