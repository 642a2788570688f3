//! `portreeve audit verify`, `audit export`: can it be proven that nothing was changed? Exit status 0: all three
//! verdicts hold, 1: one does not, 2: what was asked about cannot be read.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use audit::offline::Known;
use audit::verdict::{Outcome, Report, Verdict};
use kit::error::chain;

use super::table;
use super::{ClientError, Target};

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// A bundle that `export` wrote; without it the log that is there is verified, by its server
    bundle: Option<PathBuf>,
    /// What key 1 must be: the fingerprint that `portreeve audit keys` once showed
    #[arg(long, requires = "bundle")]
    key: Option<String>,
    /// Records that the service wrote out: the bundle must have the same
    #[arg(long, requires = "bundle", value_name = "FILE")]
    witness: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The file; it must not be there yet
    #[arg(long)]
    out: PathBuf,
    /// Sequence or RFC 3339 time of the first event
    #[arg(long)]
    from: Option<String>,
    /// Sequence or RFC 3339 time of the last event
    #[arg(long)]
    to: Option<String>,
}

impl VerifyArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        let report = match &self.bundle {
            Some(bundle) => offline(bundle, &self)?,
            None => {
                let http = target.connect()?;
                let answer = http.slow("/api/audit/verify", &[]).await?;
                let unreadable =
                    |error: reqwest::Error| http.unreadable("/api/audit/verify", &error.to_string());
                answer.json().await.map_err(unreadable)?
            }
        };
        show(&report, target.json);
        let all = [&report.integrity, &report.completeness, &report.fidelity.verdict];
        if all.iter().any(|verdict| verdict.verdict == Outcome::Fails) {
            return Err(ClientError::NotProven);
        }
        match all.iter().find(|verdict| verdict.verdict == Outcome::Unknown) {
            None => Ok(()),
            // a bundle says what it says, and all it says is that nobody looked
            Some(_) if self.bundle.is_some() => Err(ClientError::NotProven),
            Some(verdict) => {
                let why = verdict.what.clone().unwrap_or_default();
                Err(ClientError::Unproven { what: "the log".to_owned(), why })
            }
        }
    }
}

fn offline(bundle: &Path, args: &VerifyArgs) -> Result<Report, ClientError> {
    let unproven = |what: &Path, error: &(dyn std::error::Error + 'static)| ClientError::Unproven {
        what: what.display().to_string(),
        why: chain(error),
    };
    let witness = match &args.witness {
        Some(path) => audit::written_out(path).map_err(|error| unproven(path, &error))?,
        None => Vec::new(),
    };
    let known = Known { first_key: args.key.as_ref().map(|key| key.to_ascii_lowercase()), witness };
    let file = File::open(bundle).map_err(|error| unproven(bundle, &error))?;
    audit::offline::verify(BufReader::new(file), &known).map_err(|error| unproven(bundle, &error))
}

fn show(report: &Report, json: bool) {
    if json {
        table::print_json(&serde_json::to_value(report).unwrap_or_default());
        return;
    }
    table::out(&format!(
        "events {} to {}; {} records vouch for those up to {}{}\n",
        report.first_sequence,
        report.last_sequence,
        report.records,
        report.anchored_upto,
        report.anchored_at.map(|at| format!(", signed at {at}")).unwrap_or_default(),
    ));
    for (name, verdict) in [
        ("integrity", &report.integrity),
        ("completeness", &report.completeness),
        ("fidelity", &report.fidelity.verdict),
    ] {
        table::out(&format!("{name:<13} {}\n", line(verdict)));
    }
    for one in &report.fidelity.differences {
        table::out(&format!("  event {} {}\n", one.sequence, one.table));
        for (side, row) in [("live", &one.live), ("log ", &one.log)] {
            if let Some(row) = row {
                table::out(&format!("    {side} {row}\n"));
            }
        }
    }
    if let Some(first) = report.keys.first() {
        table::out(&format!("key 1         {}\n", first.fingerprint));
    }
}

fn line(verdict: &Verdict) -> String {
    let what = verdict.what.as_deref().unwrap_or_default();
    match (verdict.verdict, verdict.first_sequence) {
        (Outcome::Holds, _) => "holds".to_owned(),
        (Outcome::Fails, Some(first)) => format!("FAILS at event {first}: {what}"),
        (Outcome::Fails, None) => format!("FAILS: {what}"),
        (Outcome::Unknown, _) => format!("unknown: {what}"),
    }
}

impl ExportArgs {
    pub async fn run(self, target: &Target) -> Result<(), ClientError> {
        let io = |source| ClientError::Io { what: format!("write {}", self.out.display()), source };
        let http = target.connect()?;
        let query: Vec<(&str, String)> = [("from", &self.from), ("to", &self.to)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect();
        // whole or not at all: what is there is no bundle that broke off
        if self.out.exists() {
            return Err(ClientError::Usage(format!("{} is there already", self.out.display())));
        }
        let part = self.out.with_extension("part");
        let mut answer = http.slow("/api/audit/export", &query).await?;
        let mut file = File::create(&part).map_err(io)?;
        let unreadable = |error: reqwest::Error| http.unreadable("/api/audit/export", &error.to_string());
        while let Some(piece) = answer.chunk().await.map_err(unreadable)? {
            file.write_all(&piece).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        let bundle = File::open(&part).map_err(io)?;
        let report = audit::offline::verify(BufReader::new(bundle), &Known::default());
        std::fs::rename(&part, &self.out).map_err(io)?;
        match report {
            Ok(report) => {
                show(&report, target.json);
                let whole = report.ok.then_some(()).ok_or(ClientError::NotProven);
                if !target.json {
                    table::out(&format!("written to {}\n", self.out.display()));
                }
                whole
            }
            Err(error) => {
                Err(ClientError::Unproven { what: self.out.display().to_string(), why: chain(&error) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_one_line() {
        assert_eq!(line(&Verdict::holds()), "holds");
        assert_eq!(line(&Verdict::fails(7, "it is another")), "FAILS at event 7: it is another");
        assert_eq!(line(&Verdict::unknown("away")), "unknown: away");
    }
}
