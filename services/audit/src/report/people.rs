//! Who is behind a name of the log? Tokens act in somebody's name; people and tokens lie under the system's tenant and
//! belong to another.

use std::collections::BTreeMap;

use events::ids::{TenantId, UserName};
use events::token::TokenEvent;
use events::user::UserEvent;
use events::{Event, Kind, Recorded};

/// Everybody who was there so far.
#[derive(Default)]
pub struct People {
    users: BTreeMap<String, TenantId>,
    tokens: BTreeMap<String, (TenantId, UserName)>,
}

impl People {
    pub fn take(&mut self, event: &Recorded) {
        let id = || event.subject.id.clone();
        if let Event::User(UserEvent::UserRegistered(registered)) = &event.event {
            self.users.insert(id(), registered.tenant.clone());
        }
        if let Event::Token(TokenEvent::TokenIssued(issued)) = &event.event {
            self.tokens.insert(id(), (issued.tenant.clone(), issued.owner.clone()));
        }
    }

    /// Whose event it is.
    pub fn tenant_of(&self, event: &Recorded) -> TenantId {
        let id = event.subject.id.as_str();
        let known = if event.subject.kind == Kind::User {
            self.users.get(id)
        } else if event.subject.kind == Kind::Token {
            self.tokens.get(id).map(|(tenant, _)| tenant)
        } else {
            None
        };
        known.unwrap_or(&event.subject.tenant).clone()
    }

    /// In whose name somebody acted; `None` of a service.
    pub fn person<'a>(&'a self, actor: &'a str) -> Option<&'a str> {
        match actor.split_once(':') {
            Some(("user", name)) => Some(name),
            Some(("token", id)) => self.tokens.get(id).map(|(_, owner)| owner.as_str()),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use events::token::{TokenIssued, TokenRevoked};
    use events::user::Role;

    use super::super::testing::of;
    use super::*;

    #[test]
    fn a_token_belongs_to_its_tenant_and_acts_for_its_owner() {
        let mut people = People::default();
        let issued = TokenIssued {
            tenant: TenantId::parse("blue").unwrap(),
            name: "ci".into(),
            role: Role::Operator,
            owner: UserName::parse("alice").unwrap(),
            digest: "d".into(),
            expires_at: None,
        };
        let revoked =
            of("_sys", 2, Kind::Token, "tok-abcdefghijkl", TokenEvent::TokenRevoked(TokenRevoked {}));
        assert!(people.tenant_of(&revoked).is_system(), "nobody knows it yet");
        people.take(&of("_sys", 1, Kind::Token, "tok-abcdefghijkl", TokenEvent::TokenIssued(issued)));
        assert_eq!(people.tenant_of(&revoked).as_str(), "blue");
        assert_eq!(people.person("token:tok-abcdefghijkl"), Some("alice"));
        assert_eq!((people.person("user:bob"), people.person("service:relay")), (Some("bob"), None));
    }
}
