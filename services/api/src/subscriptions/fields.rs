//! What does somebody say of a subscription? The fields of a new one and of a change, with their limits.

use std::collections::BTreeSet;

use events::CATALOGUE;
use events::subscription::{Delivery, Filter, SubscriptionSet};
use serde_json::Value;
use utoipa::ToSchema;

use crate::access::Caller;
use crate::fields::{self, Fields, Wrong};
use crate::problem::Problem;
use crate::readers;
use crate::routes::event_stream;
use crate::scope::tells_of;
use crate::webhooks::WebhookSettings;
use crate::webhooks::target::Target;

const TYPES_MAX: usize = 100;
const KINDS_MAX: usize = 20;
const IDS_MAX: usize = 100;
const ID_LENGTH_MAX: usize = 63;
/// Sequences are counted from 1.
const SEQUENCE_MAX: u64 = i64::MAX.unsigned_abs();

/// What somebody wants to be told, and how. All that is named must fit; what is left out means any.
#[derive(ToSchema)]
#[schema(as = SubscriptionAsked, example = json!({
    "name": "to the archive", "kinds": ["env", "session"], "url": "https://hooks.example.org/portreeve",
}))]
#[allow(dead_code)] // a description; what is read becomes a `SubscriptionSet`
pub struct AskedShape {
    /// Any text of 1 to 63 characters; not unique.
    name: String,
    /// Event types, at most 100.
    types: Option<Vec<String>>,
    /// Kinds of aggregates, at most 20.
    kinds: Option<Vec<String>>,
    /// Ids of aggregates, at most 100.
    ids: Option<Vec<String>>,
    /// A webhook: each event is posted there. It stands in the log, so it must hold no secret. Without it somebody
    /// asks: `GET /api/subscriptions/{id}/events`.
    url: Option<String>,
    /// The first sequence wanted; what happens from now on when absent.
    from: Option<u64>,
}

/// What changes of a subscription; what is left out stays. An empty list means any.
#[derive(ToSchema)]
#[schema(as = SubscriptionChange, example = json!({"paused": false}))]
#[allow(dead_code)] // a description; what is read becomes a `Change`
pub struct ChangeShape {
    name: Option<String>,
    types: Option<Vec<String>>,
    kinds: Option<Vec<String>>,
    ids: Option<Vec<String>>,
    /// Of a webhook.
    url: Option<String>,
    /// `true`: nothing is delivered until it is `false` again; then it goes on where it was, and what failed is tried
    /// at once.
    paused: Option<bool>,
}

/// What was read of a new one.
pub struct Asked {
    pub name: String,
    pub filter: Filter,
    pub url: Option<String>,
    pub from: Option<u64>,
}

/// What was read of a change.
pub struct Change {
    pub name: Option<String>,
    pub types: Option<BTreeSet<String>>,
    pub kinds: Option<BTreeSet<String>>,
    pub ids: Option<BTreeSet<String>>,
    pub url: Option<String>,
    pub paused: Option<bool>,
}

impl Change {
    /// Something other than the pause changes.
    pub fn sets(&self) -> bool {
        let lists = [&self.types, &self.kinds, &self.ids];
        self.name.is_some() || self.url.is_some() || lists.iter().any(|list| list.is_some())
    }

    /// What is set then, by the caller's rights; `None` where there is no url to change.
    pub fn of(&self, before: &SubscriptionSet, caller: &Caller) -> Option<SubscriptionSet> {
        let delivery = match (&before.delivery, &self.url) {
            (Delivery::Webhook { secret, .. }, Some(url)) => {
                Delivery::Webhook { url: url.clone(), secret: secret.clone() }
            }
            (Delivery::Pull, Some(_)) => return None,
            (delivery, None) => delivery.clone(),
        };
        let list = |changed: &Option<BTreeSet<String>>, before: &BTreeSet<String>| {
            changed.clone().unwrap_or_else(|| before.clone())
        };
        Some(SubscriptionSet {
            name: self.name.clone().unwrap_or_else(|| before.name.clone()),
            filter: Filter {
                types: list(&self.types, &before.filter.types),
                kinds: list(&self.kinds, &before.filter.kinds),
                ids: list(&self.ids, &before.filter.ids),
            },
            delivery,
            after: before.after,
            by: caller.owner.clone(),
            actor: caller.actor.clone(),
            role: caller.role,
        })
    }
}

pub fn asked(body: &Value, caller: &Caller, settings: &WebhookSettings) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::label);
    let (types, kinds, ids) = lists(&mut fields, caller);
    let filter = Filter {
        types: types.unwrap_or_default(),
        kinds: kinds.unwrap_or_default(),
        ids: ids.unwrap_or_default(),
    };
    let url = fields.optional("url", |value| url(value, settings));
    let from = fields.optional("from", fields::whole(1, SEQUENCE_MAX));
    fields.finish(name.map(|name| Asked { name, filter, url, from }))
}

pub fn change(body: &Value, caller: &Caller, settings: &WebhookSettings) -> Result<Change, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.optional("name", readers::label);
    let (types, kinds, ids) = lists(&mut fields, caller);
    let url = fields.optional("url", |value| url(value, settings));
    let paused = fields.optional("paused", fields::boolean);
    fields.finish(Some(Change { name, types, kinds, ids, url, paused }))
}

/// A position that somebody acknowledges, and whether it may go back.
pub fn position(body: &Value) -> Result<(u64, bool), Problem> {
    let mut fields = Fields::of(body);
    let sequence = fields.required("sequence", fields::whole(0, SEQUENCE_MAX));
    let reset = fields.optional("reset", fields::boolean).unwrap_or_default();
    fields.finish(sequence.map(|sequence| (sequence, reset)))
}

type List = Option<BTreeSet<String>>;

fn lists(fields: &mut Fields<'_>, caller: &Caller) -> (List, List, List) {
    let types = fields.list("types", TYPES_MAX, |value| event_type(value, caller));
    let kinds = fields.list("kinds", KINDS_MAX, |value| kind(value, caller));
    let ids = fields.list("ids", IDS_MAX, fields::text(1, ID_LENGTH_MAX));
    (said(fields, "types", types), said(fields, "kinds", kinds), said(fields, "ids", ids))
}

fn said(fields: &Fields<'_>, name: &str, list: Vec<String>) -> List {
    fields.has(name).then(|| list.into_iter().collect())
}

fn event_type(value: &Value, caller: &Caller) -> Result<String, Wrong> {
    let name = read(value, event_stream::event_type)?;
    let row = CATALOGUE.iter().find(|row| row.name == name);
    if row.is_some_and(|row| !tells_of(caller, row.kind)) {
        return Err(untold());
    }
    Ok(name)
}

fn kind(value: &Value, caller: &Caller) -> Result<String, Wrong> {
    let kind = read(value, event_stream::kind)?;
    if tells_of(caller, kind) { Ok(kind.wire_name().to_owned()) } else { Err(untold()) }
}

fn untold() -> Wrong {
    Wrong::new("not_allowed", "is nothing that a subscription of yours may tell; leave it out")
}

fn url(value: &Value, settings: &WebhookSettings) -> Result<String, Wrong> {
    let text = read(value, |text| Ok(text.to_owned()))?;
    let target = Target::parse(&text).map_err(|why| Wrong::new("malformed", why))?;
    settings.admits(&target).map_err(|why| Wrong::new("not_allowed", why))?;
    Ok(text)
}

fn read<T>(value: &Value, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    read(text).map_err(|why| Wrong::new("malformed", why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::ids::{SubscriptionId, TenantId, UserName};
    use events::user::Role;
    use serde_json::json;

    use super::*;

    fn caller(role: Role) -> Caller {
        Caller {
            actor: "user:me".to_owned(),
            owner: UserName::parse("me").unwrap(),
            tenant: TenantId::parse("a").unwrap(),
            role,
            sign_in: None,
        }
    }

    fn wrong(role: Role, body: &Value) -> Vec<(String, &'static str)> {
        let named = |problem: Problem| {
            problem.errors().iter().map(|error| (error.field.clone(), error.code)).collect()
        };
        let asked = asked(body, &caller(role), &WebhookSettings::default());
        asked.err().map(named).unwrap_or_default()
    }

    #[test]
    fn each_wrong_field_is_named() {
        let right = json!({"name": "one", "kinds": ["env"], "types": ["EnvRequested"], "ids": ["env-a"],
            "url": "https://example.org/hook?a=1", "from": 1});
        assert_eq!(wrong(Role::Operator, &right), []);
        let cases = [
            (json!({}), "name", "missing"),
            (json!({"name": "one", "kinds": ["nothing"]}), "kinds[0]", "malformed"),
            (json!({"name": "one", "kinds": ["env", "credential"]}), "kinds[1]", "not_allowed"),
            (json!({"name": "one", "kinds": ["subscription"]}), "kinds[0]", "not_allowed"),
            (json!({"name": "one", "kinds": ["request"]}), "kinds[0]", "not_allowed"),
            (json!({"name": "one", "types": ["PasswordIssued"]}), "types[0]", "not_allowed"),
            (json!({"name": "one", "types": ["Nothing"]}), "types[0]", "malformed"),
            (json!({"name": "one", "url": "http://example.org/"}), "url", "not_allowed"),
            (json!({"name": "one", "url": "https://10.0.0.1/"}), "url", "not_allowed"),
            (json!({"name": "one", "url": "https://me:secret@example.org/"}), "url", "malformed"),
            (json!({"name": "one", "from": 0}), "from", "out_of_range"),
            (json!({"name": "one", "paused": true}), "paused", "unknown"),
        ];
        for (body, field, code) in cases {
            assert_eq!(wrong(Role::Operator, &body), [(field.to_owned(), code)], "{body}");
        }
        assert_eq!(wrong(Role::Admin, &json!({"name": "one", "kinds": ["request", "sign_in"]})), []);
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let me = caller(Role::Operator);
        let read = |body: Value| change(&body, &me, &WebhookSettings::default()).unwrap();
        let secret = events::credential::SecretRef::webhook(
            &SubscriptionId::from_seed(&uuid::Uuid::nil()),
            uuid::Uuid::nil(),
        );
        let before = SubscriptionSet {
            name: "one".to_owned(),
            filter: Filter { kinds: ["env".to_owned()].into(), ..Filter::default() },
            delivery: Delivery::Webhook { url: "https://example.org/".to_owned(), secret: secret.clone() },
            after: 7,
            by: me.owner.clone(),
            actor: me.actor.clone(),
            role: Role::Operator,
        };
        let named = read(json!({"name": "other"})).of(&before, &me).unwrap();
        assert_eq!(named, SubscriptionSet { name: "other".to_owned(), ..before.clone() });
        let moved = read(json!({"url": "https://example.net/", "kinds": []})).of(&before, &me).unwrap();
        assert_eq!(moved.delivery, Delivery::Webhook { url: "https://example.net/".to_owned(), secret });
        assert!(moved.filter.kinds.is_empty(), "an empty list means any");
        let pull = SubscriptionSet { delivery: Delivery::Pull, ..before };
        assert!(read(json!({"url": "https://example.net/"})).of(&pull, &me).is_none());
        assert!(!read(json!({"paused": true})).sets() && read(json!({"ids": []})).sets());
    }

    #[test]
    fn a_position_is_a_sequence() {
        assert_eq!(position(&json!({"sequence": 7})).unwrap(), (7, false));
        assert_eq!(position(&json!({"sequence": 0, "reset": true})).unwrap(), (0, true));
        assert!(position(&json!({"sequence": -1})).is_err() && position(&json!({})).is_err());
    }
}
