//! Which names do things have? One newtype per id; each is a safe subject token, DNS label and file name.

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest id accepted from outside, in bytes.
pub const ID_LENGTH_MAX: usize = 63;

/// The text is not an id of this kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not a valid {kind}: {rule}")]
pub struct InvalidId {
    pub kind: &'static str,
    pub value: String,
    pub rule: &'static str,
}

const TOKEN_RULE: &str = "1 to 63 characters of a-z, 0-9, '-' or '_', starting with a letter or a digit";

fn is_token(text: &str) -> bool {
    text.len() <= ID_LENGTH_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
}

const LOGIN_NAME_RULE: &str =
    "1 to 63 characters of a-z, 0-9, '.', '@', '-' or '_', starting with a letter or a digit";

fn is_login_name(text: &str) -> bool {
    text.len() <= ID_LENGTH_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.@".contains(c))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let value = text.into();
                if $check(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidId { kind: $kind, value, rule: $rule })
                }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(value: String) -> Result<Self, InvalidId> {
                Self::parse(value)
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A tenant; [`TenantId::system`] owns what belongs to no tenant (ports, users, tokens).
    TenantId, "tenant id", is_tenant, TOKEN_RULE);
id!(
    /// `env-` and 12 lower-case base32 characters.
    EnvId, "environment id", is_env_id, ENV_ID_RULE);
id!(
    /// `ses-` and 12 lower-case base32 characters.
    SessionId, "session id", is_token, TOKEN_RULE);
id!(
    /// `shr-` and 12 lower-case base32 characters.
    ShareId, "share id", is_token, TOKEN_RULE);
id!(
    /// `key-` and 16 lower-case base32 characters, derived from owner and fingerprint.
    SshKeyId, "ssh key id", is_token, TOKEN_RULE);
id!(
    /// `tok-` and 12 lower-case base32 characters.
    TokenId, "token id", is_token, TOKEN_RULE);
id!(
    /// `sgn-` and 12 lower-case base32 characters.
    SignInId, "sign-in id", is_token, TOKEN_RULE);
id!(
    /// `tap-` and 12 lower-case base32 characters.
    NatsTapId, "tap id", is_token, TOKEN_RULE);
id!(
    /// A login name of the control plane (not of a Unix account).
    UserName, "user name", is_login_name, LOGIN_NAME_RULE);
id!(
    /// `srv-` and 12 lower-case base32 characters.
    ServerId, "server id", is_server_id, SERVER_ID_RULE);
id!(
    /// `rel-` and 12 lower-case base32 characters.
    RelayId, "relay id", is_token, TOKEN_RULE);
id!(
    /// `bat-` and 12 lower-case base32 characters.
    BatchId, "batch id", is_token, TOKEN_RULE);
id!(
    /// `sch-` and 12 lower-case base32 characters.
    ScheduleId, "schedule id", is_token, TOKEN_RULE);
id!(
    /// `sub-` and 12 lower-case base32 characters.
    SubscriptionId, "subscription id", is_token, TOKEN_RULE);
id!(
    /// `cmd_`, milliseconds since 1970, `_` and 12 lower-case base32 characters: as relays know commands.
    CommandId, "command id", is_command_id, COMMAND_ID_RULE);
id!(
    /// `hub-` and 12 lower-case base32 characters: one life of one process that relays connect to.
    HubId, "hub id", is_token, TOKEN_RULE);
id!(
    /// `api-` and 12 lower-case base32 characters: one life of one process of the API.
    ApiId, "API id", is_token, TOKEN_RULE);
id!(
    /// What an operator sorts servers and people by: a zone, a group, a label's key or value.
    Tag, "tag", is_tag, TAG_RULE);
id!(
    /// Digest of a caller's idempotency key.
    RequestId, "request id", is_token, TOKEN_RULE);
id!(
    /// A named range of ports, for example `main`.
    PoolName, "pool name", is_pool_name, POOL_NAME_RULE);

const ENV_ID_RULE: &str = "'env-' and 12 characters of a-z and 2-7";
const SERVER_ID_RULE: &str = "'srv-' and 12 characters of a-z and 2-7";
const COMMAND_ID_RULE: &str = "'cmd_', digits, '_' and 12 characters of a-z and 2-7";
const TAG_RULE: &str =
    "1 to 63 characters of A-Z, a-z, 0-9, '.', '_', '/' or '-', starting with a letter or a digit";
const POOL_NAME_RULE: &str = "1 to 20 characters of a-z";

fn is_tenant(text: &str) -> bool {
    text == SYSTEM_TENANT || is_token(text)
}

fn is_env_id(text: &str) -> bool {
    text.strip_prefix("env-").is_some_and(is_base32_of_12)
}

fn is_server_id(text: &str) -> bool {
    text.strip_prefix("srv-").is_some_and(is_base32_of_12)
}

fn is_command_id(text: &str) -> bool {
    text.strip_prefix("cmd_").and_then(|rest| rest.split_once('_')).is_some_and(|(ms, random)| {
        (1..=16).contains(&ms.len()) && ms.bytes().all(|c| c.is_ascii_digit()) && is_base32_of_12(random)
    })
}

fn is_base32_of_12(text: &str) -> bool {
    text.len() == 12 && text.chars().all(|c| c.is_ascii_lowercase() || ('2'..='7').contains(&c))
}

fn is_tag(text: &str) -> bool {
    text.len() <= ID_LENGTH_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c))
}

fn is_pool_name(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.chars().all(|c| c.is_ascii_lowercase())
}

const SYSTEM_TENANT: &str = "_sys";

impl TenantId {
    pub fn system() -> Self {
        Self(SYSTEM_TENANT.to_owned())
    }

    pub fn is_system(&self) -> bool {
        self.0 == SYSTEM_TENANT
    }
}

/// The first `length` characters of the lower-case base32 of `seed`'s digest.
fn base32_of(seed: &Uuid, length: usize) -> String {
    use sha2::{Digest, Sha256};
    let mut text = data_encoding::BASE32_NOPAD.encode(&Sha256::digest(seed.as_bytes())).to_ascii_lowercase();
    text.truncate(length);
    text
}

impl EnvId {
    /// The same seed gives the same id, so a repeated request finds what the first one made.
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("env-{}", base32_of(seed, 12)))
    }
}

impl SessionId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("ses-{}", base32_of(seed, 12)))
    }
}

impl ShareId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("shr-{}", base32_of(seed, 12)))
    }
}

impl SignInId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("sgn-{}", base32_of(seed, 12)))
    }
}

impl TokenId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("tok-{}", base32_of(seed, 12)))
    }
}

impl NatsTapId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("tap-{}", base32_of(seed, 12)))
    }
}

impl ServerId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("srv-{}", base32_of(seed, 12)))
    }
}

impl RelayId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("rel-{}", base32_of(seed, 12)))
    }
}

impl BatchId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("bat-{}", base32_of(seed, 12)))
    }

    /// A due time of a schedule has one batch, whichever process begins it.
    pub fn of_schedule(schedule: &ScheduleId, due_at: DateTime<Utc>) -> Self {
        let due_us = due_at.timestamp_micros();
        Self::from_seed(&Uuid::new_v5(&NAMESPACE, format!("schedule\n{schedule}\n{due_us}").as_bytes()))
    }
}

impl ScheduleId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("sch-{}", base32_of(seed, 12)))
    }
}

impl SubscriptionId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("sub-{}", base32_of(seed, 12)))
    }
}

impl ApiId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("api-{}", base32_of(seed, 12)))
    }
}

impl HubId {
    pub fn from_seed(seed: &Uuid) -> Self {
        Self(format!("hub-{}", base32_of(seed, 12)))
    }
}

impl CommandId {
    /// One server has one command in a batch, so whoever knows the batch knows its commands.
    pub fn of(batch: &BatchId, server: &ServerId, at: DateTime<Utc>) -> Self {
        let seed = Uuid::new_v5(&NAMESPACE, format!("command\n{batch}\n{server}").as_bytes());
        Self(format!("cmd_{}_{}", at.timestamp_millis().max(0), base32_of(&seed, 12)))
    }

    /// When its batch was asked for, in milliseconds since 1970; `None`: no batch has it.
    pub fn asked_at_ms(&self) -> Option<i64> {
        self.0.split('_').nth(1)?.parse().ok()
    }
}

impl SshKeyId {
    /// One key of one person has one id: its subject is the uniqueness constraint.
    pub fn of(tenant: &TenantId, owner: &UserName, fingerprint: &str) -> Self {
        let seed = Uuid::new_v5(&NAMESPACE, format!("ssh_key\n{tenant}\n{owner}\n{fingerprint}").as_bytes());
        Self(format!("key-{}", base32_of(&seed, 16)))
    }
}

impl RequestId {
    /// Keys are the caller's: two people using the same key are two requests.
    pub fn of(caller: &str, idempotency_key: &str) -> Self {
        let seed = Uuid::new_v5(&NAMESPACE, format!("request\n{caller}\n{idempotency_key}").as_bytes());
        Self(format!("req-{}", base32_of(&seed, 20)))
    }
}

/// Namespace of every UUIDv5 this project derives.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_1f0e_8a4b_5d1c_9d55_70e2_72f3_ee17);

/// Identity of one event, also its message id: derived from the command that caused it, so a
/// repeated command cannot append twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    /// `index` tells apart the events of one command.
    pub fn derive(command: &Uuid, index: u32) -> Self {
        Self(Uuid::new_v5(command, &index.to_be_bytes()))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_id_is_a_dns_label_and_an_ssh_user_name() {
        let id = EnvId::from_seed(&Uuid::nil());
        assert_eq!(id.as_str().len(), 16);
        assert_eq!(EnvId::parse(id.as_str()), Ok(id.clone()));
        assert_eq!(EnvId::from_seed(&Uuid::nil()), id, "same seed, same id");
        for wrong in ["", "env-", "env-ABCDEFGHIJKL", "env-abc.efghijkl", "env-abcdefghijk1"] {
            assert!(EnvId::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_tag_has_no_blank_and_no_equals_sign() {
        for right in ["prod", "eu-central-1", "team/web", "0", "A.b_c"] {
            assert!(Tag::parse(right).is_ok(), "{right}");
        }
        for wrong in ["", "a b", "a=b", "-a", "ü", &"a".repeat(64)] {
            assert!(Tag::parse(wrong).is_err(), "{wrong}");
        }
        let id = ServerId::from_seed(&Uuid::nil());
        assert_eq!(ServerId::parse(id.as_str()), Ok(id));
    }

    #[test]
    fn a_command_is_named_as_relays_know_it() {
        let (batch, server) = (BatchId::from_seed(&Uuid::nil()), ServerId::from_seed(&Uuid::nil()));
        let at = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let id = CommandId::of(&batch, &server, at);
        assert!(id.as_str().starts_with("cmd_1700000000123_"), "{id}");
        assert_eq!(id.asked_at_ms(), Some(at.timestamp_millis()));
        assert_eq!(CommandId::parse(id.as_str()), Ok(id));
        for wrong in ["cmd_1", "cmd__abcdefghijkl", "cmd_x_abcdefghijkl", "cmd_1_ABCDEFGHIJKL", "cmd_1_a.b"] {
            assert!(CommandId::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ids_cannot_break_out_of_their_subject_token() {
        for wrong in ["", "a.b", "a*", "a>", "a b", "A", "-a", "_a", &"a".repeat(64)] {
            assert!(TenantId::parse(wrong).is_err(), "{wrong}");
        }
        assert!(TenantId::parse("_sys").is_ok());
        assert!(UserName::parse("alice.smith@example.org").is_ok());
    }
}
