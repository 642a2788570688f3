//! How is a report computed? The log is read once, from its first message to the last of the range: hashed as the chain
//! hashes it, and folded where the report looks.

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use events::Recorded;
use events::ids::TenantId;
use nats::{Log, LogError};
use tokio::time::Instant;

use super::document::{Document, Head};
use super::rows::{BYTES_MAX, ROWS_MAX, Rows};
use super::{Fold, Report};
use crate::chain::Chain;
use crate::reading::{LOOK_EVERY, VISIBLE_WITHIN};

/// Which report, of which events, for whom.
#[derive(Debug, Clone)]
pub struct Asked {
    pub report: &'static Report,
    /// The first event of the range, from 1.
    pub from: u64,
    /// The last one, which the log has; `from - 1` for a range of none.
    pub to: u64,
    /// Only what belongs to this one.
    pub tenant: Option<TenantId>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The caller's mistake.
    #[error("the report has more than {} rows, or {} MiB: choose a shorter range", ROWS_MAX, BYTES_MAX >> 20)]
    TooLong,
    #[error("the log does not answer")]
    Log(#[from] LogError),
    #[error("the log answered up to event {upto} only, and the report ends with event {to}")]
    Short { to: u64, upto: u64 },
}

/// Reads the whole log up to the end of the range.
pub async fn compute(log: &Log, asked: Asked) -> Result<Document, ReportError> {
    let to = asked.to;
    let mut computation = Computation::new(asked);
    let mut reader = log.stored(1);
    let mut waiting: Option<Instant> = None;
    while reader.position() <= to {
        let batch = reader.next().await?;
        if batch.is_empty() {
            if waiting.get_or_insert_with(Instant::now).elapsed() > VISIBLE_WITHIN {
                return Err(ReportError::Short { to, upto: reader.position() - 1 });
            }
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        }
        waiting = None;
        for one in batch.iter().take_while(|one| one.seq <= to) {
            computation.take(one.seq, &one.subject, one.time, &one.headers(), &one.payload)?;
        }
    }
    computation.finish()
}

/// The messages go by.
struct Computation {
    asked: Asked,
    chain: Chain,
    fold: Box<dyn Fold>,
    rows: Rows,
    messages: u64,
    unreadable: u64,
    /// When the first and the last message of the range were stored.
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

impl Computation {
    fn new(asked: Asked) -> Self {
        Self {
            chain: Chain::start(),
            fold: (asked.report.fold)(),
            rows: Rows::new(asked.tenant.clone(), asked.from),
            messages: 0,
            unreadable: 0,
            from: None,
            to: None,
            asked,
        }
    }

    /// The next message as it is stored, its headers in their order.
    fn take(
        &mut self,
        sequence: u64,
        subject: &str,
        stored: DateTime<Utc>,
        headers: &[(&str, &str)],
        payload: &[u8],
    ) -> Result<(), ReportError> {
        self.chain.add(sequence, subject, headers, payload);
        self.messages += 1;
        self.rows.passes(sequence, stored);
        if self.rows.has(sequence) {
            self.from.get_or_insert(stored);
            self.to = Some(stored);
        }
        if !self.asked.report.looks_at(subject) {
            return Ok(());
        }
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        match Recorded::read(sequence, subject, header, payload) {
            Ok(event) => self.fold.take(&event, &mut self.rows),
            // it is in the digest all the same, and whoever reads the report is told
            Err(_) => {
                let tenant = subject.split('.').nth(1).unwrap_or_default();
                self.unreadable += u64::from(self.rows.may_show(tenant));
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), ReportError> {
        if self.rows.is_full() { Err(ReportError::TooLong) } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Document, ReportError> {
        self.fold.finish(&mut self.rows);
        self.check()?;
        let Asked { report, from, to, tenant } = self.asked;
        let head = Head {
            report: report.name.to_owned(),
            version: report.version,
            tenant,
            from_sequence: from,
            to_sequence: to,
            from: self.from,
            to: self.to,
            messages: self.messages,
            unreadable: self.unreadable,
            digest: HEXLOWER.encode(&self.chain.hash()),
            rows_digest: String::new(),
            columns: report.columns.iter().map(|column| (*column).to_owned()).collect(),
        };
        let mut document = Document { head, rows: self.rows.finish() };
        document.head.rows_digest = document.rows_digest();
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::login::{LoginEvent, LoginLocked, LoginUnlocked};
    use events::{Kind, envelope};

    use super::super::testing::{ENV, of, t};
    use super::super::{REPORTS, named};
    use super::*;

    const IP: &str = "192.0.2.7";

    /// A lockout in each of two tenants, and the end of one.
    fn log() -> Vec<Recorded> {
        let locked = |second| LoginEvent::from(LoginLocked { ip: IP.parse().unwrap(), until: t(second) });
        let unlocked = LoginEvent::from(LoginUnlocked { ip: None });
        vec![
            of("blue", 1, Kind::Login, ENV, locked(100)),
            of("red", 2, Kind::Login, ENV, locked(200)),
            of("blue", 3, Kind::Login, ENV, unlocked),
        ]
    }

    fn computed(name: &str, from: u64, to: u64, tenant: Option<&str>, log: &[Recorded]) -> Document {
        let tenant = tenant.map(|tenant| TenantId::parse(tenant).unwrap());
        let mut computation = Computation::new(Asked { report: named(name).unwrap(), from, to, tenant });
        for event in log.iter().filter(|event| event.seq <= to) {
            let (subject, payload) = (event.subject.to_string(), event.event.to_json().to_string());
            let headers = envelope::headers(&event.subject, &event.meta, &event.event);
            let mut headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            headers.sort_unstable();
            computation.take(event.seq, &subject, event.meta.time, &headers, payload.as_bytes()).unwrap();
        }
        computation.finish().unwrap()
    }

    #[test]
    fn the_same_range_gives_the_same_whatever_came_since() {
        let log = log();
        for report in REPORTS {
            let once = computed(report.name, 1, 2, None, &log[..2]);
            assert_eq!(computed(report.name, 1, 2, None, &log), once);
            let more = computed(report.name, 1, 3, None, &log);
            assert_ne!(more.head.digest, once.head.digest);
            assert_eq!((once.head.messages, more.head.messages), (2, 3));
        }
    }

    #[test]
    fn the_digest_is_the_chains() {
        let log = log();
        let mut chain = Chain::start();
        for event in &log {
            let headers = envelope::headers(&event.subject, &event.meta, &event.event);
            let mut headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            headers.sort_unstable();
            let payload = event.event.to_json().to_string();
            chain.add(event.seq, &event.subject.to_string(), &headers, payload.as_bytes());
        }
        let head = computed("passwords", 2, 3, None, &log).head;
        assert_eq!(head.digest, HEXLOWER.encode(&chain.hash()));
        assert_eq!((head.from, head.to, head.messages), (Some(t(2)), Some(t(3)), 3));
    }

    #[test]
    fn a_tenant_has_its_own_rows_and_the_digest_of_the_whole() {
        let log = log();
        let all = computed("logins", 1, 3, None, &log);
        let blue = computed("logins", 1, 3, Some("blue"), &log);
        assert_eq!((all.rows.len(), blue.rows.len()), (3, 2));
        assert_eq!(all.head.digest, blue.head.digest);
        assert_ne!(all.head.rows_digest, blue.head.rows_digest);
        assert_eq!(blue.head.tenant.unwrap().as_str(), "blue");
    }

    #[test]
    fn a_range_of_nothing_is_a_report_too() {
        let none = computed("logins", 4, 3, None, &log());
        assert_eq!((none.rows.len(), none.head.from, none.head.messages), (0, None, 3));
    }

    #[test]
    fn what_cannot_be_read_is_counted_for_whom_it_concerns() {
        let report = named("logins").unwrap();
        for (tenant, unreadable) in [(None, 1), (Some("blue"), 1), (Some("red"), 0)] {
            let tenant = tenant.map(|tenant| TenantId::parse(tenant).unwrap());
            let mut computation = Computation::new(Asked { report, from: 1, to: 2, tenant });
            computation.take(1, "ev.blue.login.x", t(1), &[], b"{}").unwrap();
            computation.take(2, "ev.blue.env.x", t(2), &[], b"{}").unwrap();
            assert_eq!(computation.finish().unwrap().head.unreadable, unreadable);
        }
    }
}
