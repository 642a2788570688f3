//! What is known of the machine itself? The newest facts, as long as they are of the machine as it is registered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Server, ServerEvent, ServerRefusal, Settings};
use crate::aggregate::Decision;

/// What a machine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    pub hostname: String,
    /// As `/etc/os-release` has it.
    pub system: System,
    /// `Linux`
    pub kernel: String,
    /// `6.1.0-18-amd64`
    pub kernel_release: String,
    /// `x86_64`
    pub machine: String,
    /// `none`, `kvm`, `vmware`, `docker`, ...; absent when nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtualisation: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_model: Option<String>,
    /// Processors that the system uses.
    pub cpus: u32,
    pub memory_kib: u64,
    pub swap_kib: u64,
    pub disks: Vec<Disk>,
    pub addresses: Vec<Address>,
    /// Since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct System {
    /// `debian`
    pub id: String,
    /// `Debian GNU/Linux 12 (bookworm)`
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A file system on something that lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    pub device: String,
    pub mount: String,
    /// `ext4`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    pub size_kib: u64,
    pub used_kib: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Address {
    /// Absent when the machine has no tool that tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// With the length of its network when that is known: `10.0.0.7/24`.
    pub address: String,
}

/// What a server said of its hardware and its system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FactsGathered {
    pub facts: Facts,
}

/// `asked`: the settings with which the machine was reached.
pub fn gathered(state: &Server, asked: &Settings, facts: Facts) -> Decision<ServerEvent, ServerRefusal> {
    let settings = state.there().ok_or(ServerRefusal::NotFound)?;
    Ok(settings.same_place(asked).then(|| FactsGathered { facts }.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Aggregate as _;
    use crate::server::testing::{server, settings};
    use crate::server::{ServerChanged, ServerRemoved};
    use crate::testing::t;

    #[test]
    fn facts_are_of_a_machine_and_not_of_an_account() {
        let facts = Facts { hostname: "web".into(), ..Facts::default() };
        let event = gathered(&server(vec![]), &settings(), facts.clone()).unwrap().unwrap();
        let mut known = server(vec![event]);
        assert_eq!(known.facts, Some(facts.clone()));
        let renamed = Settings { username: "other".into(), ..settings() };
        assert!(gathered(&known, &renamed, facts.clone()).unwrap().is_some());
        known.evolve(&ServerChanged { settings: renamed }.into(), t(1));
        assert!(known.facts.is_some());
        let moved = Settings { host: "10.9.9.9".into(), ..settings() };
        assert_eq!(gathered(&known, &moved, facts.clone()), Ok(None));
        known.evolve(&ServerChanged { settings: moved }.into(), t(2));
        assert_eq!(known.facts, None, "nothing is known of the new machine");
        let gone = server(vec![ServerRemoved {}.into()]);
        assert_eq!(gathered(&gone, &settings(), facts), Err(ServerRefusal::NotFound));
    }
}
