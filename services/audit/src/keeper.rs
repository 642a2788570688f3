//! Who writes anchors? One step after the other: read what is new, chain it, sign it when it is time. Nothing is kept
//! but the records themselves, so whoever goes on after a kill goes on from the last of them; of several at once, one
//! appends each record and the others begin anew from it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use nats::{Anchors, AnchorsError, Log, LogError, StoredReader, StoredRecord, Vault};

use crate::chain::{Chain, MARK_BYTES, mark};
use crate::check::{Check, End};
use crate::evidence::{Anchored, Evidence};
use crate::keys::{self, KeyError};
use crate::metrics::Metrics;
use crate::reading::{VISIBLE_WITHIN, read_on};
use crate::record::{Alarm, Anchor, Key, Record, Said, SigningKey, Statement, now};
use crate::wishes::{Wish, is_digest};
use crate::witness::{self, Parted, Witness, WitnessError};

/// Without events there is an anchor this often, in seconds.
pub const IDLE_S: i64 = 600;
/// An anchor promises the next one after this many times its interval.
const PROMISE: i64 = 2;
/// Events read in one step before other things have their turn.
const BATCHES_MAX: u32 = 50;

/// When anchors are written.
#[derive(Debug, Clone)]
pub struct Pace {
    /// After so many events at the latest.
    pub every_events: u64,
    /// So many seconds after an event at the latest.
    pub every_s: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    #[error("the anchors cannot be read or written")]
    Anchors(#[from] AnchorsError),
    #[error("anchors cannot be signed")]
    Key(#[from] KeyError),
    #[error("the file of anchors cannot be written")]
    Witness(#[from] WitnessError),
    /// Begin anew from what they wrote.
    #[error("somebody else writes anchors too")]
    Outrun,
}

/// What is needed to write anchors.
pub struct Keeper {
    pub log: Log,
    pub anchors: Anchors,
    pub vault: Vault,
    pub pace: Pace,
    /// The file that records are written out to.
    pub file: Option<PathBuf>,
    pub metrics: Metrics,
}

/// Where one stands.
pub struct Standing {
    evidence: Evidence,
    witness: Option<Witness>,
    signer: SigningKey,
    events: StoredReader,
    chain: Chain,
    /// Of the events after the last anchor.
    marks: Vec<u8>,
    /// When the first of those was stored.
    oldest: Option<DateTime<Utc>>,
    /// There is more to be read at once.
    pub more: bool,
}

impl Keeper {
    /// Reads all records, and says what is wrong with them.
    pub async fn begin(&self) -> Result<Standing, Trouble> {
        let (mut evidence, mut records) = (Evidence::default(), Vec::new());
        read_on(&self.anchors, &mut evidence, |record, _| records.push(record.clone())).await?;
        let (witness, parted) = match &self.file {
            None => (None, None),
            Some(path) => match Witness::open(path, &records)? {
                Ok(witness) => (Some(witness), None),
                Err(parted) => (None, Some((path, parted))),
            },
        };
        if evidence.current_key() == 0 {
            self.first_key(&mut evidence).await?;
        }
        let signer = keys::get(&self.vault, evidence.current_key()).await?;
        if !evidence.has_key(&signer.verifying_key()) {
            return Err(KeyError::Damaged(evidence.current_key()).into());
        }
        let chain = Chain::after(evidence.upto(), evidence.hash());
        let events = self.log.stored(chain.upto() + 1);
        let (marks, oldest) = (Vec::new(), None);
        let mut standing = Standing { evidence, witness, signer, events, chain, marks, oldest, more: true };
        if let Some((path, parted)) = parted {
            self.parted(&mut standing, path, &parted, &records).await?;
        }
        self.write_out(&mut standing).await?;
        self.ends_early(&mut standing).await?;
        Ok(standing)
    }

    /// File and store part: that is said first, then the file is kept as it is and another one begun.
    async fn parted(
        &self,
        standing: &mut Standing,
        path: &Path,
        parted: &Parted,
        records: &[StoredRecord],
    ) -> Result<(), Trouble> {
        let first_sequence = self.first_lost(parted).await?;
        let what = format!(
            "this is not the store whose records were written out: they part at record {}, those written out go on \
             to {}",
            parted.at,
            parted.file.len()
        );
        self.alarm(standing, Alarm { first_sequence, what }).await?;
        let aside = Witness::set_aside(path, parted.at)?;
        tracing::error!(aside = %aside.display(), "the records that were written out are kept");
        standing.witness = Witness::open(path, records)?.ok();
        Ok(())
    }

    /// What was vouched for is not there any more.
    async fn ends_early(&self, standing: &mut Standing) -> Result<(), Trouble> {
        let (head, upto) = (self.log.head().await?, standing.evidence.upto());
        if head >= upto {
            return Ok(());
        }
        let number = standing.evidence.last().map_or(0, |last| last.number);
        let what =
            format!("the log ends at event {head}, and record {number} vouches for events up to {upto}");
        self.alarm(standing, Alarm { first_sequence: head + 1, what }).await
    }

    /// The first event of the log that is not what the records of the file vouch for.
    async fn first_lost(&self, parted: &Parted) -> Result<u64, Trouble> {
        let (mut evidence, mut anchors, mut common) = (Evidence::default(), Vec::new(), 0);
        for record in &parted.file {
            if record.number == parted.at {
                common = evidence.upto();
            }
            let statement = evidence.take(record.number, &record.bytes);
            anchors.extend(statement.as_ref().and_then(Anchored::of));
        }
        let last = evidence.upto();
        let mut check = Check::new(common + 1, anchors, &Evidence::default());
        feed(&self.log, common + 1, last, &mut check).await?;
        let checked = check.finish(End::Piece(last));
        let firsts = [checked.integrity.first_sequence, checked.completeness.first_sequence];
        Ok(firsts.into_iter().flatten().min().unwrap_or(common + 1))
    }

    async fn first_key(&self, evidence: &mut Evidence) -> Result<(), Trouble> {
        let key = keys::ensure(&self.vault, 1).await?;
        let said = Said::Key(Key::of(1, &key));
        self.write(evidence, said, 1, &key, Some(&key)).await?;
        tracing::info!("the first key for anchors was made");
        Ok(())
    }

    /// Appends a record and believes it.
    async fn write(
        &self,
        evidence: &mut Evidence,
        said: Said,
        signed: u32,
        signer: &SigningKey,
        introduced: Option<&SigningKey>,
    ) -> Result<StoredRecord, Trouble> {
        let number = evidence.number() + 1;
        let statement = Statement { number, previous: evidence.digest(), time: now(), key: signed, said };
        let bytes: bytes::Bytes = Record::sign(&statement, signer, introduced).to_bytes().into();
        match self.anchors.append(number - 1, bytes.clone()).await {
            Ok(()) => {}
            Err(AnchorsError::Lost { .. }) => return Err(Trouble::Outrun),
            Err(error) => return Err(error.into()),
        }
        evidence.take(number, &bytes);
        self.metrics.records.inc();
        Ok(StoredRecord { number, bytes })
    }

    async fn say(&self, standing: &mut Standing, said: Said) -> Result<(), Trouble> {
        let Standing { evidence, signer, witness, .. } = standing;
        let signed = evidence.current_key();
        let record = self.write(evidence, said, signed, signer, None).await?;
        if let Some(witness) = witness {
            witness.append(&record)?;
        }
        Ok(())
    }

    /// What was written since the file was opened.
    async fn write_out(&self, standing: &mut Standing) -> Result<(), Trouble> {
        let Some(witness) = &mut standing.witness else { return Ok(()) };
        let (mut evidence, mut written) = (Evidence::default(), Ok(()));
        read_on(&self.anchors, &mut evidence, |record, _| {
            if written.is_ok() {
                written = witness.append(record);
            }
        })
        .await?;
        Ok(written?)
    }

    /// Says it once, whoever finds it how often.
    async fn alarm(&self, standing: &mut Standing, alarm: Alarm) -> Result<(), Trouble> {
        self.metrics.alarms.inc();
        let known = standing.evidence.completeness.first_sequence;
        if known.is_some_and(|known| known <= alarm.first_sequence) {
            return Ok(());
        }
        tracing::error!(event.seq = alarm.first_sequence, what = alarm.what, "the log is not what it was");
        self.say(standing, Said::Alarm(alarm)).await
    }

    /// One step: what is new is chained, and anchored if it is time.
    pub async fn step(&self, standing: &mut Standing, wishes: &[Wish]) -> Result<(), Trouble> {
        self.read(standing).await?;
        let waiting_s = standing.oldest.map_or(0, |oldest| (Utc::now() - oldest).num_seconds());
        let silent_s = standing.evidence.last().map(|last| (Utc::now() - last.time).num_seconds());
        let is_due = waiting_s >= i64::from(self.pace.every_s) && standing.oldest.is_some()
            || silent_s.is_none_or(|silent_s| silent_s >= IDLE_S);
        if is_due {
            self.ends_early(standing).await?;
            self.anchor(standing, None).await?;
        }
        for wish in wishes {
            match wish {
                Wish::Rotate { from } => self.rotate(standing, *from).await?,
                Wish::Anchor { upto, after_record, binds } => {
                    self.anchor_wished(standing, *upto, *after_record, binds.clone()).await?;
                }
            }
        }
        self.metrics.stand(standing.evidence.upto(), standing.upto());
        Ok(())
    }

    /// Chains what there is, an anchor each so many events.
    async fn read(&self, standing: &mut Standing) -> Result<(), Trouble> {
        standing.more = true;
        for _ in 0..BATCHES_MAX {
            let events = standing.events.next().await?;
            if events.is_empty() {
                standing.more = false;
                return Ok(());
            }
            for event in events {
                if event.seq != standing.upto() + 1 {
                    self.gap(standing, event.seq).await?;
                }
                let hash = standing.chain.add(event.seq, &event.subject, &event.headers(), &event.payload);
                standing.marks.extend_from_slice(mark(&hash));
                standing.oldest.get_or_insert(event.time);
                if standing.marks.len() as u64 >= self.pace.every_events * MARK_BYTES as u64 {
                    self.anchor(standing, None).await?;
                }
            }
        }
        Ok(())
    }

    /// Events that are not there (any more) are told, and the chain goes on without them.
    async fn gap(&self, standing: &mut Standing, found: u64) -> Result<(), Trouble> {
        let expected = standing.upto() + 1;
        let what = format!("the log has no events {expected} to {}", found - 1);
        self.alarm(standing, Alarm { first_sequence: expected, what }).await?;
        for _ in expected..found {
            standing.marks.extend_from_slice(&[0; MARK_BYTES]);
            if standing.marks.len() as u64 >= self.pace.every_events * MARK_BYTES as u64 {
                self.anchor(standing, None).await?;
            }
        }
        Ok(())
    }

    async fn anchor(&self, standing: &mut Standing, binds: Option<String>) -> Result<(), Trouble> {
        let (after, upto) = (standing.evidence.upto(), standing.upto());
        let every_s = i64::from(self.pace.every_s);
        let anchor = Anchor {
            after,
            upto,
            hash: standing.chain.hash(),
            marks: std::mem::take(&mut standing.marks),
            events_within_s: (every_s * PROMISE).unsigned_abs(),
            next_by: now() + TimeDelta::seconds(IDLE_S * PROMISE),
            binds,
        };
        standing.oldest = None;
        standing.chain = Chain::after(upto, standing.chain.hash());
        self.say(standing, Said::Anchor(anchor)).await
    }

    async fn anchor_wished(
        &self,
        standing: &mut Standing,
        upto: u64,
        after_record: u64,
        binds: Option<String>,
    ) -> Result<(), Trouble> {
        let fits = binds.as_ref().is_none_or(|binds| is_digest(binds));
        let is_there = standing.evidence.last().is_some_and(|last: &Anchored| {
            last.number > after_record && last.anchor.upto >= upto && last.anchor.binds == binds
        });
        // nothing that is not there yet is waited for longer than a replica may lag
        let began = Instant::now();
        while fits && !is_there && standing.upto() < upto && began.elapsed() < VISIBLE_WITHIN {
            self.read(standing).await?;
            tokio::time::sleep(crate::reading::LOOK_EVERY).await;
        }
        if fits && !is_there && standing.upto() >= upto {
            self.anchor(standing, binds).await?;
        }
        Ok(())
    }

    /// The next key signs from here on; the one before is gone.
    async fn rotate(&self, standing: &mut Standing, from: u32) -> Result<(), Trouble> {
        let current = standing.evidence.current_key();
        if from != current {
            return Ok(());
        }
        let next = keys::ensure(&self.vault, current + 1).await?;
        let said = Said::Key(Key::of(current + 1, &next));
        let Standing { evidence, signer, witness, .. } = standing;
        let record = self.write(evidence, said, current, signer, Some(&next)).await?;
        if let Some(witness) = witness {
            witness.append(&record)?;
        }
        standing.signer = next;
        tracing::info!(key = current + 1, "another key signs anchors");
        Ok(keys::forget(&self.vault, current).await?)
    }
}

impl Standing {
    /// The last event that was chained, or found missing.
    fn upto(&self) -> u64 {
        self.evidence.upto() + (self.marks.len() / MARK_BYTES) as u64
    }
}

/// Gives a check the events from `from` to `to`, as far as they are there.
pub async fn feed(log: &Log, from: u64, to: u64, check: &mut Check) -> Result<(), LogError> {
    let mut reader = log.stored(from);
    let began = Instant::now();
    while reader.position() <= to {
        let events = reader.next().await?;
        if events.is_empty() {
            let head = log.head().await?;
            if head < reader.position() || began.elapsed() > VISIBLE_WITHIN.saturating_mul(6) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for event in events.iter().filter(|event| event.seq <= to) {
            check.event(event.seq, event.time, &event.subject, &event.headers(), &event.payload);
        }
    }
    Ok(())
}

/// The records of a file that was written out.
pub fn written_out(path: &Path) -> Result<Vec<StoredRecord>, WitnessError> {
    witness::read(path).map(|(records, _)| records)
}
