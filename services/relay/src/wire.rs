//! What do relays and hub say to each other? As relays of others speak it: unknown fields are passed over, and what
//! is wrong is named.

use events::command::CommandFailed;
use events::ids::CommandId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

pub const EXECUTE_COMMAND: &str = "execute_command";
pub const COMMAND_RESULT: &str = "command_result";
pub const COMMAND_RESULT_RECEIVED: &str = "command_result_received";

/// The largest message of a relay. A result of 64 KiB may need six bytes for one; larger ones are cut.
pub const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// Of what our agent says of a failure.
const REASON_CHARACTERS_MAX: usize = 1_000;

/// With whose name a relay comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub proxy_id: String,
    pub api_key: String,
}

/// A command for a relay. Not `Debug`: it holds a secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecuteCommand<'c> {
    pub command_id: &'c CommandId,
    pub server_id: &'c str,
    pub host: &'c str,
    pub port: u16,
    pub username: &'c str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub password: Option<SecretString>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose")]
    pub private_key: Option<SecretString>,
    /// The only key that is to be believed, where one is known; relays of others pass over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_key: Option<&'c str>,
    pub command: &'c str,
    /// Milliseconds.
    pub timeout: u64,
}

fn expose<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

/// `proxyId` and `apiKey`: from the payload of the connect, else from the address; each wherever it is.
pub fn credentials(auth: &Value, query: &str) -> Result<Credentials, String> {
    let of_query = |name: &str| query_value(query, name);
    let find = |name: &str| {
        let said = auth.get(name).and_then(Value::as_str).map(str::to_owned);
        said.or_else(|| of_query(name)).filter(|text| !text.is_empty())
    };
    let missing = |name| format!("{name} is missing: send proxyId and apiKey as auth or as query");
    Ok(Credentials {
        proxy_id: find("proxyId").ok_or_else(|| missing("proxyId"))?,
        api_key: find("apiKey").ok_or_else(|| missing("apiKey"))?,
    })
}

/// Our own agent says how many tunnels it carries; relays of others say nothing, and are asked for none.
pub fn carries_tunnels(auth: &Value) -> bool {
    auth.get("tunnels").and_then(Value::as_u64).is_some_and(|most| most > 0)
}

fn query_value(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.into_iter().find(|(key, _)| *key == name)?.1;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// What a relay says of a command.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub id: CommandId,
    pub how: How,
}

#[derive(Debug, PartialEq)]
pub enum How {
    Ran {
        exit_code: i32,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
    },
    /// Nothing ran; said by our own agent, which knows.
    Failed(CommandFailed),
    /// It may have run; likewise.
    Lost(String),
}

/// `{commandId, result: {stdout, stderr, exitCode}}`; our own agent may add `class` and `suggestion`, `lost`, and
/// bytes that are no text as `stdoutBase64` and `stderrBase64`.
pub fn result(said: &Value) -> Result<Said, String> {
    let id = said.get("commandId").and_then(Value::as_str).ok_or("commandId is missing")?;
    let id = CommandId::parse(id).map_err(|error| format!("commandId: {error}"))?;
    let result = said.get("result").filter(|result| result.is_object()).ok_or("result is missing")?;
    let text = |name: &str| match result.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("result.{name} must be a string")),
    };
    let bytes = |name: &str| match text(&format!("{name}Base64"))? {
        None => Ok(text(name)?.unwrap_or_default().as_bytes().to_vec()),
        Some(encoded) => {
            let decoded = data_encoding::BASE64.decode(encoded.as_bytes());
            decoded.map_err(|error| format!("result.{name}Base64: {error}"))
        }
    };
    let reason = || text("stderr").map(|reason| shortened(reason.unwrap_or_default()));
    if let Some(class) = text("class")? {
        let suggestion = text("suggestion")?.map(shortened);
        let failed = CommandFailed { class: shortened(class), reason: reason()?, suggestion };
        return Ok(Said { id, how: How::Failed(failed) });
    }
    if result.get("lost").and_then(Value::as_bool) == Some(true) {
        return Ok(Said { id, how: How::Lost(reason()?) });
    }
    let exit_code = match result.get("exitCode") {
        // what was ended by a signal has no code in the common libraries
        None | Some(Value::Null) => -1,
        Some(code) => {
            let code = code.as_i64().and_then(|code| i32::try_from(code).ok());
            code.ok_or("result.exitCode must be a whole number")?
        }
    };
    Ok(Said { id, how: How::Ran { exit_code, stdout: bytes("stdout")?, stderr: bytes("stderr")? } })
}

/// A sentence, not an output; databases hold no NUL.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(REASON_CHARACTERS_MAX).collect()
}

/// Why a result is not taken.
pub struct Refused {
    pub why: String,
    /// The same may be taken later.
    pub again: bool,
}

/// The answer to a result.
pub fn received(id: Option<&CommandId>, refused: Option<&Refused>) -> Value {
    let mut answer = json!({ "success": refused.is_none() });
    if let Some(id) = id {
        answer["commandId"] = json!(id);
    }
    if let Some(refused) = refused {
        answer["error"] = json!(refused.why);
        answer["again"] = json!(refused.again);
    }
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_comes_is_said_by_payload_or_address() {
        let both = Ok(Credentials { proxy_id: "rel-a".into(), api_key: "k &".into() });
        assert_eq!(credentials(&json!({"proxyId": "rel-a", "apiKey": "k &"}), "EIO=4"), both);
        assert_eq!(credentials(&Value::Null, "EIO=4&proxyId=rel-a&apiKey=k+%26&transport=polling"), both);
        assert_eq!(credentials(&json!({"apiKey": "k &"}), "proxyId=rel-a&apiKey=other"), both);
        assert!(credentials(&json!({"proxyId": "rel-a"}), "apiKey=").unwrap_err().contains("apiKey"));
        assert!(credentials(&json!("x"), "proxyId=%zz").unwrap_err().contains("proxyId"));
    }

    #[test]
    fn a_result_is_taken_as_relays_write_it() {
        let id = "cmd_1700000000123_abcdefghijkl";
        let said =
            json!({"commandId": id, "result": {"stdout": "ok\n", "stderr": "", "exitCode": 3}, "more": 1});
        let how = |said: &Value| result(said).unwrap().how;
        let ran = |exit_code, stdout: &[u8], stderr: &[u8]| How::Ran {
            exit_code,
            stdout: stdout.to_vec(),
            stderr: stderr.to_vec(),
        };
        assert_eq!(result(&said).unwrap().id.as_str(), id);
        assert_eq!(how(&said), ran(3, b"ok\n", b""));
        assert_eq!(how(&json!({"commandId": id, "result": {"stdout": null}})), ran(-1, b"", b""));
        let bytes =
            json!({"commandId": id, "result": {"stdout": "?", "stdoutBase64": "/wA=", "exitCode": 0}});
        assert_eq!(how(&bytes), ran(0, &[255, 0], b""));
        let failed =
            json!({"commandId": id, "result": {"stderr": "no", "exitCode": 1, "class": "dns_failed"}});
        let class = |how| if let How::Failed(failed) = how { failed.class } else { String::new() };
        assert_eq!(class(how(&failed)), "dns_failed");
        let lost = json!({"commandId": id, "result": {"stderr": "gone", "exitCode": 1, "lost": true}});
        assert_eq!(how(&lost), How::Lost("gone".to_owned()));
        for (wrong, why) in [
            (json!({"result": {}}), "commandId"),
            (json!({"commandId": "x", "result": {}}), "commandId"),
            (json!({"commandId": id}), "result"),
            (json!({"commandId": id, "result": {"stdout": 1}}), "stdout"),
            (json!({"commandId": id, "result": {"exitCode": "0"}}), "exitCode"),
            (json!({"commandId": id, "result": {"stdoutBase64": "?"}}), "stdoutBase64"),
        ] {
            assert!(result(&wrong).unwrap_err().contains(why), "{wrong}");
        }
    }

    #[test]
    fn a_command_is_written_as_relays_read_it() {
        let id = CommandId::parse("cmd_1_abcdefghijkl").unwrap();
        let command = ExecuteCommand {
            command_id: &id,
            server_id: "srv-abcdefghijkl",
            host: "10.0.0.1",
            port: 22,
            username: "deploy",
            password: Some(SecretString::from("pw")),
            private_key: None,
            host_key: None,
            command: "uptime",
            timeout: 60_000,
        };
        let expected = json!({
            "commandId": id, "serverId": "srv-abcdefghijkl", "host": "10.0.0.1", "port": 22,
            "username": "deploy", "password": "pw", "command": "uptime", "timeout": 60_000,
        });
        assert_eq!(serde_json::to_value(&command).unwrap(), expected);
    }
}
