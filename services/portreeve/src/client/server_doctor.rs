//! `portreeve server doctor`: what is wrong with a server, step by step, and what is to be done?

use reqwest::Method;
use serde_json::{Value, json};

use super::http::Http;
use super::server::Named;
use super::table::{self, cell};
use super::{ClientError, env};

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    server: Named,
    /// Look at another account there; the registered one looks
    #[arg(long)]
    account: Option<String>,
}

impl DoctorArgs {
    pub async fn run(self, http: &Http, json: bool) -> Result<(), ClientError> {
        let path = self.server.path(http, "/doctor").await?;
        let body = self.account.map_or_else(|| json!({}), |account| json!({ "account": account }));
        let diagnosis = http.write(Method::POST, &path, Some(&body)).await?;
        if json {
            table::print_json(&diagnosis);
        } else {
            table::out(&shown(&env::list_of(&diagnosis, "findings")));
        }
        if diagnosis.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(());
        }
        let last = "cannot be used as it should be".to_owned();
        Err(ClientError::WentWrong { what: self.server.name().to_owned(), last })
    }
}

/// A step a line, its remedy below it.
pub fn shown(findings: &[Value]) -> String {
    let width = |field: &str| findings.iter().map(|one| cell(one, field).len()).max().unwrap_or_default();
    let (steps, states) = (width("step"), width("status"));
    let mut text = String::new();
    for one in findings {
        let (step, status, said) = (cell(one, "step"), cell(one, "status"), cell(one, "said"));
        text.push_str(&format!("{step:<steps$}  {status:<states$}  {said}\n"));
        let remedy = cell(one, "remedy");
        if remedy != "-" {
            text.push_str(&format!("{:steps$}  {:states$}  -> {remedy}\n", "", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_it_is_for() {
        let findings = [
            json!({"step": "name", "status": "ok", "said": "web is 10.0.0.1", "remedy": null}),
            json!({"step": "port", "status": "failed", "said": "refused", "remedy": "start sshd"}),
        ];
        let expected = "name  ok      web is 10.0.0.1\nport  failed  refused\n              -> start sshd\n";
        assert_eq!(shown(&findings), expected);
    }
}
