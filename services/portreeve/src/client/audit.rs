//! `portreeve audit list`: who did what, newest first?

use super::env::items;
use super::table::{self, Column};
use super::{ClientError, Target};

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

/// Entries shown when nothing else is said.
const LIMIT_DEFAULT: u32 = 50;

/// The audit log
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Audit,
}

#[derive(Debug, clap::Subcommand)]
enum Audit {
    /// The newest entries
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
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
        let Audit::List(list) = self.what;
        let query: Vec<(&str, String)> = [
            ("actor", list.actor),
            ("type", list.event_type),
            ("kind", list.kind),
            ("id", list.id),
            ("from", list.from),
            ("to", list.to),
            ("limit", Some(list.limit.to_string())),
            ("cursor", list.cursor),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        let http = self.target.connect()?;
        let page = http.get("/api/audit", &query).await?;
        if self.target.json {
            table::print_json(&page);
        } else {
            table::print(&items(&page), COLUMNS);
        }
        Ok(())
    }
}
