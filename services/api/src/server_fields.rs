//! What does somebody say of a server? The fields of a registration and of a change, with their limits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use events::credential::SecretRef;
use events::ids::{RelayId, ServerId, Tag};
use events::server::change::Change;
use events::server::{Credential, Method, Settings};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use ssh::keys::{KeyError, KeyPair};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::{self, Fields, Wrong};
use crate::problem::Problem;
use crate::readers;

const HOST_LENGTH_MAX: usize = 253;
const ACCOUNT_LENGTH_MAX: usize = 255;
/// Of the field in utmp.
const LOGIN_NAME_LENGTH_MAX: usize = 32;
const PASSWORD_LENGTH_MAX: usize = 1_024;
/// An RSA key of 16384 bits has 12,800.
const PRIVATE_KEY_BYTES_MAX: usize = 32 << 10;
const GROUPS_MAX: usize = 32;
const LABELS_MAX: usize = 32;
/// Private keys beside one import.
const KEYS_MAX: usize = 64;
const PORT_DEFAULT: u16 = 22;

/// What is said of a server. Of `password`, `private_key` and `certificate` there is one.
#[derive(ToSchema)]
#[schema(as = ServerAsked, example = json!({
    "name": "web one", "host": "web1.example.org", "port": 22, "username": "deploy", "password": "correct horse",
    "zone": "dmz", "groups": ["web"], "labels": {"env": "prod"},
}))]
#[allow(dead_code)] // a description; what is read becomes `Settings` or a `Change`
pub struct AskedShape {
    /// Any text of 1 to 63 characters; not unique.
    name: String,
    /// Name or address.
    host: String,
    /// 22 when absent.
    port: Option<u16>,
    username: String,
    password: Option<String>,
    /// OpenSSH, PEM, PKCS#8 or PuTTY.
    private_key: Option<String>,
    /// Of the private key, if it is encrypted.
    passphrase: Option<String>,
    /// `true`: a certificate of `GET /api/server-authority`, which the server trusts.
    certificate: Option<bool>,
    zone: Option<String>,
    /// The relay that leads there; directly when absent.
    relay: Option<String>,
    /// Groups of servers, at most 32.
    groups: Option<Vec<String>>,
    /// At most 32.
    labels: Option<std::collections::HashMap<String, String>>,
    /// `false`: do not try to connect.
    test: Option<bool>,
}

/// What changes of a server; what is left out stays. Of `password`, `private_key` and `certificate` there is at most
/// one.
#[derive(ToSchema)]
#[schema(as = ServerChange, example = json!({"zone": "dmz", "labels": {"env": "prod"}}))]
#[allow(dead_code)] // a description; what is read becomes a `Change`
pub struct ChangeShape {
    /// Any text of 1 to 63 characters; not unique.
    name: Option<String>,
    /// Name or address.
    host: Option<String>,
    port: Option<u16>,
    username: Option<String>,
    password: Option<String>,
    /// OpenSSH, PEM, PKCS#8 or PuTTY.
    private_key: Option<String>,
    /// Of the private key, if it is encrypted.
    passphrase: Option<String>,
    /// `true`: a certificate of `GET /api/server-authority`, which the server trusts.
    certificate: Option<bool>,
    zone: Option<String>,
    /// The relay that leads there.
    relay: Option<String>,
    /// Groups of servers, at most 32.
    groups: Option<Vec<String>>,
    /// At most 32.
    labels: Option<std::collections::HashMap<String, String>>,
    /// `false`: do not try to connect.
    test: Option<bool>,
}

/// With what one logs in, as it was said.
pub enum Said {
    Password(SecretString),
    PrivateKey(SecretString),
    Certificate,
}

impl Said {
    /// Whether the vault has it already; a key is the same if its public half is.
    pub fn is(&self, method: Method, stored: Option<&SecretString>) -> bool {
        let public = |text: &SecretString| KeyPair::read(text, None).ok().map(|key| key.public_line());
        match (self, method, stored) {
            (Self::Certificate, Method::Certificate, _) => true,
            (Self::Password(said), Method::Password, Some(stored)) => {
                said.expose_secret() == stored.expose_secret()
            }
            (Self::PrivateKey(said), Method::PrivateKey, Some(stored)) => {
                public(said).is_some_and(|said| public(stored) == Some(said))
            }
            (Self::Certificate | Self::Password(_) | Self::PrivateKey(_), _, _) => false,
        }
    }

    /// What stands in the log, and what goes into the vault under its name.
    pub fn kept(self, server: &ServerId, version: Uuid) -> (Credential, Option<(SecretRef, SecretString)>) {
        let (method, text) = match self {
            Self::Password(text) => (Method::Password, text),
            Self::PrivateKey(text) => (Method::PrivateKey, text),
            Self::Certificate => return (Credential { method: Method::Certificate, secret: None }, None),
        };
        let name = SecretRef::server_login(server, version);
        (Credential { method, secret: Some(name.clone()) }, Some((name, text)))
    }
}

/// A whole registration.
pub struct Asked {
    /// With a credential that has no name yet.
    pub settings: Settings,
    pub said: Said,
    pub test: bool,
}

/// A change; `credential` in it is set when the secret has its name.
pub struct AskedChange {
    pub change: Change,
    pub said: Option<Said>,
    pub test: bool,
}

/// Reads the whole body before anything is refused.
pub fn registration(body: &Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body);
    let name = fields.required("name", readers::label);
    let host = fields.required("host", host);
    let port = fields.optional("port", port);
    let username = fields.required("username", account);
    let said = credential(&mut fields);
    if said.is_none() && !fields.has_errors() {
        fields.note("password", Wrong::new("missing", "password, private_key or certificate must be there"));
    }
    let zone = fields.optional("zone", fields::id(Tag::parse));
    let relay = fields.optional("relay", fields::id(RelayId::parse));
    let groups = fields.list("groups", GROUPS_MAX, fields::id(Tag::parse));
    let labels = fields.optional("labels", labels);
    let test = fields.optional("test", fields::boolean);
    let whole = name.zip(host).zip(username).zip(said);
    let asked = whole.map(|(((name, host), username), said)| Asked {
        settings: Settings {
            name,
            host,
            port: port.unwrap_or(PORT_DEFAULT),
            username,
            credential: Credential { method: Method::Certificate, secret: None },
            zone,
            relay,
            groups: groups.into_iter().collect(),
            labels: labels.unwrap_or_default(),
        },
        said,
        test: test.unwrap_or(true),
    });
    fields.finish(asked)
}

/// As a registration, but everything may be left out; `null` takes zone or relay away.
pub fn change(body: &Value) -> Result<AskedChange, Problem> {
    let mut fields = Fields::of(body);
    let groups_said = body.get("groups").is_some_and(|groups| !groups.is_null());
    let groups = fields.list("groups", GROUPS_MAX, fields::id(Tag::parse));
    let change = Change {
        name: fields.optional("name", readers::label),
        host: fields.optional("host", host),
        port: fields.optional("port", port),
        username: fields.optional("username", account),
        credential: None,
        zone: fields.nullable("zone", fields::id(Tag::parse)),
        relay: fields.nullable("relay", fields::id(RelayId::parse)),
        groups: groups_said.then(|| groups.into_iter().collect::<BTreeSet<_>>()),
        labels: fields.optional("labels", labels),
    };
    let said = credential(&mut fields);
    let test = fields.optional("test", fields::boolean);
    fields.finish(Some(AskedChange { change, said, test: test.unwrap_or(true) }))
}

/// What holds for every server of an import that says nothing else: read for what is wrong with it.
pub fn defaults(fields: &mut Fields<'_>) -> Option<()> {
    fields.optional("port", port);
    fields.optional("username", account);
    fields.optional("zone", fields::id(Tag::parse));
    fields.optional("relay", fields::id(RelayId::parse));
    fields.list("groups", GROUPS_MAX, fields::id(Tag::parse));
    fields.optional("labels", labels);
    // a passphrase alone is that of the keys which the text names
    if fields.has("password") || fields.has("private_key") || fields.has("certificate") {
        credential(fields);
    } else {
        fields.optional("passphrase", secret(PASSWORD_LENGTH_MAX));
        fields.known(&["password", "private_key", "certificate"]);
    }
    Some(())
}

/// A text of many lines, secrets among them.
pub fn document(bytes_max: usize) -> impl Fn(&Value) -> Result<SecretString, Wrong> {
    secret(bytes_max)
}

/// Texts by the names that their writer's machine has for them.
pub fn private_keys(value: &Value) -> Result<BTreeMap<String, SecretString>, Wrong> {
    let keys = value.as_object().ok_or_else(|| Wrong::kind("an object of texts", value))?;
    if keys.len() > KEYS_MAX {
        return Err(Wrong::new("too_long", format!("must have at most {KEYS_MAX} keys")));
    }
    let text = secret(PRIVATE_KEY_BYTES_MAX);
    keys.iter().map(|(path, value)| Ok((path.clone(), text(value)?))).collect()
}

fn credential(fields: &mut Fields<'_>) -> Option<Said> {
    let password = fields.optional("password", secret(PASSWORD_LENGTH_MAX));
    let key_text = fields.optional("private_key", secret(PRIVATE_KEY_BYTES_MAX));
    let passphrase = fields.optional("passphrase", secret(PASSWORD_LENGTH_MAX));
    let certificate = fields.optional("certificate", fields::boolean).unwrap_or_default();
    let given = usize::from(password.is_some()) + usize::from(key_text.is_some()) + usize::from(certificate);
    if given > 1 {
        let detail = "only one of password, private_key and certificate may be there";
        fields.note("password", Wrong::new("unknown", detail));
        return None;
    }
    if passphrase.is_some() && key_text.is_none() {
        fields.note("passphrase", Wrong::new("unknown", "belongs to a private_key, which is not there"));
        return None;
    }
    match (password, key_text) {
        (Some(password), _) => Some(Said::Password(password)),
        (None, Some(text)) => match private_key(&text, passphrase.as_ref()) {
            Ok(key) => Some(Said::PrivateKey(key)),
            Err((field, wrong)) => {
                fields.note(field, wrong);
                None
            }
        },
        (None, None) => certificate.then_some(Said::Certificate),
    }
}

/// The key as it is kept: OpenSSH, without its passphrase, because the vault seals it.
fn private_key(
    text: &SecretString,
    passphrase: Option<&SecretString>,
) -> Result<SecretString, (&'static str, Wrong)> {
    let unreadable = |detail: &str| ("private_key", Wrong::new("malformed", detail));
    let key = KeyPair::read(text, passphrase).map_err(|error| match (&error, passphrase) {
        (KeyError::Private(_), None) if error.needs_passphrase() => {
            ("passphrase", Wrong::new("missing", "the private key is encrypted"))
        }
        (KeyError::Private(_), Some(_)) if KeyPair::is_encrypted(text) => {
            ("passphrase", Wrong::new("malformed", "does not open the private key"))
        }
        (KeyError::Private(_) | KeyError::Public(_) | KeyError::Make(_), _) => {
            unreadable("must be a private key in the form of OpenSSH, PEM, PKCS#8 or PuTTY")
        }
    })?;
    key.to_text().map_err(|_| unreadable("is of a kind that cannot be kept"))
}

/// A text that is never repeated, line breaks included.
fn secret(length_max: usize) -> impl Fn(&Value) -> Result<SecretString, Wrong> {
    move |value| {
        let text = value.as_str().ok_or_else(|| Wrong::kind("a string", value))?;
        if text.is_empty() {
            return Err(Wrong::new("too_short", "must not be empty"));
        }
        if text.len() > length_max {
            return Err(Wrong::new("too_long", format!("must have at most {length_max} bytes")));
        }
        if text.contains('\0') {
            return Err(Wrong::new("malformed", "must not have NUL characters"));
        }
        Ok(SecretString::from(text))
    }
}

/// A name of DNS or of /etc/hosts, or an address.
fn host(value: &Value) -> Result<String, Wrong> {
    let host = fields::text(1, HOST_LENGTH_MAX)(value)?;
    let is_name = host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if is_name || host.parse::<IpAddr>().is_ok() {
        Ok(host)
    } else {
        Err(Wrong::new("malformed", "must be a host name or an address, without a port or a scheme"))
    }
}

fn port(value: &Value) -> Result<u16, Wrong> {
    let port = fields::whole(1, u16::MAX.into())(value)?;
    u16::try_from(port).map_err(|_| Wrong::new("out_of_range", "must be between 1 and 65535"))
}

/// Whatever the server calls its accounts, `DOMAIN\name` and `name@domain` included.
fn account(value: &Value) -> Result<String, Wrong> {
    let account = fields::text(1, ACCOUNT_LENGTH_MAX)(value)?;
    if account.chars().any(char::is_whitespace) {
        return Err(Wrong::new("malformed", "must not have blanks"));
    }
    Ok(account)
}

/// An account that is made or looked at there: what `useradd` takes.
pub fn login_name(value: &Value) -> Result<String, Wrong> {
    let name = fields::text(1, LOGIN_NAME_LENGTH_MAX)(value)?;
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c));
    let rule = "must be a letter or '_' and then a-z, 0-9, '_', '.' or '-'";
    if fits { Ok(name) } else { Err(Wrong::new("malformed", rule)) }
}

pub fn labels(value: &Value) -> Result<BTreeMap<Tag, Tag>, Wrong> {
    let labels = value.as_object().ok_or_else(|| Wrong::kind("an object of texts", value))?;
    if labels.len() > LABELS_MAX {
        return Err(Wrong::new("too_long", format!("must have at most {LABELS_MAX} labels")));
    }
    let tag = fields::id(Tag::parse);
    labels.iter().map(|(key, value)| Ok((tag(&Value::from(key.as_str()))?, tag(value)?))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"name": "a", "host": "web1", "username": "deploy", "password": "x"})
    }

    fn wrong<T>(read: Result<T, Problem>) -> Vec<(String, &'static str)> {
        match read {
            Ok(_) => Vec::new(),
            Err(problem) => problem.errors().iter().map(|error| (error.field.clone(), error.code)).collect(),
        }
    }

    #[test]
    fn a_whole_registration_is_taken() {
        let mut body = good();
        body["labels"] = json!({"env": "prod"});
        body["groups"] = json!(["web", "web"]);
        let asked = registration(&body).unwrap();
        assert_eq!((asked.settings.port, asked.settings.groups.len(), asked.test), (22, 1, true));
        assert!(matches!(asked.said, Said::Password(_)));
    }

    #[test]
    fn every_field_wrong_in_every_way_is_named() {
        let cases = [
            ("name", json!(""), "name", "too_short"),
            ("host", json!("a b"), "host", "malformed"),
            ("host", json!("http://a"), "host", "malformed"),
            ("host", json!("-oProxyCommand=x"), "host", "malformed"),
            ("port", json!(0), "port", "out_of_range"),
            ("port", json!(65_536), "port", "out_of_range"),
            ("username", json!("a b"), "username", "malformed"),
            ("password", json!(""), "password", "too_short"),
            ("password", json!(1), "password", "wrong_type"),
            ("passphrase", json!("x"), "passphrase", "unknown"),
            ("certificate", json!(true), "password", "unknown"),
            ("private_key", json!("x"), "password", "unknown"),
            ("zone", json!("a b"), "zone", "malformed"),
            ("relay", json!("A"), "relay", "malformed"),
            ("groups", json!(["a b"]), "groups[0]", "malformed"),
            ("labels", json!({"a": "b c"}), "labels", "malformed"),
            ("labels", json!({"a=b": "c"}), "labels", "malformed"),
            ("labels", json!([]), "labels", "wrong_type"),
            ("test", json!("no"), "test", "wrong_type"),
            ("colour", json!("red"), "colour", "unknown"),
        ];
        for (field, value, named, code) in cases {
            let mut body = good();
            body[field] = value;
            assert_eq!(wrong(registration(&body)), [(named.to_owned(), code)], "{field}");
        }
        let mut body = good();
        body["password"] = Value::Null;
        assert_eq!(wrong(registration(&body)), [("password".to_owned(), "missing")]);
        assert!(
            registration(&json!({"name": "a", "host": "::1", "username": "DOM\\u", "certificate": true}))
                .is_ok()
        );
    }

    #[test]
    fn a_private_key_is_read_and_kept_without_its_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, passphrase: &str| {
            let path = folder.path().join(name);
            let made = std::process::Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
                .arg(&path)
                .status();
            assert!(made.unwrap().success());
            std::fs::read_to_string(path).unwrap()
        };
        let (plain, locked) = (make("plain", ""), make("locked", "open sesame"));
        let of = |key: &str, passphrase: Option<&str>| {
            let mut body = good();
            body["password"] = Value::Null;
            body["private_key"] = json!(key);
            body["passphrase"] = json!(passphrase);
            registration(&body)
        };
        assert!(of(&plain, None).is_ok());
        let Said::PrivateKey(kept) = of(&locked, Some("open sesame")).unwrap().said else { panic!() };
        assert!(KeyPair::read(&kept, None).is_ok(), "{}", kept.expose_secret());
        assert_eq!(wrong(of(&locked, None)), [("passphrase".to_owned(), "missing")]);
        assert_eq!(wrong(of(&locked, Some("wrong"))), [("passphrase".to_owned(), "malformed")]);
        assert_eq!(wrong(of("no key", None)), [("private_key".to_owned(), "malformed")]);
    }

    #[test]
    fn a_change_takes_away_what_is_null_and_leaves_what_is_absent() {
        let asked = change(&json!({"zone": null, "port": 2222})).unwrap().change;
        assert_eq!((asked.zone, asked.relay, asked.port), (Some(None), None, Some(2222)));
        let asked = change(&json!({"zone": "dmz", "groups": []})).unwrap().change;
        assert_eq!((asked.zone, asked.groups), (Some(Some(Tag::parse("dmz").unwrap())), Some([].into())));
        assert_eq!(wrong(change(&json!({"zone": 1}))), [("zone".to_owned(), "wrong_type")]);
    }
}
