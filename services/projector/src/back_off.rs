//! How long until the next try? Twice as long after each failure, up to a bound.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses between tries.
pub struct BackOff(Duration);

impl BackOff {
    pub fn new() -> Self {
        Self(FIRST)
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.0 = FIRST;
    }

    /// The pause after this failure.
    pub fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (self.0 * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut back_off = BackOff::new();
        assert_eq!(back_off.next(), FIRST);
        assert!((0..20).map(|_| back_off.next()).all(|pause| pause <= LONGEST));
        assert_eq!(back_off.next(), LONGEST);
        back_off.reset();
        assert_eq!(back_off.next(), FIRST);
    }
}
