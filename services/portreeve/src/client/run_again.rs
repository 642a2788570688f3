//! `portreeve run --again`: what did a batch run, where, and how? The same once more, or only where it went wrong.

use serde_json::{Map, Value, json};

use super::ClientError;
use super::http::Http;
use super::table;

/// What is taken over from the batch; what it does not say is left out.
const TAKEN: [&str; 5] = ["command", "timeout_ms", "idempotent", "concurrency", "stop_after_failures"];

/// The request that begins it.
pub async fn body(http: &Http, batch: &str, failed: bool) -> Result<Map<String, Value>, ClientError> {
    let path = format!("/api/batches/{batch}");
    let before = http.get(&path, &[("limit", "1".to_owned())]).await?;
    let sifted: Vec<_> = failed.then(|| ("ok", "false".to_owned())).into_iter().collect();
    let commands = http.all(&format!("{path}/commands"), &sifted).await?;
    if commands.is_empty() {
        let last = match table::cell(&before, "status").as_str() {
            "ended" => "ended with 0 everywhere",
            _ => "went wrong nowhere so far",
        };
        return Err(ClientError::WentWrong { what: format!("batch {batch}"), last: last.to_owned() });
    }
    Ok(request(&before, &commands))
}

fn request(before: &Value, commands: &[Value]) -> Map<String, Value> {
    let taken = TAKEN.iter().filter_map(|field| {
        let value = before.get(*field).filter(|value| !value.is_null())?;
        Some(((*field).to_owned(), value.clone()))
    });
    let mut body: Map<String, Value> = taken.collect();
    let servers: Vec<&Value> = commands.iter().filter_map(|command| command.get("server_id")).collect();
    body.insert("servers".to_owned(), json!(servers));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_run_as_it_was_run_before() {
        let before = json!({"batch_id": "bat-abcdefghijkl", "command": "uptime", "timeout_ms": 9000,
            "idempotent": true, "concurrency": 7, "stop_after_failures": null, "servers": 2, "counts": {}});
        let commands = [json!({"server_id": "srv-a", "status": "failed"})];
        let expected = json!({"command": "uptime", "timeout_ms": 9000, "idempotent": true, "concurrency": 7,
            "servers": ["srv-a"]});
        assert_eq!(Value::Object(request(&before, &commands)), expected);
    }
}
