//! What do the sentries ask and tell? `GET /v1/policy`, `POST /v1/applied`, `POST /v1/reports`; see
//! `kit::sentry_protocol`.
//!
//! A policy request waits at the environment's bell. "In force" becomes `PodReady`, `PasswordApplied`
//! and `KeysAttached`; it is told by `applied`, and by a fresh request that already has the version in
//! force: an environment that is started while its container runs gets ready that way. Where the
//! engine has to let people through first, a request waits for that too.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use events::credential::applied::{keys_attached, password_applied};
use events::credential::{Credential, CredentialRefusal};
use events::env::observe::ready;
use events::env::{Env, EnvRefusal, InnerDoor, Status};
use events::ids::{EnvId, TenantId};
use kit::sentry_protocol::{
    ACTIVE_AT_HEADER, Applied, HOST_KEY_HEADER, INNER_PORT, POLICY_WAIT_S, REPORTS_MAX, Reports,
    ReportsAccepted,
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ssh_key::PublicKey;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::passwords::{SecretError, sentry_token};
use crate::policy::{Computed, compute};
use crate::reconcile::Provisioner;
use crate::step::{by_sentry, fresh};
use crate::trouble::{Trouble, decided};
use kit::error::chain;

/// Policies remembered per environment: the newest ones, of which one may still be said to be in force.
const SERVED_MAX: usize = 4;
/// Reports are recorded for this long before what is done is answered; the sentry waits ten seconds.
const RECORD_WAIT: Duration = Duration::from_secs(7);
/// Characters of a token.
const TOKEN_LENGTH: usize = 64;
/// A policy is not computed for longer than this while its secrets cannot be read.
const ANSWER_AGAIN: Duration = Duration::from_millis(500);
/// How often is looked whether the engine lets people through to an environment that is ready.
const LET_THROUGH_AGAIN: Duration = Duration::from_millis(100);

pub struct Sentries {
    provisioner: Arc<Provisioner>,
    tokens: Mutex<Tokens>,
    served: Mutex<HashMap<EnvId, VecDeque<Served>>>,
    shutdown: CancellationToken,
}

/// Which environment a token belongs to, by the token's digest.
#[derive(Default)]
struct Tokens {
    by_digest: HashMap<[u8; 32], EnvId>,
    known: HashSet<EnvId>,
}

/// What a policy that was handed out proves once it is in force.
#[derive(Clone)]
struct Served {
    version: String,
    password_number: u64,
    fingerprints: Vec<String>,
}

impl From<&Computed> for Served {
    fn from(computed: &Computed) -> Self {
        Self {
            version: computed.policy.version.clone(),
            password_number: computed.password_number,
            fingerprints: computed.fingerprints.clone(),
        }
    }
}

/// What a sentry says about itself.
struct Said {
    /// What it has in force.
    served: Served,
    /// Of its inner door.
    host_key: Option<String>,
    /// It has just put it in force: perhaps its container is a new one, at another address.
    now: bool,
}

#[derive(Deserialize)]
struct Have {
    #[serde(default)]
    have: String,
}

/// An answer that is not 200 or 204. Says nothing that the sentry does not know.
enum Refused {
    Token,
    Gone,
    TooMany,
    Later,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Gone => StatusCode::NOT_FOUND,
            Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Later => StatusCode::SERVICE_UNAVAILABLE,
        }
        .into_response()
    }
}

/// The routes.
pub fn router(provisioner: Arc<Provisioner>, shutdown: CancellationToken) -> Router {
    let sentries = Sentries { provisioner, tokens: Mutex::default(), served: Mutex::default(), shutdown };
    Router::new()
        .route("/v1/policy", get(policy))
        .route("/v1/applied", post(applied))
        .route("/v1/reports", post(reports))
        .with_state(Arc::new(sentries))
}

async fn policy(
    State(sentries): State<Arc<Sentries>>,
    headers: HeaderMap,
    Query(Have { have }): Query<Have>,
) -> Result<Response, Refused> {
    let env = sentries.authenticate(&headers).await?;
    let host_key = headers.get(HOST_KEY_HEADER).and_then(|value| value.to_str().ok()).and_then(readable_key);
    if let Some(active_at) = headers.get(ACTIVE_AT_HEADER).and_then(|value| value.to_str().ok()?.parse().ok())
    {
        sentries.provisioner.activity.hear(&env, active_at);
    }
    let fleet = &sentries.provisioner.fleet;
    let mut bell = fleet.bell(&env).ok_or(Refused::Gone)?;
    let deadline = Instant::now() + Duration::from_secs(POLICY_WAIT_S);
    let (mut first, mut waits) = (true, false);
    loop {
        bell.borrow_and_update();
        let mut look_again = deadline;
        match sentries.current(&env).await? {
            Some(computed) if computed.policy.version != have => {
                sentries.remember(&env, Served::from(&computed));
                return Ok(Json(computed.policy).into_response());
            }
            Some(computed) if first || (waits && sentries.provisioner.engine.lets_through(&env)) => {
                // it asks with what is in force, so what that proves is true
                let said = Said { served: Served::from(&computed), host_key: host_key.clone(), now: false };
                waits = !sentries.record_in_force(&env, &said).await?;
            }
            Some(_) if waits => {}
            // it shall ask afresh, which proves that it is there
            Some(_) if is_coming_up(fleet.status_of(&env)) => {
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
            Some(_) => {}
            None => look_again = deadline.min(Instant::now() + ANSWER_AGAIN),
        }
        first = false;
        tokio::select! {
            rung = bell.changed() => if rung.is_err() { return Err(Refused::Gone) },
            () = sentries.until_let_through(&env), if waits => {}
            () = sleep_until(look_again) => {}
            () = sentries.shutdown.cancelled() => return Ok(StatusCode::NO_CONTENT.into_response()),
        }
        if Instant::now() >= deadline {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
}

async fn applied(
    State(sentries): State<Arc<Sentries>>,
    headers: HeaderMap,
    Json(Applied { version, host_key }): Json<Applied>,
) -> Result<StatusCode, Refused> {
    let env = sentries.authenticate(&headers).await?;
    match sentries.served(&env, &version).await? {
        // not let through yet: its next request tells it again
        Some(served) => {
            let host_key = host_key.as_deref().and_then(readable_key);
            sentries.record_in_force(&env, &Said { served, host_key, now: true }).await?;
        }
        // made by an earlier process and superseded since: the sentry gets the newer one at once
        None => {
            tracing::info!(env.id = %env, version, "a superseded policy is in force; a newer one follows")
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn reports(
    State(sentries): State<Arc<Sentries>>,
    headers: HeaderMap,
    Json(batch): Json<Reports>,
) -> Result<Json<ReportsAccepted>, Refused> {
    let env = sentries.authenticate(&headers).await?;
    if batch.reports.len() > REPORTS_MAX {
        return Err(Refused::TooMany);
    }
    let member = sentries.provisioner.fleet.member(&env).ok_or(Refused::Gone)?;
    let cause = by_sentry(&env, Some(&member.origin));
    let until = Instant::now() + RECORD_WAIT;
    let recorder = &sentries.provisioner.recorder;
    match recorder.record_until(&member.tenant, &env, &batch, &cause, until).await {
        Ok(accepted_through) => Ok(Json(ReportsAccepted { accepted_through })),
        Err(error) => {
            tracing::warn!(env.id = %env, error = chain(&error), "reports could not be recorded; they come again");
            Err(Refused::Later)
        }
    }
}

/// The key without a comment. A sentry speaks for its own environment only, yet what it says stands in
/// the log for ever: nothing but a key.
fn readable_key(line: &str) -> Option<String> {
    let mut key = PublicKey::from_openssh(line.trim()).ok()?;
    key.set_comment("");
    key.to_openssh().ok().map(|line| line.trim().to_owned())
}

fn is_coming_up(status: Option<Status>) -> bool {
    status.is_some_and(Status::is_coming_up)
}

impl Sentries {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<EnvId, Refused> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Refused::Token)?;
        if token.len() != TOKEN_LENGTH {
            return Err(Refused::Token);
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(env) = self.owner_of(&digest) {
            return Ok(env);
        }
        // made a moment ago, perhaps by another provisioner: the fold may lag behind
        let provisioner = &self.provisioner;
        match provisioner.fleet.catch_up(&provisioner.log).await {
            Ok(true) => self.owner_of(&digest).ok_or(Refused::Token),
            Ok(false) | Err(_) => Err(Refused::Later),
        }
    }

    fn owner_of(&self, digest: &[u8; 32]) -> Option<EnvId> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(env) = tokens.by_digest.get(digest) {
            return Some(env.clone());
        }
        let all = self.provisioner.fleet.all();
        if tokens.known.len() > 2 * all.len() + TOKEN_LENGTH {
            *tokens = Tokens::default(); // mostly deleted ones
        }
        for (env, _, _) in all {
            if tokens.known.insert(env.clone()) {
                let token = sentry_token(&self.provisioner.keys, &env);
                tokens.by_digest.insert(Sha256::digest(token.expose_secret()).into(), env);
            }
        }
        tokens.by_digest.get(digest).cloned()
    }

    /// The policy in force by the log; `None` while there is no password yet.
    async fn current(&self, env: &EnvId) -> Result<Option<Computed>, Refused> {
        let truth = self.provisioner.fleet.truth(env).ok_or(Refused::Gone)?;
        match self.provisioner.passwords.for_policy(env, &truth).await {
            Ok(secrets) => Ok(Some(compute(&truth, secrets, &self.provisioner.user_ca, Utc::now()))),
            Err(SecretError::NotIssued) => Ok(None),
            Err(error) => {
                tracing::error!(env.id = %env, error = chain(&error), "a policy cannot be made");
                Err(Refused::Later)
            }
        }
    }

    fn remember(&self, env: &EnvId, served: Served) {
        let mut all = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = &self.provisioner.fleet;
        if all.len() > 2 * fleet.count() + TOKEN_LENGTH {
            all.retain(|env, _| fleet.status_of(env).is_some());
        }
        let newest = all.entry(env.clone()).or_default();
        newest.retain(|other| other.version != served.version);
        newest.push_back(served);
        if newest.len() > SERVED_MAX {
            newest.pop_front();
        }
    }

    /// What the policy of this version proves: handed out by this process, or the one of now.
    async fn served(&self, env: &EnvId, version: &str) -> Result<Option<Served>, Refused> {
        let known = {
            let all = self.served.lock().unwrap_or_else(PoisonError::into_inner);
            all.get(env).and_then(|newest| newest.iter().find(|served| served.version == version).cloned())
        };
        if known.is_some() {
            return Ok(known);
        }
        let current = self.current(env).await?;
        Ok(current.as_ref().map(Served::from).filter(|served| served.version == version))
    }

    /// Looks at what is known already; the policy is not computed for that.
    async fn until_let_through(&self, env: &EnvId) {
        while !self.provisioner.engine.lets_through(env) {
            sleep(LET_THROUGH_AGAIN).await;
        }
    }

    /// `false` while the engine does not let people through: that it is ready is not recorded yet.
    async fn record_in_force(&self, env: &EnvId, said: &Said) -> Result<bool, Refused> {
        let member = self.provisioner.fleet.member(env).ok_or(Refused::Gone)?;
        let served = &said.served;
        let known = &member.credential;
        let mut sorted = served.fingerprints.clone();
        sorted.sort();
        if member.env.status == Status::Running
            && !said.now
            && known.number_applied >= served.password_number
            && known.fingerprints == sorted
        {
            return Ok(true); // known, as nearly every time
        }
        let cause = by_sentry(env, Some(&member.origin));
        let for_ready = fresh(&cause);
        let through = !member.env.status.is_coming_up() || self.provisioner.engine.lets_through(env);
        let ready = async {
            if !through {
                return Ok(());
            }
            let inner = self.inner_door(env, said.host_key.clone()).await?;
            self.record_ready(&member.tenant, env, &for_ready, inner).await
        };
        let (is_ready, is_applied) =
            tokio::join!(ready, self.record_applied(&member.tenant, env, served, &cause));
        match is_ready.and(is_applied) {
            Ok(()) | Err(Trouble::Changed) => Ok(through),
            Err(Trouble::Again(why)) => {
                tracing::warn!(env.id = %env, why, "it cannot be recorded that a policy is in force");
                Err(Refused::Later)
            }
            Err(Trouble::Failed(failed)) => {
                tracing::warn!(env.id = %env, why = failed.reason, "it cannot be recorded that a policy is in force");
                Err(Refused::Later)
            }
        }
    }

    /// Where it is: only the engine can say. Whose key: only the sentry can.
    async fn inner_door(&self, env: &EnvId, host_key: Option<String>) -> Result<Option<InnerDoor>, Trouble> {
        let Some(host_key) = host_key else { return Ok(None) };
        let address = self.provisioner.engine.address(env).await?;
        Ok(address.map(|ip| InnerDoor { addr: (ip, INNER_PORT).into(), host_key }))
    }

    async fn record_ready(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        cause: &events::envelope::Cause,
        inner: Option<InnerDoor>,
    ) -> Result<(), Trouble> {
        let log = &self.provisioner.log;
        let rule = |state: &Env| ready(state, inner.clone());
        let recorded = log.decide::<Env, EnvRefusal>(tenant, env.as_str(), cause, 0, rule).await;
        match decided(recorded) {
            Ok(recorded) if recorded.appended.is_some() => {
                let inner = inner.as_ref().map(|inner| inner.addr);
                tracing::info!(env.id = %env, ?inner, "an environment is ready");
                self.provisioner.starts.over(env);
                Ok(())
            }
            // it is on its way down: what its sentry enforces does not matter
            Ok(_) | Err(Trouble::Changed) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }

    async fn record_applied(
        &self,
        tenant: &TenantId,
        env: &EnvId,
        served: &Served,
        cause: &events::envelope::Cause,
    ) -> Result<(), Trouble> {
        let log = &self.provisioner.log;
        let number = served.password_number;
        let password = log
            .decide::<Credential, CredentialRefusal>(tenant, env.as_str(), cause, 0, |state| {
                password_applied(state, number)
            })
            .await;
        decided(password)?;
        let keys = log
            .decide::<Credential, CredentialRefusal>(tenant, env.as_str(), cause, 1, |state| {
                keys_attached(state, served.fingerprints.clone())
            })
            .await;
        decided(keys).map(drop)
    }
}
