//! `portreeve audit`: who did what, and can it be proven? Without a verb, the service that writes anchors.

use super::audit_evidence::{ExportArgs, VerifyArgs};
use super::audit_report::ReportArgs;
use super::audit_time::{DiffArgs, ExplainArgs, ReplayArgs, TimelineArgs};
use super::audit_what_if::WhatIfArgs;
use super::env::{done, items, show_all};
use super::table::{self, Column};
use super::{ClientError, Target};

use reqwest::Method;
use serde_json::json;

use crate::standalone::AuditServiceArgs;

const COLUMNS: &[Column] = &[
    ("SEQ", "seq"),
    ("TIME", "time"),
    ("ACTOR", "actor"),
    ("EVENT", "type"),
    ("KIND", "kind"),
    ("ID", "aggregate_id"),
    ("TENANT", "tenant_id"),
    ("DATA", "data"),
];

const KEY_COLUMNS: &[Column] =
    &[("KEY", "key"), ("FROM", "from"), ("UNTIL", "until"), ("FINGERPRINT", "fingerprint")];

/// Entries shown when nothing else is said.
const LIMIT_DEFAULT: u32 = 50;

/// The audit log, and what vouches for it
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    pub what: Audit,
}

#[derive(Debug, clap::Subcommand)]
pub enum Audit {
    /// The newest entries
    List(ListArgs),
    /// The fleet at an instant: who held which port, which sessions were open
    Replay(ReplayArgs),
    /// What changed between two instants
    Diff(DiffArgs),
    /// Why an event came about, and what came of it
    Explain(ExplainArgs),
    /// Everything about one environment, person, server or address
    Timeline(TimelineArgs),
    /// What another lockout, quota or allow-list would have decided in a period
    WhatIf(WhatIfArgs),
    /// Verify the log that is there, or a bundle without any server
    Verify(VerifyArgs),
    /// Write the log with what vouches for it into a file
    Export(ExportArgs),
    /// Who had access, who failed to log in, what was run and done; and whether a report is what the log says
    Report(ReportArgs),
    /// Sign everything up to now
    Anchor,
    /// The keys that sign, and signed
    Keys,
    /// Sign with another key from now on
    RotateKey,
    /// Write anchors: the service, which `portreeve audit` alone is too
    Run(Box<AuditServiceArgs>),
}

/// The verbs; without one of them `portreeve audit` is the service.
pub const VERBS: &[&str] = &[
    "list",
    "replay",
    "diff",
    "explain",
    "timeline",
    "what-if",
    "verify",
    "export",
    "report",
    "anchor",
    "keys",
    "rotate-key",
    "run",
    "help",
];

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// `user:<name>`, `token:<id>`, `service:<name>` or `sentry:<environment>`
    #[arg(long)]
    actor: Option<String>,
    /// For example EnvRequested
    #[arg(long = "type")]
    event_type: Option<String>,
    /// For example env
    #[arg(long)]
    kind: Option<String>,
    /// Of one aggregate
    #[arg(long)]
    id: Option<String>,
    /// At or after this time (RFC 3339)
    #[arg(long)]
    from: Option<String>,
    /// Before this time (RFC 3339)
    #[arg(long)]
    to: Option<String>,
    #[arg(long, default_value_t = LIMIT_DEFAULT)]
    limit: u32,
    /// The page after this one, as the last page's next_cursor says
    #[arg(long)]
    cursor: Option<String>,
}

impl AuditArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let (target, json) = (&self.target, self.target.json);
        match self.what {
            Audit::List(list) => list.run(target).await,
            Audit::Replay(replay) => replay.run(target).await,
            Audit::Diff(diff) => diff.run(target).await,
            Audit::Explain(explain) => explain.run(target).await,
            Audit::Timeline(timeline) => timeline.run(target).await,
            Audit::WhatIf(what_if) => what_if.run(target).await,
            Audit::Verify(verify) => verify.run(target).await,
            Audit::Export(export) => export.run(target).await,
            Audit::Report(report) => report.run(target).await,
            Audit::Anchor => {
                let anchored = target.connect()?.write(Method::POST, "/api/audit/anchor", None).await?;
                let upto = anchored["upto"].as_u64().unwrap_or_default();
                done(&anchored, &format!("everything up to event {upto} is vouched for"), json);
                Ok(())
            }
            Audit::Keys => {
                let keys = target.connect()?.get("/api/audit/keys", &[]).await?;
                show_all(items(&keys), KEY_COLUMNS, json);
                Ok(())
            }
            Audit::RotateKey => {
                let http = target.connect()?;
                let keys = http.get("/api/audit/keys", &[]).await?;
                let current = items(&keys).last().map(|key| key["key"].clone());
                let body = json!({"replaces": current});
                let key = http.write(Method::POST, "/api/audit/keys", Some(&body)).await?;
                done(&key, &format!("key {} signs from now on", key["key"]), json);
                Ok(())
            }
            // `main` runs it as what it is
            Audit::Run(_) => Err(ClientError::Usage("run is a service".to_owned())),
        }
    }
}

impl ListArgs {
    async fn run(self, target: &Target) -> Result<(), ClientError> {
        let query: Vec<(&str, String)> = [
            ("actor", self.actor),
            ("type", self.event_type),
            ("kind", self.kind),
            ("id", self.id),
            ("from", self.from),
            ("to", self.to),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        let page = target.connect()?.get("/api/audit", &query).await?;
        if target.json {
            table::print_json(&page);
        } else {
            table::print(&items(&page), COLUMNS);
        }
        Ok(())
    }
}
