//! How does a client say who it is, and what does it mean when the server says no?

use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use secrecy::{ExposeSecret, SecretString};

use crate::client::Login;
use crate::client_events::{ClientEvents, Told};
use crate::connect_error::ConnectError;
use crate::stream::within;

/// Rounds of questions of a server that asks for a password in its own words.
const QUESTION_ROUNDS_MAX: usize = 4;

pub(crate) async fn authenticate(
    connected: &mut Handle<ClientEvents>,
    user: &str,
    login: &Login,
    told: &Told,
) -> Result<(), ConnectError> {
    let lost = |error: russh::Error| ConnectError::Lost { why: error.to_string() };
    let (wanted, kind, answer) = match login {
        Login::Password(password) => {
            let answer =
                connected.authenticate_password(user, password.expose_secret()).await.map_err(lost)?;
            let asks = matches!(&answer, AuthResult::Failure { remaining_methods, .. }
                if !remaining_methods.contains(&MethodKind::Password)
                    && remaining_methods.contains(&MethodKind::KeyboardInteractive));
            let answer =
                if asks { answer_questions(connected, user, password).await.map_err(lost)? } else { answer };
            ("passwords", MethodKind::Password, answer)
        }
        Login::Key(key) => {
            let is_rsa = matches!(key.0.algorithm(), Algorithm::Rsa { .. });
            let hash = match is_rsa {
                true => connected.best_supported_rsa_hash().await.map_err(lost)?.flatten(),
                false => None,
            };
            let hash = hash.or(Some(HashAlg::Sha512));
            let key = PrivateKeyWithHashAlg::new(Arc::clone(&key.0), hash);
            let answer = connected.authenticate_publickey(user, key).await.map_err(lost)?;
            ("keys", MethodKind::PublicKey, answer)
        }
        Login::Certificate(session) => {
            let (key, certificate) = (Arc::clone(&session.key.0), (*session.certificate).clone());
            let answer = connected.authenticate_openssh_cert(user, key, certificate).await.map_err(lost)?;
            ("certificates", MethodKind::PublicKey, answer)
        }
    };
    match answer {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { remaining_methods, partial_success } => {
            Err(refused(user, wanted, kind, &remaining_methods, partial_success, told).await)
        }
    }
}

/// Some servers ask for the password in their own words; whatever they ask, the password is what we have.
async fn answer_questions(
    connected: &mut Handle<ClientEvents>,
    user: &str,
    password: &SecretString,
) -> Result<AuthResult, russh::Error> {
    let mut answer = connected.authenticate_keyboard_interactive_start(user, None).await?;
    for _ in 0..QUESTION_ROUNDS_MAX {
        let prompts = match answer {
            KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
            KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success });
            }
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => prompts,
        };
        let answers = prompts.iter().map(|_| password.expose_secret().to_owned()).collect();
        answer = connected.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(AuthResult::Failure { remaining_methods: MethodSet::empty(), partial_success: false })
}

async fn refused(
    user: &str,
    wanted: &'static str,
    kind: MethodKind,
    remaining: &MethodSet,
    partial: bool,
    told: &Told,
) -> ConnectError {
    let names = || remaining.iter().map(|method| <&str>::from(method).to_owned()).collect::<Vec<_>>();
    if partial {
        return ConnectError::SecondFactor { wanted: names() };
    }
    if remaining.is_empty() {
        // russh answers so when the connection ended; what the server said arrives beside it
        within(Duration::from_secs(1), told.ended.cancelled()).await;
        if told.ended.is_cancelled() {
            let said = told.why();
            return if said.to_lowercase().contains("too many") {
                ConnectError::TooManyAuth { said }
            } else {
                ConnectError::Lost { why: said }
            };
        }
    }
    if remaining.contains(&kind) || remaining.is_empty() {
        ConnectError::AuthFailed { user: user.to_owned() }
    } else {
        ConnectError::AuthMethodUnavailable { wanted, accepted: names() }
    }
}
