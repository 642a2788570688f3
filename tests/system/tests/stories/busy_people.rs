//! What do people do while everything is killed? They make, reset, stop, start and delete environments,
//! and remember every promise they were given.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harness::{Answer, Api};
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::{Value, json};

use system::world::small;

/// One keeps about so many environments.
const MINE_MIN: usize = 2;
const MINE_MAX: usize = 4;
/// The longest somebody waits for one answer.
const CALL_AT_MOST: Duration = Duration::from_secs(15);
/// Tries of one create under one key.
const TRIES_MAX: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Create,
    Reset,
    Stop,
    Start,
    Delete,
}

/// What was promised: answers of 2xx.
#[derive(Debug, Clone)]
pub struct Promise {
    pub asked: Asked,
    pub env: String,
    pub position: Option<u64>,
}

pub struct Person {
    api: Api,
    promises: Arc<Mutex<Vec<Promise>>>,
    stop: Arc<AtomicBool>,
    mine: Vec<String>,
    rng: StdRng,
}

impl Person {
    pub fn new(api: Api, promises: Arc<Mutex<Vec<Promise>>>, stop: Arc<AtomicBool>, rng: StdRng) -> Self {
        Self { api, promises, stop, mine: Vec::new(), rng }
    }

    /// Until it is told to stop.
    pub async fn work(mut self) {
        while !self.stop.load(Ordering::SeqCst) {
            let asked = match (self.mine.len(), self.rng.random_range(0..100)) {
                (..MINE_MIN, _) | (MINE_MIN..MINE_MAX, 0..30) => Asked::Create,
                (MINE_MIN..MINE_MAX, 30..60) => Asked::Reset,
                (MINE_MIN..MINE_MAX, 60..70) => Asked::Stop,
                (MINE_MIN..MINE_MAX, 70..80) => Asked::Start,
                (MINE_MIN.., _) => Asked::Delete,
            };
            if asked == Asked::Create {
                self.create().await;
            } else {
                let index = self.rng.random_range(0..self.mine.len());
                self.change(asked, index).await;
            }
        }
    }

    /// Repeated under one key until it is answered, so that nothing of it is forgotten.
    async fn create(&mut self) {
        let key = format!("{:032x}", self.rng.random::<u128>());
        let body = small("victim");
        for _ in 0..TRIES_MAX {
            let answer = self.call(Method::POST, "/api/environments", Some(&body), &key).await;
            if let Some(answer) = answer.filter(Answer::is_success) {
                let env = answer.body["env_id"].as_str().unwrap_or_default().to_owned();
                self.promised(Asked::Create, &env, &answer);
                self.mine.push(env);
                return;
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    async fn change(&mut self, asked: Asked, index: usize) {
        let env = self.mine[index].clone();
        let path = format!("/api/environments/{env}");
        let key = format!("{:032x}", self.rng.random::<u128>());
        let empty = json!({});
        let answer = match asked {
            Asked::Delete => self.call(Method::DELETE, &path, None, &key).await,
            Asked::Reset => {
                self.call(Method::POST, &format!("{path}/reset-password"), Some(&empty), &key).await
            }
            Asked::Stop => self.call(Method::POST, &format!("{path}/stop"), Some(&empty), &key).await,
            Asked::Start | Asked::Create => {
                self.call(Method::POST, &format!("{path}/start"), Some(&empty), &key).await
            }
        };
        if let Some(answer) = answer.filter(Answer::is_success) {
            self.promised(asked, &env, &answer);
            if asked == Asked::Delete {
                self.mine.swap_remove(index);
            }
        }
    }

    fn promised(&self, asked: Asked, env: &str, answer: &Answer) {
        let promise = Promise { asked, env: env.to_owned(), position: answer.position };
        self.promises.lock().unwrap_or_else(PoisonError::into_inner).push(promise);
    }

    /// `None` when nothing answered; then a moment passes.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>, key: &str) -> Option<Answer> {
        let call = self.api.call(method, path, body, Some(key));
        let answer = tokio::time::timeout(CALL_AT_MOST, call).await.ok().and_then(Result::ok);
        if answer.as_ref().is_none_or(|answer| !answer.is_success()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        answer
    }
}
