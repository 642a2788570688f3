//! Does a browser's session open what it should, and nothing without its word?

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::world::{World, asked, world, world_with};

pub const PASSWORD: &str = "correct horse battery staple";

/// What the browser holds after a sign-in.
pub struct Browser {
    pub base: String,
    pub cookie: String,
    pub word: String,
}

impl Browser {
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        word: Option<&str>,
        body: Option<&Value>,
    ) -> Response {
        let mut request =
            Client::new().request(method, format!("{}{path}", self.base)).header("cookie", &self.cookie);
        if let Some(word) = word {
            request = request.header("x-portreeve-csrf", word);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.call(Method::GET, path, Some(&self.word), None).await
    }
}

pub async fn sign_in(base: &str, proof: &Value) -> Response {
    Client::new().post(format!("{base}/api/session")).json(proof).send().await.unwrap()
}

pub async fn signed_in(base: &str, proof: &Value) -> Browser {
    let response = sign_in(base, proof).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    for attribute in ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "{cookie}");
    let word = response.json::<Value>().await.unwrap()["csrf"].as_str().unwrap().to_owned();
    Browser { base: base.to_owned(), cookie: cookie.split(';').next().unwrap().to_owned(), word }
}

async fn with_user(world: &World, name: &str) {
    with_role(world, name, "developer").await;
}

pub async fn with_role(world: &World, name: &str, role: &str) {
    let body = json!({"username": name, "password": PASSWORD, "tenant_id": "default", "role": role});
    world.admin.post("/api/users", &body).await.unwrap().expect(201).unwrap();
}

pub async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    (status, response.json::<Value>().await.unwrap()["code"].as_str().unwrap().to_owned())
}

pub fn unauthorized() -> (u16, String) {
    (401, "unauthorized".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_opens_nothing_without_its_word() {
    let world = world().await;
    with_user(&world, "alice").await;
    let base = world.admin.base();
    let alice = signed_in(base, &json!({"username": "alice", "password": PASSWORD})).await;
    let me: Value = alice.get("/api/me").await.json().await.unwrap();
    assert_eq!((me["actor"].as_str(), me["role"].as_str()), (Some("user:alice"), Some("developer")));

    // neither a read nor a write, whatever else comes along
    let body = asked("never");
    for word in [None, Some(""), Some("mfrggzdfmztwq2lkmfrggzdfmztwq2lk")] {
        assert_eq!(code(alice.call(Method::GET, "/api/me", word, None).await).await, unauthorized());
        let write = alice.call(Method::POST, "/api/environments", word, Some(&body)).await;
        assert_eq!(code(write).await, unauthorized());
    }
    // somebody else's word is none
    let other = signed_in(base, &json!({"username": "alice", "password": PASSWORD})).await;
    assert_eq!(code(alice.call(Method::GET, "/api/me", Some(&other.word), None).await).await, unauthorized());
    // and the cookie is no bearer token
    let jwt = alice.cookie.trim_start_matches("portreeve_session=").to_owned();
    assert_eq!(world.admin.as_caller(&jwt).get("/api/me").await.unwrap().status, 401);

    let write = alice.call(Method::POST, "/api/environments", Some(&alice.word), Some(&body)).await;
    assert_eq!(write.status(), 202);
    let stream = alice.get("/api/events?from=1").await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_that_another_port_set_is_passed_over() {
    let world = world().await;
    with_user(&world, "alice").await;
    let alice = signed_in(world.admin.base(), &json!({"username": "alice", "password": PASSWORD})).await;
    let both = format!("portreeve_session=x.y.z; {}", alice.cookie);
    let tossed = Browser { cookie: both, ..alice };
    assert_eq!(tossed.get("/api/me").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_token_becomes_a_session_that_ends_with_it() {
    let world = world().await;
    let base = world.admin.base();
    let made = world.admin.post("/api/tokens", &json!({"name": "mine"})).await.unwrap().expect(201).unwrap();
    let token = made.text("token").unwrap();
    let browser = signed_in(base, &json!({"token": format!(" {token}\n")})).await;
    let me: Value = browser.get("/api/me").await.json().await.unwrap();
    let id = made.text("token_id").unwrap();
    assert_eq!(
        (me["actor"].as_str().unwrap(), me["role"].as_str()),
        (&*format!("token:{id}"), Some("admin"))
    );
    world.admin.delete(&format!("/api/tokens/{id}")).await.unwrap().expect(200).unwrap();
    assert_eq!(code(browser.get("/api/me").await).await, unauthorized());
    assert_eq!(code(sign_in(base, &json!({"token": token})).await).await, (401, "token_refused".to_owned()));
    let forged = format!("{}x", &token[..token.len() - 1]);
    for text in ["", "nonsense", &forged] {
        assert_eq!(
            code(sign_in(base, &json!({"token": text})).await).await,
            (401, "token_refused".to_owned())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_takes_the_cookie_back() {
    let world = world().await;
    with_user(&world, "alice").await;
    let alice = signed_in(world.admin.base(), &json!({"username": "alice", "password": PASSWORD})).await;
    assert_eq!(code(alice.call(Method::DELETE, "/api/session", None, None).await).await, unauthorized());
    let left = alice.call(Method::DELETE, "/api/session", Some(&alice.word), None).await;
    assert_eq!(left.status(), 200);
    let cookie = left.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("portreeve_session=;") && cookie.contains("Max-Age=0"), "{cookie}");
    // who kept it has nothing
    assert_eq!(code(alice.get("/api/me").await).await, unauthorized());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_attempts_are_named_and_told_when() {
    let world = world_with(|config| config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await;
    with_user(&world, "alice").await;
    let attempt = async |user: &str, from: &str| {
        let request = Client::new().post(format!("{}/api/session", world.admin.base()));
        let body = json!({"username": user, "password": "wrong"});
        request.header("x-forwarded-for", from).json(&body).send().await.unwrap()
    };
    let mut last = None;
    for number in 0..21 {
        // from everywhere: it is the user that counts
        last = Some(attempt("alice", &format!("192.0.2.{number}")).await);
    }
    let last = last.unwrap();
    let retry_after: u64 = last.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=6).contains(&retry_after), "{retry_after}");
    assert_eq!(code(last).await, (429, "sign_in_limit_user".to_owned()));
    assert_eq!(code(attempt("bob", "192.0.2.1").await).await, (401, "login_failed".to_owned()));
    // the right password waits too
    let request = Client::new().post(format!("{}/api/auth/login", world.admin.base()));
    let right = request.json(&json!({"username": "alice", "password": PASSWORD})).send().await.unwrap();
    assert_eq!(code(right).await, (429, "sign_in_limit_user".to_owned()));
    // a busy machine takes longer than one more needs to be allowed
    let mut limited = None;
    for number in 0..200 {
        let (_, said) = code(attempt(&format!("user{number}"), "198.51.100.7").await).await;
        if said != "login_failed" {
            limited = Some((number, said));
            break;
        }
    }
    let (number, said) = limited.expect("an address that guesses for ever is told to wait");
    assert!(number >= 30 && said == "sign_in_limit_address", "{number}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_asks_too_often_waits() {
    use std::num::NonZeroU32;
    use std::time::Duration;
    let rate = api::Rate { at_once: NonZeroU32::new(20).unwrap(), one_more_after: Duration::from_secs(60) };
    let world = world_with(|config| config.rates.requests = rate).await;
    let mut seen = Vec::new();
    for _ in 0..25 {
        seen.push(world.admin.get("/api/me").await.unwrap());
    }
    let refused = seen.last().unwrap();
    assert_eq!((refused.status, refused.code()), (429, "request_limit"));
    assert_eq!(seen.iter().filter(|answer| answer.status == 200).count(), 20);
    // others are not concerned
    assert_eq!(sign_in(world.admin.base(), &json!({"token": "x"})).await.status(), 401);
}

fn policy(headers: &HeaderMap<HeaderValue>) -> &str {
    headers["content-security-policy"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let world = world().await;
    let base = world.admin.base();
    let get = async |path: &str| Client::new().get(format!("{base}{path}")).send().await.unwrap();
    for path in [
        "/",
        "/environments/env-abcdefghijkl",
        "/docs/",
        "/docs/errors",
        "/docs/events",
        "/api/me",
        "/nowhere",
        "/healthz",
    ] {
        let response = get(path).await;
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin", "{path}");
        let policy = policy(headers);
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path} {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path} {policy}");
        assert!(headers.get("strict-transport-security").is_none(), "HSTS over plain HTTP: {path}");
    }
    let page = get("/keys").await;
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(policy(page.headers()).contains("script-src 'self'; style-src 'self'"));
    assert!(!policy(get("/api/me").await.headers()).contains("script-src"));
    // a worker that computes and reaches nothing
    let player = get("/assets/asciinema-player-worker.min-0.js").await;
    let allowed = "default-src 'none'; script-src 'wasm-unsafe-eval'; frame-ancestors 'none'";
    assert_eq!(policy(player.headers()), allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_did_not_change_keeps_its_policy() {
    let world = world().await;
    let base = world.admin.base();
    for path in ["/keys", "/docs/"] {
        let first = Client::new().get(format!("{base}{path}")).send().await.unwrap();
        let Some(tag) = first.headers().get("etag") else { continue };
        let asked = Client::new().get(format!("{base}{path}")).header("if-none-match", tag);
        let again = asked.send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
        // a browser puts the headers of a 304 in place of those it has
        assert_eq!(policy(again.headers()), policy(first.headers()), "{path}");
    }
}
