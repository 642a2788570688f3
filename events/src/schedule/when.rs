//! When is a schedule due next? Once at a time, or whenever the clocks of a time zone show what cron fields say.
//!
//! The clocks are those of the release's tables of time zones.

use std::iter;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::When;
use super::cron::{Cron, InvalidCron};

/// There is no such time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the IANA name of a time zone, like Europe/Berlin")]
pub struct InvalidTimeZone;

impl When {
    /// Fields that can be read; blanks are made one.
    pub fn cron_fields(text: &str) -> Result<String, InvalidCron> {
        Cron::parse(text)?;
        Ok(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The name of a time zone that there is.
    pub fn time_zone(name: &str) -> Result<String, InvalidTimeZone> {
        let zone: Tz = name.parse().map_err(|_| InvalidTimeZone)?;
        Ok(zone.name().to_owned())
    }

    /// The times after that one, in order. None where a text cannot be read: it was written by a later release.
    pub fn after(&self, time: DateTime<Utc>) -> Box<dyn Iterator<Item = DateTime<Utc>>> {
        match self {
            Self::At(at) => Box::new(Some(*at).filter(|at| *at > time).into_iter()),
            Self::Cron { fields, time_zone } => {
                let (Ok(cron), Ok(zone)) = (Cron::parse(fields), time_zone.parse::<Tz>()) else {
                    return Box::new(iter::empty());
                };
                let first = cron.next(zone, time);
                Box::new(iter::successors(first, move |time| cron.next(zone, *time)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t;

    #[test]
    fn once_or_again_and_again() {
        assert_eq!(When::At(t(5)).after(t(4)).collect::<Vec<_>>(), [t(5)]);
        assert_eq!(When::At(t(5)).after(t(5)).count(), 0);
        let cron = |fields: &str, zone: &str| When::Cron { fields: fields.into(), time_zone: zone.into() };
        let times: Vec<_> = cron("* * * * *", "UTC").after(t(0)).take(3).collect();
        assert_eq!(times, [t(40), t(100), t(160)]);
        for later in [cron("* * * * * *", "UTC"), cron("* * * * *", "Mars/Olympus")] {
            assert_eq!(later.after(t(0)).count(), 0, "{later:?}");
        }
    }

    #[test]
    fn what_is_read_is_kept_in_one_form() {
        assert_eq!(When::cron_fields(" 0  3 * *\t* "), Ok("0 3 * * *".to_owned()));
        assert_eq!(When::time_zone("Mars/Olympus"), Err(InvalidTimeZone));
        assert_eq!(When::time_zone("Asia/Shanghai").as_deref(), Ok("Asia/Shanghai"));
    }
}
