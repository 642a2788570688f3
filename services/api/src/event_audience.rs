//! Who is shown which events? For people; `access.rs` is the rule, and a test compares them.

use events::Kind;

/// Those to whom a stream shows events of this kind.
pub const fn audience(kind: Kind) -> &'static str {
    match kind {
        Kind::User | Kind::SignIn | Kind::Token | Kind::Request => "admins, and the tenant's auditors",
        Kind::Tenant => "admins, and every person of the tenant",
        Kind::Quota | Kind::Server | Kind::Access | Kind::Relay | Kind::Subscription | Kind::NatsTap => {
            "admins, and the tenant's operators and auditors"
        }
        Kind::Env
        | Kind::Credential
        | Kind::SshKey
        | Kind::Login
        | Kind::Session
        | Kind::Batch
        | Kind::Command
        | Kind::Schedule => {
            "admins, the tenant's operators and auditors, and the developer whose it is (none's on a server)"
        }
        Kind::Port => "admins",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::ids::{TenantId, UserName};
    use events::user::Role;

    use super::*;
    use crate::access::{Caller, Whose};

    /// Whose an event of this kind is at best for `me`.
    fn whose(kind: Kind, tenant: TenantId, me: UserName) -> Whose {
        let owner = match kind {
            Kind::Port => return Whose::default(),
            Kind::Tenant
            | Kind::Quota
            | Kind::SignIn
            | Kind::Server
            | Kind::Access
            | Kind::Relay
            | Kind::Subscription
            | Kind::NatsTap
            | Kind::Request => None,
            Kind::Env
            | Kind::Credential
            | Kind::SshKey
            | Kind::Login
            | Kind::Session
            | Kind::Batch
            | Kind::Command
            | Kind::Schedule
            | Kind::User
            | Kind::Token => Some(me),
        };
        Whose { tenant: Some(tenant), owner }
    }

    #[test]
    fn what_is_said_is_the_rule() {
        let (tenant, me) = (TenantId::parse("a").unwrap(), UserName::parse("me").unwrap());
        for kind in Kind::ALL {
            for role in Role::ALL {
                let actor = "user:me".to_owned();
                let caller = Caller { actor, owner: me.clone(), tenant: tenant.clone(), role, sign_in: None };
                let shown = caller.sees_event(*kind, &whose(*kind, tenant.clone(), me.clone()));
                let text = audience(*kind);
                let said =
                    text.contains(role.name()) || (text.contains("every person") && role != Role::Enroller);
                assert_eq!(shown, said, "{role:?} {kind:?}: {text}");
            }
        }
    }
}
