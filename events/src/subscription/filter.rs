//! Does somebody want to be told of this event? If it is of the types, kinds and ids that they named.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Recorded;

/// All that is named must fit; what is empty means any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Filter {
    /// Event types.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub types: BTreeSet<String>,
    /// Kinds of aggregates, as subjects name them: a kind that this release does not know fits nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<String>,
    /// Ids of aggregates.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ids: BTreeSet<String>,
}

impl Filter {
    pub fn wants(&self, event: &Recorded) -> bool {
        let fits = |wanted: &BTreeSet<String>, is: &str| wanted.is_empty() || wanted.contains(is);
        fits(&self.types, event.event.event_type())
            && fits(&self.kinds, event.subject.kind.wire_name())
            && fits(&self.ids, &event.subject.id)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::catalogue::{Event, Kind};
    use crate::envelope::Cause;
    use crate::ids::TenantId;
    use crate::subject::Subject;
    use crate::tenant::{TenantEvent, TenantRegistered};
    use crate::testing::t;

    #[test]
    fn all_that_is_named_must_fit() {
        let tenant = TenantId::parse("acme").unwrap();
        let event = TenantEvent::from(TenantRegistered { name: "Acme".into() });
        let event = Recorded {
            seq: 1,
            subject: Subject::new(tenant, Kind::Tenant, "acme"),
            meta: Cause::new(Uuid::nil(), "user:alice").meta(0, t(0)),
            event: Event::from(event),
        };
        let set = |text: &str| BTreeSet::from([text.to_owned()]);
        let any = Filter::default();
        let fitting = Filter { types: set("TenantRegistered"), kinds: set("tenant"), ids: set("acme") };
        assert!(any.wants(&event) && fitting.wants(&event));
        for other in [
            Filter { types: set("QuotaSet"), ..fitting.clone() },
            Filter { kinds: set("quota"), ..fitting.clone() },
            Filter { ids: set("other"), ..fitting },
            Filter { kinds: set("of a later release"), ..any },
        ] {
            assert!(!other.wants(&event), "{other:?}");
        }
    }
}
