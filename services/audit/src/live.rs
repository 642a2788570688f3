//! Is the log that is there now whole, unchanged, and what the read models show? Three verdicts.

use chrono::{TimeDelta, Utc};
use nats::{Anchors, AnchorsError, Log, LogError};
use projections::Projections;

use crate::check::{Check, Checked, End};
use crate::evidence::{Anchored, Evidence};
use crate::fidelity;
use crate::keeper::feed;
use crate::reading::read_on;
use crate::verdict::{Fidelity, Outcome, Report, Verdict};
use crate::wishes;

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the anchors do not answer")]
    Anchors(#[from] AnchorsError),
    #[error("the log does not answer")]
    Log(#[from] LogError),
}

/// All records, and the anchors among them that may be believed.
pub async fn gather(anchors: &Anchors) -> Result<(Evidence, Vec<Anchored>), AnchorsError> {
    let (mut evidence, mut said) = (Evidence::default(), Vec::new());
    read_on(anchors, &mut evidence, |_, statement| {
        said.extend(statement.and_then(Anchored::of));
    })
    .await?;
    Ok((evidence, said))
}

/// Reads the whole log several times; nothing waits for it.
pub async fn verify(log: &Log, anchors: &Anchors, projections: &Projections) -> Report {
    let (looked, fidelity) = tokio::join!(look(log, anchors), fidelity::compare(log, projections));
    match looked {
        Ok((evidence, checked)) => report(&evidence, checked, fidelity),
        Err(trouble) => {
            let unknown = || Verdict::unknown(kit::error::chain(&trouble));
            let checked =
                Checked { first: 1, last: 0, events: 0, integrity: unknown(), completeness: unknown() };
            report(&Evidence::default(), checked, fidelity)
        }
    }
}

async fn look(log: &Log, anchors: &Anchors) -> Result<(Evidence, Checked), Trouble> {
    let (mut evidence, mut said) = gather(anchors).await?;
    // whoever writes anchors may have started a moment ago: it is asked before it is called late
    let is_late = said.last().is_none_or(|last| Utc::now() > last.anchor.next_by);
    let waits = said.last().map_or(0, |last| last.anchor.upto) < log.head().await?
        && said.last().is_none_or(|last| {
            let within_s = i64::try_from(last.anchor.events_within_s).unwrap_or(i64::MAX / 2_000);
            Utc::now() > last.time + TimeDelta::seconds(within_s)
        });
    if is_late || waits {
        if let Err(unheard) = wishes::anchor(anchors, log.head().await?, None).await {
            tracing::warn!(error = &unheard as &dyn std::error::Error, "nobody writes anchors");
        }
        (evidence, said) = gather(anchors).await?;
    }
    // after the records: what they vouch for was there then
    let head = log.head().await?;
    let mut check = Check::new(1, said, &evidence);
    feed(log, 1, head, &mut check).await?;
    Ok((evidence, check.finish(End::Live(Utc::now()))))
}

pub fn report(evidence: &Evidence, checked: Checked, fidelity: Fidelity) -> Report {
    let Checked { first, last, events, integrity, completeness } = checked;
    let all = [&integrity, &completeness, &fidelity.verdict];
    Report {
        ok: all.iter().all(|verdict| verdict.verdict == Outcome::Holds),
        first_sequence: first,
        last_sequence: last,
        events,
        records: evidence.number(),
        anchored_upto: evidence.upto(),
        anchored_at: evidence.last().map(|last| last.time),
        integrity,
        completeness,
        fidelity,
        keys: evidence.keys(),
    }
}
