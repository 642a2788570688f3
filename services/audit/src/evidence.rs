//! What do the records say, and may they be believed? Read in their order: each stands on the one before, is signed
//! by the key of its time, and begins where the anchor before ended.

use chrono::{DateTime, Utc};
use ed25519_dalek::VerifyingKey;

use crate::chain::{Digest, MARK_BYTES, START, mark, sha256};
use crate::record::{Anchor, Key, Record, RecordError, Said, Statement, fingerprint};
use crate::verdict::{KeyShown, Verdict};

/// A key, and from when to when it signs.
#[derive(Debug, Clone)]
struct Known {
    key: VerifyingKey,
    said: Key,
    from: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
}

/// An anchor that may be believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchored {
    pub number: u64,
    pub time: DateTime<Utc>,
    pub anchor: Anchor,
}

impl Anchored {
    /// The anchor of a statement that is one.
    pub fn of(statement: &Statement) -> Option<Self> {
        match &statement.said {
            Said::Anchor(anchor) => {
                Some(Self { number: statement.number, time: statement.time, anchor: anchor.clone() })
            }
            Said::Key(_) | Said::Alarm(_) => None,
        }
    }
}

/// What is known after the records that were read.
#[derive(Debug, Clone)]
pub struct Evidence {
    number: u64,
    /// SHA-256 of the last record.
    digest: Digest,
    keys: Vec<Known>,
    last: Option<Anchored>,
    /// The record before is not there or not good, so the next may begin anywhere.
    broken: bool,
    pub integrity: Verdict,
    pub completeness: Verdict,
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            number: 0,
            digest: START,
            keys: Vec::new(),
            last: None,
            broken: false,
            integrity: Verdict::holds(),
            completeness: Verdict::holds(),
        }
    }
}

impl Evidence {
    /// Number of the last record that was read.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the next record must name as the one before.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The last anchor that may be believed.
    pub fn last(&self) -> Option<&Anchored> {
        self.last.as_ref()
    }

    pub fn upto(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.anchor.upto)
    }

    /// The hash up to [`Evidence::upto`].
    pub fn hash(&self) -> Digest {
        self.last.as_ref().map_or(START, |last| last.anchor.hash)
    }

    /// Number of the key that signs now; 0 before the first.
    pub fn current_key(&self) -> u32 {
        self.keys.last().map_or(0, |known| known.said.introduces)
    }

    pub fn has_key(&self, key: &VerifyingKey) -> bool {
        self.keys.iter().any(|known| known.key == *key)
    }

    /// The key that everything hangs on.
    pub fn first_fingerprint(&self) -> Option<String> {
        self.keys.first().map(|known| fingerprint(&known.key))
    }

    pub fn keys(&self) -> Vec<KeyShown> {
        let shown = |known: &Known| KeyShown {
            key: known.said.introduces,
            public_key: known.said.public_key.clone(),
            fingerprint: fingerprint(&known.key),
            from: known.from,
            until: known.until,
        };
        self.keys.iter().map(shown).collect()
    }

    /// Reads the next record. `None` when it cannot be believed; why, is in the verdicts.
    pub fn take(&mut self, number: u64, bytes: &[u8]) -> Option<Statement> {
        // of the events, those after the last anchor are concerned first
        let concerned = self.upto() + 1;
        if number <= self.number {
            self.integrity.fails_also(concerned, || format!("record {number} stands twice, or out of order"));
            return None;
        }
        if number > self.number + 1 {
            let (from, to) = (self.number + 1, number - 1);
            self.completeness.fails_also(concerned, || format!("records {from} to {to} are missing"));
            self.broken = true;
        }
        let before = self.digest;
        (self.number, self.digest) = (number, sha256(bytes));
        let statement = match self.believe(bytes) {
            Ok(statement) => statement,
            Err(why) => {
                self.integrity.fails_also(concerned, || format!("record {number}: {why}"));
                self.broken = true;
                return None;
            }
        };
        if statement.number != number {
            let said = statement.number;
            self.integrity.fails_also(concerned, || format!("record {number} says that it is record {said}"));
            self.broken = true;
            return None;
        }
        if statement.previous != before && !self.broken {
            let what = || format!("record {number} does not stand on record {}", number - 1);
            self.integrity.fails_also(concerned, what);
        }
        let believed = self.apply(&statement, concerned);
        self.broken = !believed;
        believed.then_some(statement)
    }

    /// Whether it is signed by who may sign now.
    fn believe(&self, bytes: &[u8]) -> Result<Statement, RecordError> {
        let (record, statement) = Record::read(bytes)?;
        if let Said::Key(key) = &statement.said {
            let introduced = key
                .verifying()
                .ok_or_else(|| RecordError::Unreadable("its public key is none".to_owned()))?;
            let expected = self.current_key() + 1;
            if key.introduces != expected {
                return Err(RecordError::KeyNumber { found: key.introduces, expected });
            }
            if !record.is_proven_by(&introduced) {
                return Err(RecordError::Proof);
            }
            if self.keys.is_empty() && statement.key == key.introduces {
                let own = record.is_signed_by(&introduced);
                return if own { Ok(statement) } else { Err(RecordError::Signature(statement.key)) };
            }
        }
        let signed = statement.key;
        let known = self.keys.iter().find(|known| known.said.introduces == signed);
        let known = known.ok_or(RecordError::KeyUnknown(signed))?;
        let current = self.current_key();
        if signed != current {
            return Err(RecordError::KeyRetired { signed, current });
        }
        if record.is_signed_by(&known.key) { Ok(statement) } else { Err(RecordError::Signature(signed)) }
    }

    fn apply(&mut self, statement: &Statement, concerned: u64) -> bool {
        match &statement.said {
            Said::Key(key) => {
                if let Some(before) = self.keys.last_mut() {
                    before.until = Some(statement.time);
                }
                if let Some(verifying) = key.verifying() {
                    self.keys.push(Known {
                        key: verifying,
                        said: key.clone(),
                        from: statement.time,
                        until: None,
                    });
                }
            }
            Said::Alarm(alarm) => {
                let what = || format!("record {}: {}", statement.number, alarm.what);
                self.completeness.fails_also(alarm.first_sequence, what);
            }
            Said::Anchor(anchor) => {
                if let Err(why) = self.follows(anchor) {
                    let what = || format!("record {}: {why}", statement.number);
                    self.integrity.fails_also(concerned, what);
                    return false;
                }
                self.last = Anchored::of(statement);
            }
        }
        true
    }

    /// Whether an anchor is about what comes after the one before.
    fn follows(&self, anchor: &Anchor) -> Result<(), String> {
        let span = anchor.upto.checked_sub(anchor.after).ok_or("it ends before it begins")?;
        if usize::try_from(span).ok().and_then(|span| span.checked_mul(MARK_BYTES))
            != Some(anchor.marks.len())
        {
            return Err(format!("it has {} bytes of marks for {span} events", anchor.marks.len()));
        }
        let before = self.upto();
        if anchor.after != before && !self.broken || anchor.after < before {
            return Err(format!("it begins after event {} and not after {before}", anchor.after));
        }
        if span == 0 && !self.broken && anchor.hash != self.hash() {
            return Err("it has another hash of the same log".to_owned());
        }
        let last = anchor.marks.last_chunk::<MARK_BYTES>();
        if last.is_some_and(|last| last != mark(&anchor.hash) && *last != [0; MARK_BYTES]) {
            return Err("its last mark is not the front of its hash".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::chain::Chain;
    use crate::record::{Alarm, now};
    use crate::testing::{Writer, key};
    use crate::verdict::Outcome;

    fn read(records: &[Vec<u8>]) -> Evidence {
        let mut evidence = Evidence::default();
        for (number, record) in (1..).zip(records) {
            evidence.take(number, record);
        }
        evidence
    }

    fn records() -> Vec<Vec<u8>> {
        let mut writer = Writer::new();
        for _ in 0..3 {
            writer.anchor(10);
        }
        writer.rotate();
        writer.anchor(0);
        writer.anchor(5);
        writer.records
    }

    #[test]
    fn what_was_written_is_believed_and_keys_have_their_time() {
        let evidence = read(&records());
        assert!(evidence.integrity.ok && evidence.completeness.ok, "{evidence:?}");
        assert_eq!((evidence.upto(), evidence.number(), evidence.current_key()), (35, 7, 2));
        let keys = evidence.keys();
        assert_eq!(keys[0].until, Some(keys[1].from));
        assert_eq!(keys[1].until, None);
    }

    #[test]
    fn each_flipped_byte_of_each_record_is_noticed_there() {
        let records = records();
        for (index, record) in records.iter().enumerate() {
            for at in 0..record.len() {
                let mut flipped = records.clone();
                flipped[index][at] ^= 1;
                // white space may become other white space only between the members of a record: there is none
                let evidence = read(&flipped);
                assert_eq!(evidence.integrity.verdict, Outcome::Fails, "record {index} byte {at}");
                let expected = read(&records[..index]).upto() + 1;
                assert_eq!(evidence.integrity.first_sequence, Some(expected), "record {index} byte {at}");
            }
        }
    }

    #[test]
    fn a_record_that_is_missing_is_missed_and_one_that_is_moved_is_not_believed() {
        let mut evidence = Evidence::default();
        for (number, record) in (1..).zip(records()).filter(|(number, _)| *number != 3) {
            evidence.take(number, &record);
        }
        assert_eq!(evidence.completeness.first_sequence, Some(11));
        assert!(evidence.integrity.ok, "what is there is good: {:?}", evidence.integrity);
        assert_eq!(evidence.upto(), 35);
        let mut swapped = records();
        swapped.swap(1, 2);
        assert_eq!(read(&swapped).integrity.first_sequence, Some(1));
    }

    #[test]
    fn a_forged_anchor_is_not_believed() {
        let statement = |evidence: &Evidence, signed: u32| Statement {
            number: evidence.number() + 1,
            previous: evidence.digest(),
            time: now(),
            key: signed,
            said: Said::Alarm(Alarm { first_sequence: 1, what: "forged".to_owned() }),
        };
        let good = read(&records());
        // by a key of the forger's own, by nobody's, and by one that was retired
        for (signed, signer) in [(2, key(9)), (3, key(9)), (1, key(1))] {
            let mut evidence = good.clone();
            let forged = Record::sign(&statement(&good, signed), &signer, None).to_bytes();
            assert_eq!(evidence.take(8, &forged), None);
            assert_eq!(evidence.integrity.first_sequence, Some(36), "{:?}", evidence.integrity);
            assert!(evidence.completeness.ok, "what a forger says is not said");
        }
        // a key that its predecessor did not introduce
        let mut evidence = good.clone();
        let own = key(9);
        let said = Said::Key(Key::of(3, &own));
        let forged = Record::sign(&Statement { said, ..statement(&good, 3) }, &own, Some(&own)).to_bytes();
        assert_eq!(evidence.take(8, &forged), None);
        assert_eq!(evidence.current_key(), 2);
    }

    #[test]
    fn an_anchor_is_about_what_comes_next() {
        let good = read(&records());
        let sign = |change: fn(&mut Anchor)| {
            let mut chain = Chain::after(35, good.hash());
            let hash = chain.add(36, "s", &[], b"");
            let mut anchor = Anchor {
                after: 35,
                upto: 36,
                hash,
                marks: mark(&hash).to_vec(),
                events_within_s: 1,
                next_by: now(),
                binds: None,
            };
            change(&mut anchor);
            let said = Said::Anchor(anchor);
            let statement = Statement { number: 8, previous: good.digest(), time: now(), key: 2, said };
            let mut evidence = good.clone();
            let signer: SigningKey = key(2);
            evidence.take(8, &Record::sign(&statement, &signer, None).to_bytes()).is_some()
        };
        assert!(sign(|_| {}));
        assert!(!sign(|anchor| anchor.after = 34));
        assert!(!sign(|anchor| anchor.upto = 34));
        assert!(!sign(|anchor| anchor.marks.clear()));
        assert!(!sign(|anchor| anchor.hash = START));
        assert!(!sign(|anchor| (anchor.upto, anchor.marks) = (35, Vec::new())));
    }
}
