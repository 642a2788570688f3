//! What does the way in say, step by step? Up to the trouble all went well; after it nothing is known.

use std::time::Duration;

use ssh::client::Passed;

use super::Finding;
use crate::test::Tried;
use crate::trouble::Trouble;

/// The steps of the way, in their order.
const STEPS: [&str; 8] =
    ["name", "route", "port", "identification", "key_exchange", "host_key", "authentication", "shell"];
/// A step that takes longer will fail on a bad day.
const SLOW: Duration = Duration::from_millis(1_500);

pub(super) fn findings(tried: &Tried) -> Vec<Finding> {
    if tried.is_by_courier {
        return by_courier(tried);
    }
    let Some(trouble) = &tried.trouble else {
        return STEPS.into_iter().map(|step| passed(tried, step)).collect();
    };
    let at = step_of(trouble);
    let reached = STEPS.iter().position(|step| *step == at).unwrap_or_default();
    let mut findings: Vec<_> = STEPS.iter().take(reached).map(|step| passed(tried, step)).collect();
    findings.push(Finding::failed(at, trouble.class, trouble.reason.clone(), remedy(tried, trouble)));
    let rest = STEPS.iter().skip(reached + usize::from(STEPS.contains(&at)));
    findings.extend(rest.map(|step| Finding::skipped(step, "not reached")));
    findings
}

/// A relay of others says that it came through, or one sentence.
fn by_courier(tried: &Tried) -> Vec<Finding> {
    let unseen = STEPS.iter().take(STEPS.len() - 1);
    let mut findings: Vec<_> =
        unseen.map(|step| Finding::skipped(step, "a relay of others goes there and does not say")).collect();
    findings.push(match &tried.trouble {
        None => Finding::ok("shell", "the relay's command is answered".to_owned()),
        Some(trouble) => Finding::failed(
            trouble.step.name(),
            trouble.class,
            trouble.reason.clone(),
            trouble.suggestion.clone(),
        ),
    });
    findings
}

/// A finer step than that of a test, which calls the first three the network.
fn step_of(trouble: &Trouble) -> &'static str {
    match trouble.class {
        "dns_failed" => "name",
        "connect_timeout" | "unreachable" => "route",
        "connection_refused" => "port",
        _ => trouble.step.name(),
    }
}

fn passed(tried: &Tried, step: &'static str) -> Finding {
    let (settings, learnt) = (&tried.settings, &tried.learnt);
    let taken = |from: Option<Passed>, to: Passed| {
        let at = |what| learnt.passed.iter().find(|(passed, _)| *passed == what).map(|(_, since)| *since);
        let began = from.map_or(Some(Duration::ZERO), at);
        at(to).zip(began).map(|(to, from)| to.saturating_sub(from)).unwrap_or_default()
    };
    let ms = |taken: Duration| format!("{} ms", taken.as_millis());
    match step {
        "name" => {
            let taken = taken(None, Passed::Name);
            let addresses: Vec<_> = learnt.addresses.iter().map(|address| address.ip().to_string()).collect();
            let said = format!("{} is {} ({})", settings.host, addresses.join(", "), ms(taken));
            slow(step, "slow_name", taken, said, "look at the name servers of the machine Portreeve runs on")
        }
        "route" => {
            Finding::ok(step, format!("there is a way ({})", ms(taken(Some(Passed::Name), Passed::Network))))
        }
        "port" => Finding::ok(step, format!("port {} takes connections", settings.port)),
        "identification" => {
            let taken = taken(Some(Passed::Network), Passed::Identification);
            let says = learnt.identification.as_deref().unwrap_or_default();
            let said = format!("it says {says} ({})", ms(taken));
            slow(
                step,
                "slow_identification",
                taken,
                said,
                "look at the machine's load and at what hosts.allow asks of names",
            )
        }
        "key_exchange" => {
            let taken = taken(Some(Passed::Identification), Passed::KeyExchange);
            let said = format!("keys are agreed upon ({})", ms(taken));
            slow(step, "slow_key_exchange", taken, said, "look at the machine's load")
        }
        "host_key" => {
            let key = learnt.host_key.as_deref().unwrap_or_default();
            let how = if learnt.was_pinned {
                "the one that is believed"
            } else {
                "seen first, believed from now on"
            };
            Finding::ok(step, format!("{key}, {how}"))
        }
        "authentication" => {
            let taken = taken(Some(Passed::KeyExchange), Passed::Login);
            let method = settings.credential.method.name();
            let said = format!("{} gets in with its {method} ({})", settings.username, ms(taken));
            let what = "sshd there looks names up or waits for a directory: set UseDNS no in sshd_config, and look at \
                        its name servers (/etc/resolv.conf) and at PAM";
            slow(step, "slow_authentication", taken, said, what)
        }
        _ => Finding::ok(step, "the account's shell runs commands"),
    }
}

fn slow(step: &'static str, class: &'static str, taken: Duration, said: String, remedy: &str) -> Finding {
    if taken < SLOW { Finding::ok(step, said) } else { Finding::warning(step, class, said, remedy) }
}

/// More than the suggestion of a test: what to type on the machine's own console.
fn remedy(tried: &Tried, trouble: &Trouble) -> String {
    let (user, port) = (&tried.settings.username, tried.settings.port);
    let more = match trouble.class {
        "connection_refused" => format!(
            "there: `ss -ltn sport = :{port}` says whether sshd listens, `systemctl status ssh` why not; a firewall that \
             rejects looks the same (`nft list ruleset`)"
        ),
        "connect_timeout" | "unreachable" => format!(
            "there: `nft list ruleset` or `iptables -S` for port {port}, and the security groups before it; a network \
             that takes nothing from outside needs a relay"
        ),
        "reset_in_ident" => {
            "there: `grep sshd /etc/hosts.deny`, `fail2ban-client status sshd`, and `sshd -T | grep -i \
                             persource`; our address must be exempt"
                .to_owned()
        }
        "too_many_connections" => {
            "there: `sshd -T | grep maxstartups`, and `ss -tn state established sport = :".to_owned()
                + &format!("{port}` for who holds the places; raise MaxStartups or end them")
        }
        "auth_failed" => format!(
            "there: `journalctl -t sshd -t ssh | tail`; `passwd -S {user}` (L: locked, unlock with `usermod -U`); `chage -l \
             {user}` (expired: `chage -E -1`); `getent passwd {user}` (its shell must exist and stand in /etc/shells); \
             `ls -ld ~{user} ~{user}/.ssh` (nobody else may write there); `sshd -T -C user={user} | grep -iE \
             'allow|deny|permitroot'`. Or let the doctor of an account that gets in there look: `--account {user}`"
        ),
        "auth_timeout" => {
            "there: `sshd -T | grep -i usedns` (set it to no), `time getent hosts <our address>`, and what \
                           PAM waits for"
                .to_owned()
        }
        "shell_unusable" => format!(
            "there: `getent passwd {user}`, /etc/nologin, and ForceCommand in `sshd -T -C user={user}`"
        ),
        _ => return trouble.suggestion.clone(),
    };
    format!("{}. {more}", trouble.suggestion)
}
