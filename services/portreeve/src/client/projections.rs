//! `portreeve projections`: how far are the read models, and are they being built anew?

use reqwest::Method;

use super::env::{done, items, show_all};
use super::table::Column;
use super::{ClientError, Target};

const COLUMNS: &[Column] = &[
    ("PROJECTION", "name"),
    ("STATE", "state"),
    ("POSITION", "position"),
    ("HEAD", "head"),
    ("LAG", "lag"),
    ("PARKED SUBJECTS", "parked_subjects"),
];

/// The read models
#[derive(Debug, clap::Args)]
pub struct ProjectionsArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Projections,
}

#[derive(Debug, clap::Subcommand)]
enum Projections {
    /// Position, head and lag of each
    Status,
    /// Build one anew from the log, beside the one in use
    Rebuild { name: String },
}

impl ProjectionsArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        match self.what {
            Projections::Status => {
                let status = http.get("/api/projections", &[]).await?;
                show_all(items(&status), COLUMNS, json);
            }
            Projections::Rebuild { name } => {
                let path = format!("/api/projections/{name}/rebuild");
                done(&http.write(Method::POST, &path, None).await?, "a rebuild is asked for", json);
            }
        }
        Ok(())
    }
}
