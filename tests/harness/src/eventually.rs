//! Is it so by now? Waits until a condition holds, at most so long, and says what was last seen.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::bail;

/// How long between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks again and again until `look` gives a value; `Err` is what it saw instead. A look that
/// itself takes longer than the rest of the time is cut short.
pub async fn eventually<T, S, F>(
    what: &str,
    at_most: Duration,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    S: Display,
    F: Future<Output = Result<T, S>>,
{
    let began = Instant::now();
    let mut seen = None;
    loop {
        let rest = at_most.saturating_sub(began.elapsed());
        match tokio::time::timeout(rest, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(instead)) => seen = Some(instead.to_string()),
            Err(_) => {}
        }
        if began.elapsed() >= at_most {
            let seen = seen.unwrap_or_else(|| "nothing: the look itself did not end".to_owned());
            bail!("not within {} s: {what}; last seen: {seen}", at_most.as_secs_f32());
        }
        tokio::time::sleep(LOOK_EVERY.min(at_most.saturating_sub(began.elapsed()))).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn it_says_what_it_saw_last() {
        let mut number = 0;
        let error = eventually("the number is negative", Duration::from_millis(120), || {
            number += 1;
            std::future::ready(Err::<(), _>(format!("the number is {number}")))
        })
        .await
        .unwrap_err();
        assert!(error.to_string().contains("last seen: the number is"), "{error}");
    }
}
