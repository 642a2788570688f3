//! May this person be in that JupyterLab now, from there? Asked of the log with every request, and again
//! whenever something of it changes while they are in.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use events::env::{Env, EnvRefusal, Status};
use events::ids::{EnvId, TenantId};
use events::login::come_in::{AddressRefusal, come_in, stay};
use events::login::{Entrance, Login};
use events::tenant::Tenant;
use events::{Kind, Subject};

use crate::access::Caller;
use crate::app::App;
use crate::problem::Problem;

/// Of a refusal because the address is closed.
const CLOSED: &str = "address_locked";

/// Somebody before an environment's JupyterLab.
#[derive(Debug, Clone)]
pub struct Guest {
    pub caller: Caller,
    pub tenant: TenantId,
    pub env: EnvId,
    pub ip: IpAddr,
}

impl Guest {
    /// What may change the answer: whose happenings are worth another look.
    pub fn concerns(&self, subject: &Subject) -> bool {
        let of_environment = || subject.tenant == self.tenant && subject.id == self.env.as_str();
        match subject.kind {
            Kind::Env => of_environment(),
            Kind::Tenant => subject.id == self.tenant.as_str(),
            Kind::SignIn => self.caller.is_by(&subject.id),
            Kind::User | Kind::Token => {
                let owner = subject.id == self.caller.owner.as_str();
                owner || self.caller.actor.strip_prefix("token:") == Some(subject.id.as_str())
            }
            // a lockout puts nobody out
            Kind::Login
            | Kind::Quota
            | Kind::Port
            | Kind::Credential
            | Kind::SshKey
            | Kind::Session
            | Kind::Server
            | Kind::Access
            | Kind::Relay
            | Kind::Batch
            | Kind::Command
            | Kind::Schedule
            | Kind::Subscription
            | Kind::NatsTap
            | Kind::Request => false,
        }
    }
}

/// Whether they may come in now. Who comes to a closed door is counted.
pub async fn enter(app: &App, guest: &Guest) -> Result<(), Problem> {
    let (tenant, id) = (&guest.tenant, guest.env.as_str());
    let (env, login, owner) = tokio::try_join!(
        app.log.load::<Env>(tenant, id),
        app.log.load::<Login>(tenant, id),
        app.log.load::<Tenant>(tenant, tenant.as_str()),
    )?;
    let now = Utc::now();
    let entered = may_enter(guest, &env.state, &login.state, &owner.state, now);
    if entered.as_ref().is_err_and(|problem| problem.code() == CLOSED) {
        app.refusals.count(tenant, &guest.env, Entrance::Jupyter, guest.ip, now);
    }
    entered
}

/// Whether they may be there still: as at the other entrances, a lockout puts nobody out.
pub async fn remain(app: &App, guest: &Guest) -> Result<(), Problem> {
    let (tenant, id) = (&guest.tenant, guest.env.as_str());
    let (env, owner) =
        tokio::try_join!(app.log.load::<Env>(tenant, id), app.log.load::<Tenant>(tenant, tenant.as_str()),)?;
    may_remain(guest, &env.state, &owner.state, Utc::now())
}

fn may_enter(
    guest: &Guest,
    env: &Env,
    login: &Login,
    tenant: &Tenant,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    may_be_there(guest, env, come_in(env, tenant, login, guest.ip, now), now)
}

fn may_remain(guest: &Guest, env: &Env, tenant: &Tenant, now: DateTime<Utc>) -> Result<(), Problem> {
    may_be_there(guest, env, stay(env, tenant, guest.ip), now)
}

fn may_be_there(
    guest: &Guest,
    env: &Env,
    from_there: Result<(), AddressRefusal>,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    guest.caller.may_write()?;
    if !env.exists() || !guest.caller.sees(&guest.tenant, env.owner()) {
        return Err(Problem::not_found("environment"));
    }
    from_there.map_err(|refusal| match refusal {
        AddressRefusal::NotAllowed { .. } => Problem::refused(&refusal),
        AddressRefusal::Locked { until } => {
            let wait_s = (until - now).num_seconds().max(1).unsigned_abs();
            Problem::limited(CLOSED, refusal.told(now), wait_s)
        }
    })?;
    if !env.requested.as_ref().is_some_and(|requested| requested.jupyter) {
        let why = "this environment was made without JupyterLab; make one with it";
        return Err(Problem::new("jupyter_missing", why));
    }
    if env.status != Status::Running {
        let refusal = EnvRefusal::WrongStatus { status: env.status.name(), needs: "running" };
        return Err(Problem::refused(&refusal));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use chrono::TimeDelta;
    use events::env::EnvRequested;
    use events::ids::UserName;
    use events::login::lockout::source_of;
    use events::user::Role;

    fn requested() -> EnvRequested {
        let golden = include_str!("../../../../events/wire/EnvRequested.v1.json");
        serde_json::from_str(golden).unwrap()
    }

    fn guest(role: Role, owner: &UserName) -> Guest {
        let tenant = TenantId::parse("default").unwrap();
        let actor = format!("user:{owner}");
        let caller = Caller { actor, owner: owner.clone(), tenant: tenant.clone(), role, sign_in: None };
        let env = EnvId::parse("env-abcdefghijkl").unwrap();
        Guest { caller, tenant, env, ip: "192.0.2.7".parse().unwrap() }
    }

    #[test]
    fn who_is_turned_away_hears_the_first_reason_that_concerns_them() {
        let (asked, now) = (requested(), Utc::now());
        let owner = asked.owner.clone();
        let running = Env { status: Status::Running, requested: Some(asked), ..Env::default() };
        let code = |guest: &Guest, env: &Env, login: &Login, tenant: &Tenant| {
            may_enter(guest, env, login, tenant, now).map_err(|problem| problem.code())
        };
        let (mine, open, anywhere) = (guest(Role::Developer, &owner), Login::default(), Tenant::default());
        assert_eq!(code(&mine, &running, &open, &anywhere), Ok(()));
        let other = guest(Role::Developer, &UserName::parse("somebody-else").unwrap());
        assert_eq!(code(&other, &running, &open, &anywhere), Err("not_found"));
        let elsewhere = vec!["10.0.0.0/8".parse().unwrap()];
        let listed = Env { allow_list: elsewhere.clone(), ..running.clone() };
        assert_eq!(code(&mine, &listed, &open, &anywhere), Err("address_not_allowed"));
        let tenant = Tenant { allow_list: elsewhere, ..Tenant::default() };
        assert_eq!(code(&mine, &running, &open, &tenant), Err("address_not_allowed"));
        let mut locked = Login::default();
        locked.locks.insert(source_of(mine.ip), now + TimeDelta::seconds(60));
        assert_eq!(code(&mine, &running, &locked, &anywhere), Err("address_locked"));
        assert!(may_remain(&mine, &running, &anywhere, now).is_ok(), "who is in stays");
        assert!(may_remain(&mine, &running, &tenant, now).is_err(), "unless a list has them no more");
        let stopped = Env { status: Status::Stopped, ..running.clone() };
        assert_eq!(code(&mine, &stopped, &open, &anywhere), Err("environment_wrong_status"));
        let mut plain = running;
        plain.requested.as_mut().unwrap().jupyter = false;
        assert_eq!(code(&mine, &plain, &open, &anywhere), Err("jupyter_missing"));
        assert_eq!(code(&mine, &Env::default(), &open, &anywhere), Err("not_found"));
    }
}
