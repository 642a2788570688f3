//! What may the fields of a request hold? One reader per meaning, with its limits.

use events::ids::{TenantId, UserName};
use events::user::Role;
use events::{Limits, Resources};
use ipnet::IpNet;
use serde_json::Value;
use ssh_key::{Algorithm, HashAlg, PublicKey};
use utoipa::ToSchema;

use crate::fields::{self, Fields, Wrong};

/// Longest name of an environment, a key, a token or a tenant.
pub const NAME_LENGTH_MAX: usize = 63;
/// Longest OpenSSH public key line, in bytes; an RSA key of 16384 bits has 2800.
const PUBLIC_KEY_LENGTH_MAX: usize = 4096;
/// Shortest RSA modulus.
const RSA_BITS_MIN: usize = 2048;
/// Longest image reference.
const IMAGE_LENGTH_MAX: usize = 255;
/// Longest name of a dataset: with its prefix still a DNS label.
const DATASET_LENGTH_MAX: usize = 50;
pub const PASSWORD_LENGTH_MIN: usize = 12;
/// A longer password would only cost time.
pub const PASSWORD_LENGTH_MAX: usize = 256;

/// Bounds of `resources`, in thousandths or whole devices.
const CPU_MILLI: (u64, u64) = (100, 256_000);
const MEMORY_MILLI: (u64, u64) = (125, 4_096_000);
const STORAGE_MILLI: (u64, u64) = (0, 65_536_000);
const GPU_MAX: u64 = 16;
/// Bounds of a tenant's limits.
const LIMIT_MILLI_MAX: u64 = 1_000_000_000;
const LIMIT_COUNT_MAX: u64 = 1_000_000;

/// What an environment may use.
#[derive(ToSchema)]
#[schema(as = Resources, example = json!({"cpu": 1, "memory": 2, "gpu": 0, "storage": 10}))]
#[allow(dead_code)] // a description; what is read becomes `events::Resources`
pub struct ResourcesShape {
    /// Cores, 0.1 to 256.
    pub cpu: f64,
    /// GiB, 0.125 to 4096.
    pub memory: f64,
    /// Whole devices, 0 to 16; 0 when absent.
    pub gpu: Option<u32>,
    /// GiB of the persistent volume, 0 to 65536; 0 when absent.
    pub storage: Option<f64>,
}

/// The most a tenant may have in use at once; what is absent is unlimited.
#[derive(ToSchema)]
#[schema(as = Limits, example = json!({"environments": 10, "cpu": 16, "memory": 64}))]
#[allow(dead_code)] // a description; what is read becomes `events::Limits`
pub struct LimitsShape {
    pub environments: Option<u32>,
    /// Cores.
    pub cpu: Option<f64>,
    /// GiB.
    pub memory: Option<f64>,
    /// Whole devices.
    pub gpu: Option<u32>,
    /// GiB.
    pub storage: Option<f64>,
}

pub fn resources(fields: &mut Fields<'_>) -> Option<Resources> {
    let cpu = fields.required("cpu", fields::quantity(CPU_MILLI.0, CPU_MILLI.1));
    let memory = fields.required("memory", fields::quantity(MEMORY_MILLI.0, MEMORY_MILLI.1));
    let gpu = fields.optional("gpu", fields::whole(0, GPU_MAX));
    let storage = fields.optional("storage", fields::quantity(STORAGE_MILLI.0, STORAGE_MILLI.1));
    Some(Resources {
        cpu: cpu?,
        memory: memory?,
        gpu: gpu.and_then(|gpu| u32::try_from(gpu).ok()).unwrap_or_default(),
        storage: storage.unwrap_or_default(),
    })
}

pub fn limits(fields: &mut Fields<'_>) -> Limits {
    let count = |fields: &mut Fields<'_>, name| {
        let count = fields.optional(name, fields::whole(0, LIMIT_COUNT_MAX));
        count.and_then(|count| u32::try_from(count).ok())
    };
    let amount = |fields: &mut Fields<'_>, name| fields.optional(name, fields::quantity(0, LIMIT_MILLI_MAX));
    Limits {
        environments: count(fields, "environments"),
        cpu: amount(fields, "cpu"),
        memory: amount(fields, "memory"),
        gpu: count(fields, "gpu"),
        storage: amount(fields, "storage"),
    }
}

/// `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`
pub fn name(value: &Value) -> Result<String, Wrong> {
    let name = fields::text(1, NAME_LENGTH_MAX)(value)?;
    let fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if fits {
        Ok(name)
    } else {
        let rule = "must be letters, digits, '.', '_' or '-', starting with a letter or a digit";
        Err(Wrong::new("malformed", rule))
    }
}

/// A name for people to read: any printable text.
pub fn label(value: &Value) -> Result<String, Wrong> {
    let label = fields::text(1, NAME_LENGTH_MAX)(value)?;
    if label.trim() == label {
        Ok(label)
    } else {
        Err(Wrong::new("malformed", "must not begin or end blank"))
    }
}

/// An image reference, for example `registry.example.org/team/image:1.2`.
pub fn image(value: &Value) -> Result<String, Wrong> {
    let image = fields::text(1, IMAGE_LENGTH_MAX)(value)?;
    let fits = image.starts_with(|c: char| c.is_ascii_alphanumeric())
        && image.chars().all(|c| c.is_ascii_alphanumeric() || "._-/:@+".contains(c));
    if fits { Ok(image) } else { Err(Wrong::new("malformed", "must be an image reference like name:tag")) }
}

/// A dataset's name is a DNS label: it names a folder, a volume and a label.
pub fn dataset(value: &Value) -> Result<String, Wrong> {
    let name = fields::text(1, DATASET_LENGTH_MAX)(value)?;
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.starts_with(inside) && name.ends_with(inside) && name.chars().all(|c| inside(c) || c == '-') {
        Ok(name)
    } else {
        Err(Wrong::new("malformed", "must be a-z, 0-9 or '-', with a letter or a digit at both ends"))
    }
}

/// A range like `10.0.0.0/8`; a bare address is a range of one. Host bits are cut off.
pub fn range(value: &Value) -> Result<IpNet, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    let range = text.parse::<IpNet>().ok().or_else(|| {
        let address: std::net::IpAddr = text.parse().ok()?;
        Some(IpNet::from(address))
    });
    range
        .map(|range| range.trunc())
        .ok_or_else(|| Wrong::new("malformed", "must be a range like 10.0.0.0/8 or an address"))
}

pub fn address(value: &Value) -> Result<std::net::IpAddr, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    text.parse().map_err(|_| Wrong::new("malformed", "must be an IPv4 or IPv6 address"))
}

/// A public key in the form of `~/.ssh/id_ed25519.pub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshPublicKey {
    /// Type, key and comment, one blank between.
    pub line: String,
    /// `SHA256:...`
    pub fingerprint: String,
}

/// One OpenSSH public key. Private keys, options in front, certificates, DSA and short RSA keys are
/// refused, each with its own words.
pub fn public_key(value: &Value) -> Result<SshPublicKey, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?.trim();
    let malformed = |detail: &str| Err(Wrong::new("malformed", detail));
    if text.len() > PUBLIC_KEY_LENGTH_MAX {
        return Err(Wrong::new("too_long", format!("must have at most {PUBLIC_KEY_LENGTH_MAX} bytes")));
    }
    if text.contains("PRIVATE KEY") {
        return malformed(
            "this is a private key: keep it secret and send the public one (the file ending in .pub)",
        );
    }
    if text.chars().any(char::is_control) {
        return malformed("must be one line");
    }
    let Ok(key) = PublicKey::from_openssh(text) else {
        return malformed(
            "must be one OpenSSH public key like 'ssh-ed25519 AAAA... comment', without options",
        );
    };
    #[allow(clippy::wildcard_enum_match_arm)] // the library's list may grow; what is not known is refused
    match key.algorithm() {
        Algorithm::Dsa => return Err(Wrong::new("too_weak", "DSA keys are not accepted; use Ed25519")),
        Algorithm::Rsa { .. } if rsa_bits(&key) < RSA_BITS_MIN => {
            let detail = format!("RSA keys need at least {RSA_BITS_MIN} bits; use Ed25519");
            return Err(Wrong::new("too_weak", detail));
        }
        Algorithm::Rsa { .. }
        | Algorithm::Ed25519
        | Algorithm::Ecdsa { .. }
        | Algorithm::SkEd25519
        | Algorithm::SkEcdsaSha2NistP256 => {}
        _ => return malformed("must be an Ed25519, ECDSA, RSA or security-key public key"),
    }
    let line = key.to_openssh().map_err(|_| Wrong::new("malformed", "must be one OpenSSH public key"))?;
    Ok(SshPublicKey {
        line: line.trim().to_owned(),
        fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
    })
}

fn rsa_bits(key: &PublicKey) -> usize {
    key.key_data().rsa().and_then(|rsa| rsa.n.as_positive_bytes()).map_or(0, |modulus| modulus.len() * 8)
}

pub fn role(value: &Value) -> Result<Role, Wrong> {
    let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
    [Role::Admin, Role::Operator, Role::Developer, Role::Auditor]
        .into_iter()
        .find(|role| role.name() == text)
        .ok_or_else(|| Wrong::new("malformed", "must be admin, operator, developer or auditor"))
}

/// Beside a person's roles that of who registers relays.
pub fn token_role(value: &Value) -> Result<Role, Wrong> {
    if value.as_str() == Some(Role::Enroller.name()) {
        return Ok(Role::Enroller);
    }
    let named = |wrong: Wrong| match wrong.code {
        "malformed" => Wrong::new("malformed", "must be admin, operator, developer, auditor or enroller"),
        _ => wrong,
    };
    role(value).map_err(named)
}

/// A tenant other than the system's own.
pub fn tenant(value: &Value) -> Result<TenantId, Wrong> {
    let tenant = fields::id(TenantId::parse)(value)?;
    if tenant.is_system() {
        Err(Wrong::new("malformed", "this tenant is the system's own"))
    } else {
        Ok(tenant)
    }
}

pub fn user_name(value: &Value) -> Result<UserName, Wrong> {
    let name = fields::id(UserName::parse)(value)?;
    if name.as_str().starts_with("tok-") {
        return Err(Wrong::new("malformed", "names that start with 'tok-' are those of tokens"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti user@example.com";

    #[test]
    fn a_public_key_is_one_line_of_a_strong_kind() {
        let key = public_key(&json!(format!("  {ED25519}\n"))).unwrap();
        assert_eq!(key.line, ED25519);
        assert_eq!(key.fingerprint, "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ");
        let wrong = [
            format!("command=\"x\" {ED25519}"),
            format!("{ED25519}\n{ED25519}"),
            "ssh-ed25519 AAAA".to_owned(),
            "-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(),
            "ssh-ed25519-cert-v01@openssh.com AAAA".to_owned(),
            String::new(),
        ];
        for text in wrong {
            assert_eq!(public_key(&json!(text)).unwrap_err().code, "malformed", "{text}");
        }
        assert_eq!(public_key(&json!(1)).unwrap_err().code, "wrong_type");
    }

    #[test]
    fn a_range_is_cut_to_its_network() {
        let of = |text: &str| range(&json!(text)).map(|range| range.to_string()).map_err(|wrong| wrong.code);
        assert_eq!(of("10.1.2.3/8"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(of("10.1.2.3"), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(of("::1"), Ok("::1/128".to_owned()));
        for text in ["10.0.0.0/33", "10.0.0", "any", ""] {
            assert_eq!(of(text), Err("malformed"), "{text}");
        }
    }

    #[test]
    fn a_name_stays_in_its_alphabet() {
        assert_eq!(name(&json!("my-env_1.2")).unwrap(), "my-env_1.2");
        for (text, code) in
            [("", "too_short"), ("-a", "malformed"), ("a b", "malformed"), ("a/b", "malformed")]
        {
            assert_eq!(name(&json!(text)).unwrap_err().code, code, "{text}");
        }
        assert_eq!(name(&json!("a".repeat(64))).unwrap_err().code, "too_long");
    }
}
