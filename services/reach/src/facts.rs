//! What is a server? Reached as everybody reaches it, then asked by its own shell; recorded.

use std::time::{Duration, Instant};

use events::ids::{ServerId, TenantId};
use events::server::facts::{Address, Disk, Facts, System, gathered};
use events::server::{ConnectionTested, Server, ServerEvent, ServerRefusal};
use events::{Cause, Decision, Event};
use tokio::time::timeout;

use crate::connect::{Who, index, own};
use crate::script::{Answers, Given, run};
use crate::test::WHOLE_MAX;
use crate::{Reach, ReachError};

/// The longest that a machine may take to say what it is.
const FACTS_WAIT: Duration = Duration::from_secs(20);
const SCRIPT: &str = include_str!("shell/facts.sh");
/// Of disks and addresses so many are kept, and of each word so many characters.
const LIST_MAX: usize = 64;
const WORD_CHARACTERS_MAX: usize = 128;

/// What a server said, or why nobody got so far.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// How it went to get there; a failure is recorded as that of a test is.
    pub outcome: ConnectionTested,
    pub facts: Option<Facts>,
    /// Last sequence of the server.
    pub seq: u64,
}

impl Reach {
    /// A repeated command is told what the first one found.
    pub async fn gather(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        who: Who<'_>,
        cause: &Cause,
    ) -> Result<Gathered, ReachError> {
        let own = own(cause);
        let before = self.found_before(tenant, id, &own).await?;
        let began = Instant::now();
        if let Some((facts, seq)) = before {
            let tried = self.untried(tenant, id).await?;
            return Ok(Gathered { outcome: tried.outcome(began), facts: Some(facts), seq });
        }
        let trying = Box::pin(self.go_and_try(tenant, id, who, &own));
        let mut tried = match timeout(WHOLE_MAX, trying).await {
            Ok(tried) => tried?,
            Err(_) => self.too_slow(tenant, id).await?,
        };
        let mut facts = None;
        if let Some(inside) = tried.inside.as_ref().filter(|_| tried.trouble.is_none()) {
            match run(inside, &[SCRIPT], Given::default(), FACTS_WAIT).await {
                Ok(answers) => facts = Some(read(&answers)),
                Err(trouble) => tried.trouble = Some(trouble),
            }
        }
        let outcome = tried.outcome(began);
        tried.leave().await;
        let seq = match &facts {
            None => self.record(tenant, id, &own, &tried, &outcome).await?,
            Some(facts) => {
                let rule = |server: &Server| gathered(server, &tried.settings, facts.clone());
                self.log.decide::<Server, _>(tenant, id.as_str(), &own, index::FACTS, rule).await?.seq
            }
        };
        Ok(Gathered { outcome, facts, seq })
    }

    async fn found_before(
        &self,
        tenant: &TenantId,
        id: &ServerId,
        own: &Cause,
    ) -> Result<Option<(Facts, u64)>, ReachError> {
        let nothing = |_: &Server| -> Decision<ServerEvent, ServerRefusal> { Ok(None) };
        let found = self.log.decide::<Server, _>(tenant, id.as_str(), own, index::FACTS, nothing).await?;
        #[allow(clippy::wildcard_enum_match_arm)] // this command appends nothing else at this index
        Ok(match found.appended.map(|recorded| recorded.event) {
            Some(Event::Server(ServerEvent::FactsGathered(gathered))) => Some((gathered.facts, found.seq)),
            _ => None,
        })
    }
}

fn read(answers: &Answers) -> Facts {
    let word = |key: &str| answers.one(key).map(bounded);
    let plain = |key: &str| word(key).unwrap_or_default();
    Facts {
        hostname: plain("hostname"),
        system: System {
            id: plain("os_ID"),
            name: word("os_PRETTY_NAME").or_else(|| word("kernel")).unwrap_or_default(),
            version: word("os_VERSION_ID"),
        },
        kernel: plain("kernel"),
        kernel_release: plain("release"),
        machine: plain("machine"),
        virtualisation: word("virtualisation"),
        cpu_model: word("cpu_model"),
        cpus: answers.number("cpus").and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or_default(),
        memory_kib: answers.number("memory").unwrap_or_default(),
        swap_kib: answers.number("swap").unwrap_or_default(),
        disks: answers.all("disk").filter_map(disk).take(LIST_MAX).collect(),
        addresses: answers.all("address").filter_map(address).take(LIST_MAX).collect(),
        uptime_s: answers.number("uptime"),
    }
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORD_CHARACTERS_MAX).collect()
}

fn disk(line: &str) -> Option<Disk> {
    let mut words = line.splitn(5, ' ');
    let (size, used) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (kind, device, mount) = (words.next()?, words.next()?, words.next()?);
    let kind = (kind != "-").then(|| bounded(kind));
    Some(Disk { device: bounded(device), mount: bounded(mount), kind, size_kib: size, used_kib: used })
}

fn address(line: &str) -> Option<Address> {
    let (interface, address) = line.split_once(' ')?;
    let bare = address.split(['/', '%']).next()?;
    bare.parse::<std::net::IpAddr>().ok()?;
    Some(Address { interface: (interface != "-").then(|| bounded(interface)), address: bounded(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_is_read_and_what_it_says_wrong_is_left_out() {
        let text = "@hostname\tweb1\n@kernel\tLinux\n@os_ID\talpine\n@cpus\t2\n@memory\t1000\n\
            @disk\t100 50 ext4 /dev/vda1 /\n@disk\t100 x ext4 /dev/vdb /b\n@disk\t7 1 - nas:/a b /mnt\n\
            @address\teth0 10.0.0.7/24\n@address\t- 10.0.0.8\n@address\teth0 nonsense\n@uptime\t7\n";
        let facts = read(&Answers::read(text));
        assert_eq!((facts.cpus, facts.memory_kib, facts.uptime_s, facts.swap_kib), (2, 1000, Some(7), 0));
        assert_eq!((facts.system.id.as_str(), facts.system.name.as_str()), ("alpine", "Linux"));
        let disks: Vec<_> =
            facts.disks.iter().map(|disk| (disk.mount.as_str(), disk.kind.as_deref())).collect();
        assert_eq!(disks, [("/", Some("ext4")), ("b /mnt", None)]);
        assert_eq!(facts.addresses.len(), 2);
    }
}
