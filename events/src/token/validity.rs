//! Does this token open anything now?

use chrono::{DateTime, Utc};

use super::{Token, TokenIssued};

pub fn valid(state: &Token, now: DateTime<Utc>) -> Option<&TokenIssued> {
    let issued = state.issued.as_ref()?;
    let expired = issued.expires_at.is_some_and(|end| end <= now);
    (!state.revoked && !expired).then_some(issued)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{TenantId, UserName};
    use crate::testing::{given, t};
    use crate::token::TokenRevoked;
    use crate::user::Role;

    #[test]
    fn an_expired_or_revoked_token_opens_nothing() {
        let issued = TokenIssued {
            tenant: TenantId::parse("acme").unwrap(),
            name: "ci".into(),
            role: Role::Developer,
            owner: UserName::parse("alice").unwrap(),
            digest: "00".into(),
            expires_at: Some(t(60)),
        };
        let state = given::<Token>(vec![(0, issued.clone().into())]);
        assert!(valid(&state, t(59)).is_some());
        assert!(valid(&state, t(60)).is_none());
        let revoked = given::<Token>(vec![(0, issued.into()), (1, TokenRevoked {}.into())]);
        assert!(valid(&revoked, t(2)).is_none());
    }
}
