//! Where does an aggregate live in the log? `ev.<tenant>.<kind>.<id>`, one literal subject each.

use std::fmt;

use crate::catalogue::Kind;
use crate::ids::TenantId;

/// The subject of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    pub tenant: TenantId,
    pub kind: Kind,
    /// The aggregate's id as its owner writes it (not encoded).
    pub id: String,
}

/// The text is not the subject of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a subject of the form ev.<tenant>.<kind>.<id>")]
pub struct InvalidSubject(pub String);

impl Subject {
    pub fn new(tenant: TenantId, kind: Kind, id: impl Into<String>) -> Self {
        Self { tenant, kind, id: id.into() }
    }

    pub fn parse(text: &str) -> Result<Self, InvalidSubject> {
        let invalid = || InvalidSubject(text.to_owned());
        let mut tokens = text.split('.');
        let (Some("ev"), Some(tenant), Some(kind), Some(id), None) =
            (tokens.next(), tokens.next(), tokens.next(), tokens.next(), tokens.next())
        else {
            return Err(invalid());
        };
        Ok(Self {
            tenant: TenantId::parse(tenant).map_err(|_| invalid())?,
            kind: Kind::from_wire(kind).ok_or_else(invalid)?,
            id: decode(id).ok_or_else(invalid)?,
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ev.{}.{}.{}", self.tenant, self.kind.wire_name(), encode(&self.id))
    }
}

/// Bytes that a subject token cannot hold are written `=xx`.
fn encode(id: &str) -> String {
    let mut token = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02x}"));
        }
    }
    token
}

fn decode(token: &str) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let digits = [rest.next()?, rest.next()?];
            let text = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(text, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_id_survives_its_subject(id in "\\PC{1,40}") {
            let subject = Subject::new(TenantId::system(), Kind::User, id);
            let text = subject.to_string();
            prop_assert_eq!(text.split('.').count(), 4);
            prop_assert!(!text.contains(['*', '>', ' ']));
            prop_assert_eq!(Subject::parse(&text), Ok(subject));
        }
    }

    #[test]
    fn a_foreign_subject_is_refused() {
        for text in
            ["ev.a.env", "ev.a.nothing.x", "ev.a.env.", "evil.a.env.x", "ev.a.env.x.y", "ev.a.env.=g0"]
        {
            assert!(Subject::parse(text).is_err(), "{text}");
        }
    }
}
