//! May somebody come in from this address? The allow-lists first, then the lockout: the same at every entrance.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ipnet::IpNet;

use super::Login;
use super::lockout::locked_until;
use crate::aggregate::Refusal;
use crate::env::Env;
use crate::env::allow_list::is_allowed;
use crate::tenant::Tenant;

/// Why nobody comes in from there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefusal {
    #[error("the environment lets nobody in from {ip}")]
    NotAllowed { ip: IpAddr },
    #[error("every entrance is closed to this address until {until}")]
    Locked { until: DateTime<Utc> },
}

impl Refusal for AddressRefusal {
    fn code(&self) -> &'static str {
        match self {
            Self::NotAllowed { .. } => "address_not_allowed",
            Self::Locked { .. } => "address_locked",
        }
    }
}

impl AddressRefusal {
    /// What the person hears.
    pub fn told(&self, now: DateTime<Utc>) -> String {
        match self {
            Self::NotAllowed { .. } => self.to_string(),
            Self::Locked { until } => closed_text(*until, now),
        }
    }
}

/// What somebody hears whose address is closed: for how long, and why.
pub fn closed_text(until: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let minutes = (until - now).num_seconds().max(0) / 60 + 1;
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    format!("this address is closed for another {minutes} {unit} (too many failed passwords)")
}

/// Who comes now, by what the log says.
pub fn come_in(
    env: &Env,
    tenant: &Tenant,
    login: &Login,
    ip: IpAddr,
    now: DateTime<Utc>,
) -> Result<(), AddressRefusal> {
    stay(env, tenant, ip)?;
    past(&[], locked_until(login, ip, now), ip)
}

/// Who is in already: a lockout closes the door and puts nobody out.
pub fn stay(env: &Env, tenant: &Tenant, ip: IpAddr) -> Result<(), AddressRefusal> {
    past(&[&env.allow_list, &tenant.allow_list], None, ip)
}

/// The same for an entrance that has a copy: every list must have the address, and no lock may close it.
pub fn past(
    lists: &[&[IpNet]],
    locked_until: Option<DateTime<Utc>>,
    ip: IpAddr,
) -> Result<(), AddressRefusal> {
    if !lists.iter().all(|ranges| is_allowed(ranges, ip)) {
        return Err(AddressRefusal::NotAllowed { ip });
    }
    match locked_until {
        Some(until) => Err(AddressRefusal::Locked { until }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::testing::running;
    use crate::env::{AllowListSet, EnvEvent};
    use crate::login::{LoginEvent, LoginLocked, LoginUnlocked};
    use crate::tenant::{TenantAllowListSet, TenantEvent, TenantRegistered};
    use crate::testing::{given, t};

    fn ip() -> IpAddr {
        "203.0.113.9".parse().unwrap()
    }

    fn range(text: &str) -> Vec<IpNet> {
        vec![text.parse().unwrap()]
    }

    fn env(ranges: &[&str]) -> Env {
        let mut past: Vec<(i64, EnvEvent)> = running();
        let set = |text: &&str| (100, AllowListSet { ranges: range(text) }.into());
        past.extend(ranges.iter().map(set));
        given(past)
    }

    fn tenant(ranges: &[&str]) -> Tenant {
        let mut past: Vec<(i64, TenantEvent)> = vec![(0, TenantRegistered { name: "acme".into() }.into())];
        past.extend(ranges.iter().map(|text| (1, TenantAllowListSet { ranges: range(text) }.into())));
        given(past)
    }

    fn locked() -> Vec<(i64, LoginEvent)> {
        vec![(200, LoginLocked { ip: ip(), until: t(2000) }.into())]
    }

    const HERE: &str = "203.0.113.0/24";
    const ELSEWHERE: &str = "10.0.0.0/8";

    #[test]
    fn both_lists_must_have_the_address() {
        let open = Login::default();
        let asked =
            |env: &[&str], tenant_: &[&str]| come_in(&self::env(env), &tenant(tenant_), &open, ip(), t(300));
        let refused = Err(AddressRefusal::NotAllowed { ip: ip() });
        assert_eq!(asked(&[], &[]), Ok(()), "no list lets everyone in");
        assert_eq!(asked(&[HERE], &[HERE]), Ok(()));
        assert_eq!(asked(&[ELSEWHERE], &[]), refused);
        assert_eq!(asked(&[], &[ELSEWHERE]), refused);
        assert_eq!(asked(&[HERE], &[ELSEWHERE]), refused);
        assert_eq!(asked(&[ELSEWHERE, HERE], &[]), Ok(()), "the newest list counts");
    }

    #[test]
    fn a_lock_closes_until_it_ends_or_is_lifted_and_puts_nobody_out() {
        let (env, tenant) = (env(&[]), tenant(&[]));
        let login = given::<Login>(locked());
        let refused = Err(AddressRefusal::Locked { until: t(2000) });
        assert_eq!(come_in(&env, &tenant, &login, ip(), t(300)), refused);
        let neighbour = "203.0.113.10".parse().unwrap();
        assert_eq!(come_in(&env, &tenant, &login, neighbour, t(300)), Ok(()));
        assert_eq!(come_in(&env, &tenant, &login, ip(), t(2000)), Ok(()));
        assert_eq!(stay(&env, &tenant, ip()), Ok(()));
        let mut past = locked();
        past.push((300, LoginUnlocked { ip: None }.into()));
        assert_eq!(come_in(&env, &tenant, &given(past), ip(), t(301)), Ok(()));
    }

    #[test]
    fn a_person_hears_for_how_long() {
        assert!(closed_text(t(90), t(0)).contains("another 2 minutes"));
        assert!(closed_text(t(59), t(0)).contains("another 1 minute ("));
    }

    #[test]
    fn who_is_not_listed_does_not_hear_of_the_lock() {
        let refused = come_in(&env(&[ELSEWHERE]), &tenant(&[]), &given(locked()), ip(), t(300));
        assert_eq!(refused, Err(AddressRefusal::NotAllowed { ip: ip() }));
        assert_eq!(stay(&env(&[]), &tenant(&[ELSEWHERE]), ip()), refused);
    }
}
