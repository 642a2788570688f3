//! What do hub and agent say to each other? The protocol of relays; a result of ours says more: a failure's class, and
//! bytes that are no text.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

pub const EXECUTE_COMMAND: &str = "execute_command";
pub const COMMAND_RESULT: &str = "command_result";
pub const COMMAND_RESULT_RECEIVED: &str = "command_result_received";

/// A command to run.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Execute {
    pub command_id: String,
    pub host: String,
    pub port: u16,
    pub username: String,
    #[serde(default)]
    pub password: Option<SecretString>,
    #[serde(default)]
    pub private_key: Option<SecretString>,
    /// The only key that is believed; the first that is seen where there is none.
    #[serde(default)]
    pub host_key: Option<String>,
    pub command: String,
    /// Milliseconds.
    pub timeout: u64,
}

/// How a command ended.
#[derive(Debug)]
pub enum Ended {
    Ran {
        exit_code: i32,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
    /// Nothing ran.
    Failed {
        class: String,
        reason: String,
        suggestion: String,
    },
    /// It may have run.
    BrokenOff {
        reason: String,
    },
}

impl Ended {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ran { .. } => "ran",
            Self::Failed { .. } => "failed",
            Self::BrokenOff { .. } => "broken_off",
        }
    }

    /// The message `command_result`. Whoever reads no more than the protocol has finds what it expects.
    pub fn message(&self, command_id: &str) -> Value {
        let result = match self {
            Self::Ran { exit_code, stdout, stderr } => {
                let mut result = json!({ "exitCode": exit_code });
                for (name, bytes) in [("stdout", stdout), ("stderr", stderr)] {
                    result[name] = json!(String::from_utf8_lossy(bytes));
                    if std::str::from_utf8(bytes).is_err() {
                        result[format!("{name}Base64")] = json!(data_encoding::BASE64.encode(bytes));
                    }
                }
                result
            }
            Self::Failed { class, reason, suggestion } => json!({
                "stdout": "", "stderr": reason, "exitCode": 1, "class": class, "suggestion": suggestion,
            }),
            Self::BrokenOff { reason } => {
                json!({ "stdout": "", "stderr": reason, "exitCode": 1, "lost": true })
            }
        };
        json!({ "commandId": command_id, "result": result })
    }
}

/// Names of files are made of it.
pub fn is_command_id(text: &str) -> bool {
    (1..=100).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_by_who_knows_no_more_than_the_protocol() {
        let ran = Ended::Ran { exit_code: 3, stdout: vec![0xff, b'a'], stderr: b"no\n".to_vec() };
        let message = ran.message("cmd_1_a");
        assert_eq!((&message["commandId"], &message["result"]["exitCode"]), (&json!("cmd_1_a"), &json!(3)));
        assert_eq!(
            (&message["result"]["stdout"], &message["result"]["stdoutBase64"]),
            (&json!("\u{fffd}a"), &json!("/2E="))
        );
        assert!(message["result"].get("stderrBase64").is_none());
        let failed = Ended::Failed {
            class: "dns_failed".into(),
            reason: "no such name".into(),
            suggestion: "x".into(),
        };
        let result = &failed.message("a")["result"];
        assert_eq!(
            (&result["stderr"], &result["exitCode"], &result["class"]),
            (&json!("no such name"), &json!(1), &json!("dns_failed"))
        );
        for wrong in ["", "a/b", "..", "a b", &"a".repeat(101)] {
            assert!(!is_command_id(wrong), "{wrong}");
        }
    }
}
