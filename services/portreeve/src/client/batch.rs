//! `portreeve batch`: which commands were run on servers, which wait for a second person, and what does that one say?

use reqwest::Method;
use serde_json::{Value, json};

use super::env::{done, list_of, show_all, show_as};
use super::table::{self, Column};
use super::{ClientError, Target};

const LIST: &[Column] = &[
    ("BATCH", "batch_id"),
    ("STATUS", "status"),
    ("BY", "by"),
    ("SERVERS", "servers"),
    ("BEGUN", "created_at"),
    ("COMMAND", "command"),
];

const ONE: &[Column] = &[
    ("batch", "batch_id"),
    ("command", "command"),
    ("status", "status"),
    ("by", "by"),
    ("servers", "servers"),
    ("dangerous by", "approval/patterns"),
    ("to be approved until", "approval/until"),
    ("answer", "approval/answer"),
    ("answered by", "approval/by"),
    ("answered", "approval/at"),
    ("reason", "approval/reason"),
    ("asked for", "created_at"),
    ("called off", "cancelled_at"),
    ("stopped", "stopped_at"),
];

const COMMANDS: &[Column] = &[
    ("COMMAND", "command_id"),
    ("SERVER", "server_id"),
    ("STATUS", "status"),
    ("CODE", "exit_code"),
    ("CLASS", "class"),
    ("REASON", "reason"),
];

/// Commands on servers, and the approval of those that are marked dangerous
#[derive(Debug, clap::Args)]
pub struct BatchArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Batch,
}

#[derive(Debug, clap::Subcommand)]
enum Batch {
    /// All that you may see, newest first
    List {
        /// Those alone that wait for an approval
        #[arg(long)]
        awaiting: bool,
    },
    /// One, with what became of it on each server
    Show { batch: String },
    /// Let one begin that waits; not one's own
    Approve { batch: String },
    /// Keep one that waits from ever beginning; not one's own
    Reject {
        batch: String,
        /// Shown to who asked for it
        #[arg(long)]
        reason: Option<String>,
    },
    /// Call one off, also while it waits
    Cancel { batch: String },
}

impl BatchArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        let path = |batch: &str, below: &str| format!("/api/batches/{batch}{below}");
        match self.what {
            Batch::List { awaiting } => {
                let query: Vec<_> =
                    awaiting.then(|| ("status", "awaiting_approval".to_owned())).into_iter().collect();
                show_all(http.all("/api/batches", &query).await?, LIST, json);
            }
            Batch::Show { batch } => {
                let whole = http.get(&path(&batch, ""), &[]).await?;
                show_as(&whole, ONE, json);
                if !json {
                    table::out("\n");
                    table::print(&list_of(&whole, "commands"), COMMANDS);
                }
            }
            Batch::Approve { batch } => {
                done(&http.write(Method::POST, &path(&batch, "/approve"), None).await?, "approved", json);
            }
            Batch::Reject { batch, reason } => {
                let body = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
                let path = path(&batch, "/reject");
                done(&http.write(Method::POST, &path, Some(&body)).await?, "rejected", json);
            }
            Batch::Cancel { batch } => {
                done(&http.write(Method::POST, &path(&batch, "/cancel"), None).await?, "called off", json);
            }
        }
        Ok(())
    }
}

/// Said to who asked for a command that waits: for whom, until when, why.
pub fn waits(batch: &Value) -> String {
    let (id, until) = (table::cell(batch, "batch_id"), table::cell(batch, "approval/until"));
    let patterns = table::cell(batch, "approval/patterns");
    format!(
        "{id} waits until {until} for another operator or admin, because it is marked dangerous ({patterns}): \
         portreeve batch approve {id}"
    )
}

/// How the waiting for an approval ended, where it ended badly.
pub fn not_approved(batch: &Value) -> Option<String> {
    let text = |name: &str| table::cell(batch, name);
    match text("approval/answer").as_str() {
        "rejected" => {
            let reason = text("approval/reason");
            let why = if reason == "-" { String::new() } else { format!(": {reason}") };
            Some(format!("was rejected by {}{why}", text("approval/by")))
        }
        "expired" => Some("was approved by nobody in time".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_for_whom_and_how_it_ended() {
        let approval = json!({"until": "2026-01-03T03:04:05Z", "patterns": ["*reboot*"], "answer": null});
        let batch = json!({"batch_id": "bat-abc", "approval": approval});
        let said = waits(&batch);
        assert!(said.contains("until 2026-01-03T03:04:05Z") && said.contains("(*reboot*)"), "{said}");
        assert!(said.ends_with("portreeve batch approve bat-abc"), "{said}");
        assert_eq!(not_approved(&batch), None);
        let answered = |answer: Value| not_approved(&json!({ "approval": answer }));
        let rejected = json!({"answer": "rejected", "by": "bob", "reason": "no"});
        assert_eq!(answered(rejected).as_deref(), Some("was rejected by bob: no"));
        assert_eq!(answered(json!({"answer": "expired"})).as_deref(), Some("was approved by nobody in time"));
        assert_eq!(answered(json!({"answer": "approved", "by": "bob"})), None);
    }
}
