//! How is an error written down? With its causes, on one line.

use std::error::Error;

/// The error and all its causes, outermost first.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // some libraries repeat their cause in their own text
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::fmt::Error);
        #[derive(Debug, thiserror::Error)]
        #[error("first: {0}")]
        struct Repeats(#[source] Outer);
        assert_eq!(chain(&Outer(std::fmt::Error)), format!("outer: {}", std::fmt::Error));
        assert_eq!(chain(&Repeats(Outer(std::fmt::Error))), format!("first: outer: {}", std::fmt::Error));
    }
}
