//! `portreeve subscription`: who wants to be told of which events, how far are they, and what could not be delivered?

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::env::{done, items, show_all, show_as};
use super::http::Http;
use super::table::{self, Column};
use super::{ClientError, Target};

const LIST: &[Column] = &[
    ("SUBSCRIPTION", "subscription_id"),
    ("NAME", "name"),
    ("STATUS", "status"),
    ("DELIVERY", "delivery"),
    ("POSITION", "position"),
    ("BEHIND", "lag_events"),
    ("SECONDS", "lag_s"),
    ("PARKED", "parked"),
    ("FAILING", "failing/class"),
    ("BY", "by"),
    ("URL", "url"),
];

const ONE: &[Column] = &[
    ("subscription", "subscription_id"),
    ("name", "name"),
    ("status", "status"),
    ("why", "why"),
    ("by", "by"),
    ("delivery", "delivery"),
    ("url", "url"),
    ("types", "types"),
    ("kinds", "kinds"),
    ("ids", "ids"),
    ("position", "position"),
    ("head", "head"),
    ("events behind", "lag_events"),
    ("seconds behind", "lag_s"),
    ("failing event", "failing/sequence"),
    ("attempts", "failing/attempts"),
    ("failure", "failing/class"),
    ("HTTP status", "failing/http_status"),
    ("next attempt", "failing/next_at"),
    ("parked", "parked"),
    ("old secret until", "previous_secret_until"),
    ("set", "created_at"),
];

const PARKED: &[Column] = &[
    ("EVENT", "sequence"),
    ("WEBHOOK-ID", "event_id"),
    ("ATTEMPTS", "attempts"),
    ("FAILURE", "class"),
    ("STATUS", "http_status"),
    ("PARKED", "at"),
    ("RETRYING", "retrying"),
];

const SAVED: &[Column] = &[
    ("subscription", "subscription_id"),
    ("secret, shown this once", "secret"),
    ("old secret until", "previous_until"),
];

/// Events that somebody is told, by webhook or when they ask
#[derive(Debug, clap::Args)]
pub struct SubscriptionArgs {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    what: Subscription,
}

#[derive(Debug, clap::Subcommand)]
enum Subscription {
    /// Be told of events; prints the signing secret of a webhook, once
    Add(Add),
    /// All subscriptions, with how far each is behind
    List,
    /// One subscription
    Show(Named),
    /// Deliver nothing until it is resumed
    Pause(Named),
    /// Go on where it was; what failed is tried at once
    Resume(Named),
    /// Remove it, and what is parked of it
    Remove(Named),
    /// Sign with another secret, which is printed once
    RotateSecret(Rotate),
    /// What could not be delivered
    Parked(Named),
    /// Try a parked delivery once more
    Retry(Delivery),
    /// Give a parked delivery up
    Drop(Delivery),
}

#[derive(Debug, clap::Args)]
struct Add {
    name: String,
    /// Post each event there; without it somebody asks
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Only events of this type, for example EnvRequested
    #[arg(long = "type")]
    types: Vec<String>,
    /// Only events of this kind of aggregate, for example env
    #[arg(long = "kind")]
    kinds: Vec<String>,
    /// Only events of this aggregate
    #[arg(long = "id")]
    ids: Vec<String>,
    /// The first sequence wanted; what happens from now on if not given
    #[arg(long)]
    from: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// Id or name
    subscription: String,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    #[command(flatten)]
    named: Named,
    /// So many seconds deliveries are signed with the secret before, too; a day if not given
    #[arg(long)]
    overlap_s: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Delivery {
    #[command(flatten)]
    named: Named,
    /// Sequence of the event, as `parked` shows it
    event: u64,
}

impl SubscriptionArgs {
    pub async fn run(self) -> Result<(), ClientError> {
        let http = self.target.connect()?;
        let json = self.target.json;
        match self.what {
            Subscription::Add(add) => {
                let saved = http.write(Method::POST, "/api/subscriptions", Some(&add.body())).await?;
                show_as(&saved, SAVED, json);
            }
            Subscription::List => show_all(http.all("/api/subscriptions", &[]).await?, LIST, json),
            Subscription::Show(named) => {
                show_as(&http.get(&named.path(&http).await?, &[]).await?, ONE, json);
            }
            Subscription::Pause(named) => named.pause(&http, true, "paused", json).await?,
            Subscription::Resume(named) => named.pause(&http, false, "resumed", json).await?,
            Subscription::Remove(named) => {
                let path = named.path(&http).await?;
                done(&http.write(Method::DELETE, &path, None).await?, "removed", json);
            }
            Subscription::RotateSecret(rotate) => {
                let path = format!("{}/rotate-secret", rotate.named.path(&http).await?);
                let overlap = rotate.overlap_s.map(|overlap_s| ("overlap_s".to_owned(), json!(overlap_s)));
                let body = Value::Object(overlap.into_iter().collect());
                show_as(&http.write(Method::POST, &path, Some(&body)).await?, SAVED, json);
            }
            Subscription::Parked(named) => {
                let found = http.get(&format!("{}/parked", named.path(&http).await?), &[]).await?;
                show_all(items(&found), PARKED, json);
            }
            Subscription::Retry(delivery) => {
                let path = format!("{}/retry", delivery.path(&http).await?);
                done(&http.write(Method::POST, &path, None).await?, "to be tried", json);
            }
            Subscription::Drop(delivery) => {
                let path = delivery.path(&http).await?;
                done(&http.write(Method::DELETE, &path, None).await?, "dropped", json);
            }
        }
        Ok(())
    }
}

impl Add {
    fn body(&self) -> Value {
        let mut body = Map::from_iter([("name".to_owned(), json!(self.name))]);
        body.extend(self.webhook.as_ref().map(|url| ("url".to_owned(), json!(url))));
        body.extend(self.from.map(|from| ("from".to_owned(), json!(from))));
        for (field, values) in [("types", &self.types), ("kinds", &self.kinds), ("ids", &self.ids)] {
            if !values.is_empty() {
                body.insert(field.to_owned(), json!(values));
            }
        }
        Value::Object(body)
    }
}

impl Named {
    async fn pause(
        &self,
        http: &Http,
        paused: bool,
        what: &'static str,
        json: bool,
    ) -> Result<(), ClientError> {
        let path = self.path(http).await?;
        done(&http.write(Method::PATCH, &path, Some(&json!({"paused": paused}))).await?, what, json);
        Ok(())
    }

    /// The path of the subscription's resource; a name is looked up.
    async fn path(&self, http: &Http) -> Result<String, ClientError> {
        if self.subscription.starts_with("sub-") {
            return Ok(format!("/api/subscriptions/{}", self.subscription));
        }
        let all = http.all("/api/subscriptions", &[]).await?;
        let of_name = all.iter().filter(|one| table::cell(one, "name") == self.subscription);
        let ids: Vec<String> = of_name.map(|one| table::cell(one, "subscription_id")).collect();
        let name = self.subscription.clone();
        match ids.as_slice() {
            [id] => Ok(format!("/api/subscriptions/{id}")),
            [] => Err(ClientError::Name { name, why: "no subscription has it".to_owned() }),
            several => {
                let why = format!("several subscriptions have it: {}", several.join(", "));
                Err(ClientError::Name { name, why })
            }
        }
    }
}

impl Delivery {
    async fn path(&self, http: &Http) -> Result<String, ClientError> {
        Ok(format!("{}/parked/{}", self.named.path(http).await?, self.event))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        subscription: SubscriptionArgs,
    }

    #[test]
    fn what_is_wanted_becomes_the_body_and_what_is_not_said_is_left_out() {
        let line = |rest: &[&str]| Line::try_parse_from([&["portreeve"][..], rest].concat());
        let words = [
            "add",
            "archive",
            "--kind",
            "env",
            "--kind",
            "session",
            "--webhook",
            "https://a.example/",
            "--from",
            "1",
        ];
        let Subscription::Add(add) = line(&words).unwrap().subscription.what else { panic!("add") };
        let expected =
            json!({"name": "archive", "kinds": ["env", "session"], "url": "https://a.example/", "from": 1});
        assert_eq!(add.body(), expected);
        let Subscription::Add(add) = line(&["add", "all"]).unwrap().subscription.what else { panic!("add") };
        assert_eq!(add.body(), json!({"name": "all"}));
        assert!(line(&["retry", "archive", "42"]).is_ok() && line(&["rotate-secret", "archive"]).is_ok());
        for wrong in
            [&["add"][..], &["retry", "archive"], &["drop", "archive", "x"], &["add", "a", "--from", "x"]]
        {
            assert!(line(wrong).is_err(), "{wrong:?}");
        }
    }
}
