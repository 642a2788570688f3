//! What did a command say, byte by byte? As text where it is text; what is too much is cut, and said to be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Kept of each of the two outputs. Both together fit an event even if each byte needs six.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// One output of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Instead of `text`, where the bytes are no UTF-8 or have a NUL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// How many bytes there were in all, where not all are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Where more of it lies than is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
}

/// An output that is too long for an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stored {
    pub version: Uuid,
    /// So many bytes from its beginning.
    pub bytes: u64,
    /// Of those, hexadecimal.
    pub sha256: String,
}

impl Output {
    /// The first of `bytes`, of `total` that there were.
    pub fn of(bytes: &[u8], total: u64) -> Self {
        let kept = &bytes[..bytes.len().min(OUTPUT_BYTES_MAX)];
        let bytes_total = (total > kept.len() as u64).then_some(total);
        let whole = match std::str::from_utf8(kept) {
            // the cut went through a character
            Err(error) if bytes_total.is_some() && error.error_len().is_none() => {
                &kept[..error.valid_up_to()]
            }
            Ok(_) | Err(_) => kept,
        };
        match std::str::from_utf8(whole) {
            // databases hold no text with a NUL
            Ok(text) if !text.contains('\0') => {
                Self { text: text.to_owned(), base64: None, bytes_total, stored: None }
            }
            Ok(_) | Err(_) => {
                let base64 = Some(data_encoding::BASE64.encode(whole));
                Self { text: String::new(), base64, bytes_total, stored: None }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Some of it is nowhere.
    pub fn truncated(&self) -> bool {
        let kept = self.stored.as_ref().map_or(0, |stored| stored.bytes);
        self.bytes_total.is_some_and(|total| total > kept)
    }

    pub fn bytes(&self) -> Vec<u8> {
        match &self.base64 {
            // what cannot be read is shown as it stands
            Some(text) => {
                data_encoding::BASE64.decode(text.as_bytes()).unwrap_or_else(|_| text.clone().into_bytes())
            }
            None => self.text.clone().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let output = Output::of(&bytes, bytes.len() as u64);
            prop_assert!(!output.truncated());
            let json = serde_json::to_string(&output).unwrap();
            let read: Output = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read.bytes(), bytes);
        }
    }

    #[test]
    fn what_is_stored_is_not_truncated() {
        let mut output = Output::of(&[b'x'; 70_000], 70_000);
        assert!(output.truncated());
        let stored = |bytes| Some(Stored { version: Uuid::nil(), bytes, sha256: String::new() });
        output.stored = stored(70_000);
        assert!(!output.truncated());
        output.stored = stored(69_999);
        assert!(output.truncated());
    }

    #[test]
    fn a_nul_is_no_text() {
        let output = Output::of(b"a\0b", 3);
        assert_eq!((output.text.as_str(), output.bytes()), ("", b"a\0b".to_vec()));
    }

    #[test]
    fn what_is_cut_is_said_to_be_and_no_character_breaks() {
        let text = "ä".repeat(OUTPUT_BYTES_MAX);
        let output = Output::of(&text.as_bytes()[1..], text.len() as u64 - 1);
        assert!(output.truncated() && output.base64.is_some(), "it began within a character");
        let output = Output::of(format!("x{text}").as_bytes(), text.len() as u64 + 1);
        assert_eq!((output.bytes().len(), output.bytes_total), (OUTPUT_BYTES_MAX - 1, Some(131_073)));
        let most = vec![1; OUTPUT_BYTES_MAX];
        assert!(serde_json::to_string(&Output::of(&most, 65_536)).unwrap().len() < 400 << 10);
    }
}
