//! Who writes records in tests of what reads them?

use chrono::TimeDelta;
use ed25519_dalek::SigningKey;

use crate::chain::{Chain, mark};
use crate::evidence::Evidence;
use crate::record::{Anchor, Key, Record, Said, Statement, now};

pub fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// A log and what vouches for it; the payload of an event is its sequence.
pub struct Writer {
    pub records: Vec<Vec<u8>>,
    chain: Chain,
    evidence: Evidence,
    key: u8,
}

pub fn payload(sequence: u64) -> Vec<u8> {
    sequence.to_string().into_bytes()
}

impl Writer {
    pub fn new() -> Self {
        let mut writer =
            Self { records: Vec::new(), chain: Chain::start(), evidence: Evidence::default(), key: 0 };
        writer.rotate();
        writer
    }

    pub fn rotate(&mut self) {
        let next = self.key + 1;
        let introduced = key(next);
        let signer = if self.key == 0 { next } else { self.key };
        self.write(Said::Key(Key::of(next.into(), &introduced)), signer, Some(&introduced));
        self.key = next;
    }

    /// So many events, and an anchor of them.
    pub fn anchor(&mut self, events: u64) {
        let after = self.chain.upto();
        let mut marks = Vec::new();
        for sequence in after + 1..=after + events {
            let hash = self.chain.add(sequence, "s", &[], &payload(sequence));
            marks.extend_from_slice(mark(&hash));
        }
        let anchor = Anchor {
            after,
            upto: self.chain.upto(),
            hash: self.chain.hash(),
            marks,
            events_within_s: 60,
            next_by: now() + TimeDelta::seconds(1200),
            binds: None,
        };
        self.write(Said::Anchor(anchor), self.key, None);
    }

    fn write(&mut self, said: Said, signer: u8, introduced: Option<&SigningKey>) {
        let number = self.evidence.number() + 1;
        let statement =
            Statement { number, previous: self.evidence.digest(), time: now(), key: signer.into(), said };
        let record = Record::sign(&statement, &key(signer), introduced).to_bytes();
        assert!(self.evidence.take(number, &record).is_some(), "{:?}", self.evidence.integrity);
        self.records.push(record);
    }
}
