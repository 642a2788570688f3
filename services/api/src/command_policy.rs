//! Do grants let a command through on these servers, and must a second person say so first? Asked when a command is
//! asked for, and once more when somebody approves of it.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use events::access::Access;
use events::access::may::Person;
use events::access::may_run::{Verdict, Why, may_run};
use events::access::pattern::Pattern;
use events::batch::{ApprovalAsked, BatchRequested};
use events::ids::{ServerId, TenantId};
use events::server::{Server, Settings};
use events::user::User;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::app::App;
use crate::problem::{FieldError, Problem};

/// So long a second person may take to answer, in seconds: a second to a week; a day when nothing is said.
pub const APPROVE_WITHIN_S: (u64, u64) = (1, 7 * 24 * 3_600);
pub const APPROVE_WITHIN_S_DEFAULT: u64 = 24 * 3_600;
/// Servers that are named in one refusal.
const NAMED_MAX: usize = 20;
/// Patterns that are kept with what waits for an approval.
const PATTERNS_MAX: usize = 10;
/// Servers looked up at once.
const LOOK_UPS_AT_ONCE: usize = 64;

/// What the person's command has to wait for on these servers of the tenant, if anything; refused if it is on one of
/// them.
pub async fn ask(
    app: &App,
    tenant: &TenantId,
    person: Person<'_>,
    servers: &[(ServerId, Settings)],
    command: &str,
    approve_within_s: u64,
) -> Result<Option<ApprovalAsked>, Problem> {
    let access = app.log.load::<Access>(tenant, tenant.as_str()).await?.state;
    let now = Utc::now().trunc_subsecs(3);
    let patterns = judge(&access, person, servers, command, now)?;
    let within =
        i64::try_from(approve_within_s).ok().and_then(TimeDelta::try_seconds).unwrap_or(TimeDelta::MAX);
    let until = now.checked_add_signed(within).unwrap_or(now);
    let needs = !patterns.is_empty();
    Ok(needs.then_some(ApprovalAsked { until, role: person.role, patterns }))
}

/// The patterns by which it is dangerous; none, where nobody has to be asked.
fn judge(
    access: &Access,
    person: Person<'_>,
    servers: &[(ServerId, Settings)],
    command: &str,
    now: DateTime<Utc>,
) -> Result<BTreeSet<Pattern>, Problem> {
    let (mut refused, mut patterns) = (Vec::new(), BTreeSet::new());
    let mut may = may_run(access, person, command, now);
    for (id, settings) in servers {
        match may(id, settings) {
            Verdict::Run => {}
            Verdict::NeedsApproval { pattern } if patterns.len() < PATTERNS_MAX => {
                patterns.insert(pattern);
            }
            Verdict::NeedsApproval { .. } => {}
            Verdict::Refused(why) => refused.push((id, settings, why)),
        }
    }
    if refused.is_empty() { Ok(patterns) } else { Err(refusal(&refused)) }
}

/// Says where, why, and by which pattern.
fn refusal(refused: &[(&ServerId, &Settings, Why)]) -> Problem {
    let error = |(id, settings, why): &(&ServerId, &Settings, Why)| FieldError {
        field: "command".to_owned(),
        code: why.code(),
        detail: format!("{} ({id}): {why}", settings.name),
    };
    let errors: Vec<FieldError> = refused.iter().take(NAMED_MAX).map(error).collect();
    let mut said: Vec<_> = errors.iter().map(|error| error.detail.clone()).collect();
    if refused.len() > NAMED_MAX {
        said.push(format!("and on {} more servers", refused.len() - NAMED_MAX));
    }
    Problem::command_refused(said.join("; "), errors)
}

/// Whether who asked may still have it run, on the servers that are still there.
pub async fn ask_again(app: &App, tenant: &TenantId, requested: &BatchRequested) -> Result<(), Problem> {
    let Some(approval) = &requested.approval else { return Ok(()) };
    let by = &requested.by;
    if app.log.load::<User>(&TenantId::system(), by.as_str()).await?.state.disabled {
        let detail = format!("{by}, who asked for it, may not log in any more");
        return Err(Problem::command_refused(detail, Vec::new()));
    }
    let servers: Vec<Option<(ServerId, Settings)>> = stream::iter(requested.servers.clone())
        .map(|id| async move {
            let server = app.log.load::<Server>(tenant, id.as_str()).await?.state;
            Ok::<_, Problem>(server.there().cloned().map(|settings| (id, settings)))
        })
        .buffered(LOOK_UPS_AT_ONCE)
        .try_collect()
        .await?;
    let there: Vec<_> = servers.into_iter().flatten().collect();
    let person = Person { user: by, role: approval.role };
    let access = app.log.load::<Access>(tenant, tenant.as_str()).await?.state;
    judge(&access, person, &there, &requested.command, Utc::now()).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use events::access::{Commands, Grant, Grantee, Right, Scope};
    use events::ids::UserName;
    use events::server::{Credential, Method};
    use events::user::Role;
    use uuid::Uuid;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    fn servers(count: u128) -> Vec<(ServerId, Settings)> {
        let settings = |number| Settings {
            name: format!("web{number}"),
            host: "10.0.0.1".into(),
            port: 22,
            username: "deploy".into(),
            credential: Credential { method: Method::Certificate, secret: None },
            zone: None,
            relay: None,
            groups: [].into(),
            labels: [].into(),
        };
        (0..count).map(|number| (ServerId::from_seed(&Uuid::from_u128(number)), settings(number))).collect()
    }

    /// An operator's command, where the grants of each of so many servers say this of it.
    fn judged(count: u128, commands: &Commands, command: &str) -> Result<BTreeSet<Pattern>, Problem> {
        let user = UserName::parse("olga").unwrap();
        let grant = Grant {
            to: Grantee::User(user.clone()),
            may: [Right::Command].into(),
            commands: commands.clone(),
            from: None,
            until: None,
        };
        let servers = servers(count);
        let scopes = servers[1..].iter().map(|(id, _)| (Scope::Server(id.clone()), vec![grant.clone()]));
        let access = Access { grants: scopes.collect(), ..Access::default() };
        judge(&access, Person { user: &user, role: Role::Operator }, &servers, command, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn one_server_that_needs_an_approval_makes_all_wait() {
        let commands = Commands { dangerous: [pattern("*reboot*")].into(), ..Commands::default() };
        assert_eq!(judged(2, &commands, "uptime").unwrap(), BTreeSet::new());
        assert_eq!(judged(1, &commands, "reboot").unwrap(), BTreeSet::new(), "not on the first");
        assert_eq!(judged(3, &commands, "reboot").unwrap(), BTreeSet::from([pattern("*reboot*")]));
    }

    #[test]
    fn each_server_that_refuses_is_named_with_the_pattern() {
        let commands = Commands { deny: [pattern("*reboot*")].into(), ..Commands::default() };
        let problem = judged(3, &commands, "reboot").unwrap_err();
        assert_eq!((problem.code(), problem.status().as_u16()), ("command_refused", 403));
        let details: Vec<_> = problem.errors().iter().map(|error| error.detail.as_str()).collect();
        assert_eq!(details.len(), 2, "not the first: {details:?}");
        assert!(
            details[0].starts_with("web1 (srv-") && details[0].ends_with("denied: *reboot*"),
            "{details:?}"
        );
        assert!(problem.errors().iter().all(|error| error.code == "denied"));
        let many = judged(30, &commands, "reboot").unwrap_err();
        assert_eq!(many.errors().len(), NAMED_MAX);
        assert!(many.detail().ends_with("and on 9 more servers"), "{}", many.detail());
    }
}
