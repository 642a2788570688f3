//! Who may see and do what? Pure rules over role, tenant and owner.
//!
//! | role | sees | does |
//! | --- | --- | --- |
//! | admin | everything in every tenant | everything |
//! | operator | the tenant's environments, servers, sessions, logins, keys, audit log | everything with the tenant's environments and servers, rebuilds |
//! | developer | own environments, keys and tokens; servers that are granted | everything with those; on servers what is granted |
//! | auditor | everything of the tenant, who it is and what it asked included | nothing |
//!
//! What somebody may not see does not exist for them (404); what they see and may not do is
//! `forbidden` (403).

use events::Kind;
use events::ids::{SignInId, TenantId, UserName};
use events::user::Role;

use crate::problem::Problem;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// `user:<name>` or `token:<id>`; the actor of the events it causes.
    pub actor: String,
    /// In whose name it acts: the owner of what it makes.
    pub owner: UserName,
    pub tenant: TenantId,
    pub role: Role,
    /// By which it acts, unless it showed an API token with this request: what is opened so ends with it.
    pub sign_in: Option<SignInId>,
}

/// Whose something is; `None` where it belongs to nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Whose {
    pub tenant: Option<TenantId>,
    pub owner: Option<UserName>,
}

impl Caller {
    /// Whether the things of this owner in this tenant exist for the caller.
    pub fn sees(&self, tenant: &TenantId, owner: Option<&UserName>) -> bool {
        match self.role {
            Role::Admin => true,
            Role::Operator | Role::Auditor => *tenant == self.tenant,
            Role::Developer => *tenant == self.tenant && owner == Some(&self.owner),
            Role::Enroller => false,
        }
    }

    /// An event in a tap. What people are and what they asked (`user`, `sign_in`, `token`, `request`) is shown
    /// to admins and auditors only; ports and limits are no person's and not shown to developers.
    pub fn sees_event(&self, kind: Kind, whose: &Whose) -> bool {
        let Some(tenant) = &whose.tenant else { return self.role == Role::Admin };
        match kind {
            Kind::User | Kind::SignIn | Kind::Token | Kind::Request => {
                matches!(self.role, Role::Admin | Role::Auditor) && self.sees(tenant, whose.owner.as_ref())
            }
            Kind::Tenant => {
                self.role == Role::Admin || (*tenant == self.tenant && self.role != Role::Enroller)
            }
            Kind::Quota
            | Kind::Env
            | Kind::Port
            | Kind::Credential
            | Kind::SshKey
            | Kind::Login
            | Kind::Session
            | Kind::Server
            | Kind::Access
            | Kind::Relay
            | Kind::Batch
            | Kind::Command
            | Kind::Schedule
            | Kind::Subscription
            | Kind::NatsTap => self.sees(tenant, whose.owner.as_ref()),
        }
    }

    /// The tenant a list is confined to; `None` means all.
    pub fn tenant_seen(&self) -> Option<&TenantId> {
        (self.role != Role::Admin).then_some(&self.tenant)
    }

    /// The owner a list is confined to; `None` means all.
    pub fn owner_seen(&self) -> Option<&UserName> {
        matches!(self.role, Role::Developer | Role::Enroller).then_some(&self.owner)
    }

    /// Whether it acts by this sign-in.
    pub fn is_by(&self, sign_in: &str) -> bool {
        self.sign_in.as_ref().is_some_and(|own| own.as_str() == sign_in)
    }

    /// Auditors change nothing.
    pub fn may_write(&self) -> Result<(), Problem> {
        self.needs(&[Role::Admin, Role::Operator, Role::Developer])
    }

    pub fn needs(&self, roles: &[Role]) -> Result<(), Problem> {
        if roles.contains(&self.role) {
            return Ok(());
        }
        let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
        let detail = format!("this needs the role {}; you are {}", names.join(" or "), self.role.name());
        Err(Problem::new("forbidden", detail))
    }

    /// Nobody hands out more rights than they have: an admin any, an operator those of operators
    /// and developers and of who registers relays, a developer its own.
    pub fn may_issue(&self, tenant: &TenantId, role: Role) -> Result<(), Problem> {
        let within = match self.role {
            Role::Admin => return Ok(()),
            Role::Operator => matches!(role, Role::Operator | Role::Developer | Role::Enroller),
            Role::Developer => role == Role::Developer,
            Role::Auditor | Role::Enroller => false,
        };
        if within && *tenant == self.tenant {
            return Ok(());
        }
        let (mine, asked) = (self.role.name(), role.name());
        let detail = format!("a token has no more rights than its maker: {mine} in {}", self.tenant);
        Err(Problem::new("forbidden", format!("{detail}; asked was {asked} in {tenant}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const ROLES: [Role; 5] = Role::ALL;

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    fn name(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    fn caller(role: Role) -> Caller {
        Caller { actor: "user:me".to_owned(), owner: name("me"), tenant: tenant("a"), role, sign_in: None }
    }

    fn whose(id: Option<&str>, owner: Option<&str>) -> Whose {
        Whose { tenant: id.map(tenant), owner: owner.map(name) }
    }

    #[test]
    fn another_tenants_thing_exists_for_admins_alone() {
        for role in ROLES {
            assert_eq!(caller(role).sees(&tenant("b"), Some(&name("me"))), role == Role::Admin, "{role:?}");
            for kind in Kind::ALL {
                let seen = caller(role).sees_event(*kind, &whose(Some("b"), Some("me")));
                assert_eq!(seen, role == Role::Admin, "{role:?} {kind:?}");
                assert_eq!(caller(role).sees_event(*kind, &whose(None, None)), role == Role::Admin);
            }
        }
    }

    #[test]
    fn a_developer_sees_its_own_alone_and_an_enroller_nothing() {
        for role in ROLES.into_iter().filter(|role| *role != Role::Enroller) {
            let other = caller(role).sees(&tenant("a"), Some(&name("other")));
            assert_eq!(other, role != Role::Developer, "{role:?}");
            assert!(caller(role).sees(&tenant("a"), Some(&name("me"))));
        }
        let developer = caller(Role::Developer);
        assert!(developer.sees_event(Kind::Env, &whose(Some("a"), Some("me"))));
        assert!(!developer.sees_event(Kind::Quota, &whose(Some("a"), None)));
        assert!(developer.sees_event(Kind::Tenant, &whose(Some("a"), None)));
        let enroller = caller(Role::Enroller);
        assert!(!enroller.sees(&tenant("a"), Some(&name("me"))));
        for kind in Kind::ALL {
            assert!(!enroller.sees_event(*kind, &whose(Some("a"), Some("me"))), "{kind:?}");
        }
    }

    #[test]
    fn who_people_are_is_for_admins_and_auditors() {
        for kind in [Kind::User, Kind::SignIn, Kind::Token, Kind::Request] {
            for role in ROLES {
                let seen = caller(role).sees_event(kind, &whose(Some("a"), Some("me")));
                assert_eq!(seen, matches!(role, Role::Admin | Role::Auditor), "{role:?} {kind:?}");
            }
        }
    }

    #[test]
    fn nobody_hands_out_more_than_they_have() {
        let may: Vec<_> = ROLES
            .iter()
            .flat_map(|maker| ROLES.iter().map(move |made| (*maker, *made)))
            .filter(|(maker, made)| caller(*maker).may_issue(&tenant("a"), *made).is_ok())
            .collect();
        let (admin, operator, developer) = (Role::Admin, Role::Operator, Role::Developer);
        let enroller = Role::Enroller;
        let mut expected: Vec<_> = ROLES.iter().map(|made| (admin, *made)).collect();
        expected.extend([(operator, operator), (operator, developer), (operator, enroller)]);
        expected.push((developer, developer));
        assert_eq!(may, expected);
        assert!(caller(operator).may_issue(&tenant("b"), developer).is_err());
        assert!(caller(admin).may_issue(&tenant("b"), developer).is_ok());
    }
}
