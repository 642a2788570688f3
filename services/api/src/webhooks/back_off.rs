//! When is a delivery that failed tried again, and when no more?

use std::time::Duration;

use events::ids::EventId;

/// The schedule that Standard Webhooks 1.0.0 suggests ("Deliverability and reliability"), after the first attempt.
pub const RETRY_AFTER_S: [u64; 9] =
    [5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 14 * 3_600, 20 * 3_600, 24 * 3_600];
/// A wait is longer than the schedule says by at most one part of so many, so that not all come back at once.
const JITTER_PARTS: u32 = 10;

/// After so many attempts, from 1; `None`: it is parked.
pub fn back_off(schedule: &[Duration], attempts: u32, event: &EventId) -> Option<Duration> {
    let attempts = usize::try_from(attempts).ok()?;
    let wait = *schedule.get(attempts.checked_sub(1)?)?;
    // ids are digests: their bytes are as good as chance
    let chance = event.0.as_bytes().get(attempts % 16).copied().unwrap_or_default();
    Some(wait + wait / JITTER_PARTS * u32::from(chance) / u32::from(u8::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn each_attempt_waits_as_the_schedule_says_and_the_last_is_the_last() {
        let schedule = RETRY_AFTER_S.map(Duration::from_secs);
        for event in [uuid::Uuid::nil(), uuid::Uuid::max()].map(EventId) {
            assert_eq!(back_off(&schedule, 0, &event), None, "nothing was tried");
            for (attempts, wait) in (1..).zip(schedule) {
                let found = back_off(&schedule, attempts, &event).unwrap();
                assert!(found >= wait && found <= wait + wait / 10, "{attempts}: {found:?}");
            }
            assert_eq!(back_off(&schedule, 10, &event), None);
            assert_eq!(back_off(&[], 1, &event), None, "an empty schedule tries once");
        }
        let (least, most) = (EventId(uuid::Uuid::nil()), EventId(uuid::Uuid::max()));
        assert_eq!(back_off(&schedule, 2, &least), Some(Duration::from_secs(300)));
        assert_eq!(back_off(&schedule, 2, &most), Some(Duration::from_secs(330)));
    }
}
