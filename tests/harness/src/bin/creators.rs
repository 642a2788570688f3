//! Who asks for environments at one moment, from a process of its own? So many people at once.
//!
//! `creators URL COUNT AT_MS`, the token in `CREATORS_TOKEN`; at that instant (milliseconds since
//! 1970) each asks for one. Prints a JSON list of what each was told in the end: the status, and the
//! code of a refusal.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use harness::Api;
use serde_json::json;

/// Somebody who is told to try again does so at most this often.
const TRIES_MAX: usize = 50;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: creators URL COUNT AT_MS");
    let (url, count, at_ms) = (next()?, next()?.parse::<usize>()?, next()?.parse()?);
    let api = Api::new(url, std::env::var("CREATORS_TOKEN").ok())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    tokio::time::sleep(Duration::from_millis(at_ms).saturating_sub(now)).await;
    let people: Vec<_> = (0..count).map(|_| tokio::spawn(one(api.clone()))).collect();
    let mut told = Vec::new();
    for person in people {
        told.push(person.await?);
    }
    println!("{}", json!(told));
    Ok(())
}

async fn one(api: Api) -> String {
    let key = format!("{:032x}", rand::random::<u128>());
    let body = json!({"name": "race", "resources": {"cpu": 0.25, "memory": 0.25}});
    let mut last = String::new();
    for _ in 0..TRIES_MAX {
        match api.post_once("/api/environments", &body, &key).await {
            Ok(answer) if answer.status == 202 => return "202".to_owned(),
            Ok(answer) => last = format!("{} {}", answer.status, answer.code()),
            Err(error) => last = format!("{error:#}"),
        }
        if !last.starts_with("503") {
            return last;
        }
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
    }
    last
}
