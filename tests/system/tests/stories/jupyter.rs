//! Does a person work in JupyterLab through the control plane, and nobody else? A real one, in a container.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use harness::real_engine::{IMAGE_JUPYTER, has_image};
use harness::{Api, RealEngine, eventually};
use reqwest::header::{ACCEPT, CONTENT_SECURITY_POLICY, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use system::world::{Created, DONE_AT_MOST, World, ask, create_running, until_listed, until_status};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const BIG_BYTES: usize = 20 << 20;
/// A kernel starts, a WebSocket is closed.
const SOON: Duration = Duration::from_secs(60);
const PASSWORD: &str = "a-long-enough-password-1";

/// A browser with one cookie, which follows nothing by itself.
#[derive(Clone)]
struct Browser {
    http: Client,
    /// `http://127.0.0.1:8083`
    origin: String,
    base: String,
    cookie: String,
}

impl Browser {
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{}{path}", self.origin, self.base);
        let asked = self.http.request(method, url).header(ORIGIN, &self.origin);
        if self.cookie.is_empty() { asked } else { asked.header(COOKIE, &self.cookie) }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Response> {
        self.ask(Method::GET, path).send().await.context(path.to_owned())
    }

    async fn socket(
        &self,
        path: &str,
        origin: &str,
    ) -> anyhow::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let url = format!("{}{}{path}", self.origin.replacen("http", "ws", 1), self.base);
        let mut request = url.into_client_request()?;
        request.headers_mut().insert("cookie", self.cookie.parse()?);
        request.headers_mut().insert("origin", origin.parse()?);
        Ok(connect_async(request).await?.0)
    }
}

async fn problem(response: Response, status: StatusCode, code: &str) -> anyhow::Result<()> {
    let (seen, text) = (response.status(), response.text().await?);
    ensure!(seen == status && text.contains(&format!("\"code\":\"{code}\"")), "{seen} {text}");
    Ok(())
}

fn client() -> anyhow::Result<Client> {
    Ok(Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(DONE_AT_MOST).build()?)
}

async fn person(admin: &Api, name: &str) -> anyhow::Result<Api> {
    let body = json!({"username": name, "password": PASSWORD, "tenant_id": "default", "role": "developer"});
    admin.post("/api/users", &body).await?.expect(201)?;
    Ok(admin.as_caller(&signed_in(admin, name).await?))
}

async fn signed_in(api: &Api, name: &str) -> anyhow::Result<String> {
    let body = json!({"username": name, "password": PASSWORD});
    let signed_in = api.post("/api/auth/login", &body).await?.expect(200)?;
    Ok(signed_in.text("token")?.to_owned())
}

async fn link(api: &Api, env_id: &str) -> anyhow::Result<String> {
    let made =
        api.post(&format!("/api/environments/{env_id}/jupyter-links"), &json!({})).await?.expect(201)?;
    ensure!(made.body["expires_at"].is_string(), "{}", made.body);
    Ok(made.text("url")?.to_owned())
}

/// Opens a link as a browser does, and keeps its cookie.
async fn open(url: &str, env_id: &str) -> anyhow::Result<Browser> {
    let http = client()?;
    let opened = http.get(url).header(ACCEPT, "text/html").send().await?;
    ensure!(opened.status() == StatusCode::SEE_OTHER, "{} {}", opened.status(), opened.text().await?);
    let header = |name| opened.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (set, location) = (header(SET_COOKIE), header(LOCATION));
    let base = format!("/jupyter/{env_id}/");
    ensure!(location == format!("{base}lab"), "the ticket leaves the address: {location}");
    ensure!(set.contains(&format!("Path={base};")) && set.contains("HttpOnly"), "{set}");
    let origin = url.split("/jupyter/").next().context("a link without its path")?.to_owned();
    let cookie = set.split(';').next().unwrap_or_default().to_owned();
    Ok(Browser { http, origin, base, cookie })
}

async fn until_jupyter_answers(browser: &Browser) -> anyhow::Result<Value> {
    eventually("JupyterLab answers through the control plane", DONE_AT_MOST, || async {
        let answer = browser.get("api/status").await.map_err(|error| format!("{error:#}"))?;
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        match (status, serde_json::from_str(&text)) {
            (StatusCode::OK, Ok(body)) => Ok(body),
            _ => Err(format!("{status} {text}")),
        }
    })
    .await
}

/// What the code's last line is, as the kernel says it.
async fn calculate(browser: &Browser, code: &str) -> anyhow::Result<String> {
    let started = browser.ask(Method::POST, "api/kernels").json(&json!({"name": "python3"})).send().await?;
    let kernel: Value = started.error_for_status()?.json().await?;
    let id = kernel["id"].as_str().context("a kernel without an id")?;
    let channels = format!("api/kernels/{id}/channels?session_id=s1");
    let mut socket = browser.socket(&channels, &browser.origin).await?;
    let header = json!({"msg_id": "m1", "username": "u", "session": "s1", "msg_type": "execute_request",
        "version": "5.3", "date": "2026-01-01T00:00:00Z"});
    let content = json!({"code": code, "silent": false, "store_history": true, "user_expressions": {},
        "allow_stdin": false, "stop_on_error": true});
    let message = json!({"header": header, "parent_header": {}, "metadata": {}, "content": content,
        "channel": "shell", "buffers": []});
    socket.send(Message::text(message.to_string())).await?;
    let answer = async {
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message? else { continue };
            let said: Value = serde_json::from_str(&text)?;
            match said["msg_type"].as_str() {
                Some("execute_result") => {
                    let text = said["content"]["data"]["text/plain"].as_str();
                    return Ok(text.unwrap_or_default().to_owned());
                }
                Some("error") => bail!("{}", said["content"]),
                _ => {}
            }
        }
        bail!("the kernel's WebSocket ended without an answer")
    };
    tokio::time::timeout(SOON, answer).await.context("the kernel says nothing")?
}

fn token_of(created: &Created) -> anyhow::Result<String> {
    let url = created.body["jupyter_url"].as_str().context("no jupyter_url")?;
    Ok(url.split_once("token=").context("no token in jupyter_url")?.1.to_owned())
}

async fn notebook(api: &Api, name: &str) -> anyhow::Result<Created> {
    let body = json!({"name": name, "resources": {"cpu": 1, "memory": 1}, "jupyter": true});
    create_running(api, &body).await
}

async fn world() -> World<RealEngine> {
    assert!(has_image(IMAGE_JUPYTER), "{IMAGE_JUPYTER} is missing: make build");
    let ports = harness::free_ports::range(40).unwrap();
    let engine = RealEngine::start().await.unwrap();
    let log = "info,api=debug,hyper=trace";
    World::on(engine, ports, |setup| setup.with("PORTREEVE_LOG", log)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_works_in_jupyterlab_and_never_meets_its_token() {
    let world = world().await;
    world.blame(work(&world).await).unwrap();
}

async fn work(world: &World<RealEngine>) -> anyhow::Result<()> {
    let alice = person(&world.api()?, "alice").await?;
    let created = notebook(&alice, "notebook").await?;
    let (id, token) = (&created.env_id, token_of(&created)?);
    let browser = open(&link(&alice, id).await?, id).await?;
    ensure!(browser.origin != alice.base(), "it has the origin of our own pages: {}", browser.origin);
    until_jupyter_answers(&browser).await?;

    let page = browser.get("lab").await?;
    let policies: Vec<_> = page.headers().get_all(CONTENT_SECURITY_POLICY).iter().cloned().collect();
    let ours = "frame-ancestors 'self'; base-uri 'self'; form-action 'self'";
    ensure!(policies.iter().any(|policy| policy == ours), "{policies:?}");
    let (headers, text) = (format!("{:?}", page.headers()), page.text().await?);
    ensure!(text.contains("jupyter-config-data"), "{text}");
    ensure!(!text.contains(&token) && !headers.contains(&token), "the token is in the page");
    let own_port = created.body["jupyter_url"].as_str().unwrap_or_default();
    let own_page = browser.http.get(own_port).send().await?;
    let cookies = own_page.headers().get_all(SET_COOKIE).iter().count();
    ensure!(own_page.text().await?.contains(&token), "JupyterLab writes no token any more: nothing to hide");
    ensure!(cookies > 0, "JupyterLab sets no sign-in cookie any more: nothing to keep back");
    ensure!(!headers.contains("username-"), "its own sign-in came through: {headers}");

    let result = calculate(&browser, "1+1").await?;
    ensure!(result == "2", "{result}");
    let sent: Vec<u8> = (0..BIG_BYTES).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let encoded = data_encoding::BASE64.encode(&sent);
    let body = json!({"type": "file", "format": "base64", "content": encoded});
    let put = browser.ask(Method::PUT, "api/contents/big.bin").json(&body).send().await?;
    ensure!(put.status() == StatusCode::CREATED, "{} {}", put.status(), put.text().await?);
    let came = browser.get("files/big.bin").await?.error_for_status()?.bytes().await?;
    ensure!(came == sent, "{} other bytes came back", came.len());

    let path = format!("/api/environments/{id}/sessions");
    let seen = until_listed(&alice, &path, "the session is on record", |items| !items.is_empty()).await?;
    let of_jupyter: Vec<_> = seen.iter().filter(|session| session["entrance"] == "jupyter").collect();
    ensure!(of_jupyter.len() == 1 && of_jupyter[0]["user"] == "alice", "{seen:?}");

    ask(&alice, id, "stop").await?;
    until_status(&alice, id, "stopped").await?;
    let page = browser.ask(Method::GET, "lab").header(ACCEPT, "text/html").send().await?;
    let (status, text) = (page.status(), page.text().await?);
    ensure!(
        status == StatusCode::CONFLICT && text.contains("<code>environment_wrong_status</code>"),
        "{status} {text}"
    );
    let refused =
        alice.post(&format!("/api/environments/{id}/jupyter-links"), &json!({})).await?.expect(409)?;
    ensure!(refused.code() == "environment_wrong_status", "{}", refused.body);
    until_listed(&alice, &path, "the session's end is on record", |items| {
        items.iter().all(|session| session["closed_at"].is_string())
    })
    .await?;
    let log = std::fs::read_to_string(world.installation.log())?;
    ensure!(log.contains("answered") && !log.contains(&token), "the token is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_gets_into_somebodys_jupyterlab() {
    let world = world().await;
    world.blame(Box::pin(refusals(&world)).await).unwrap();
}

async fn refusals(world: &World<RealEngine>) -> anyhow::Result<()> {
    let (alice, bob) = (person(&world.api()?, "alice").await?, person(&world.api()?, "bob").await?);
    let (mine, theirs) = tokio::try_join!(notebook(&alice, "mine"), notebook(&bob, "theirs"))?;
    let id = &mine.env_id;
    let links = format!("/api/environments/{id}/jupyter-links");
    bob.post(&links, &json!({})).await?.expect(404)?;
    let url = link(&alice, id).await?;
    let browser = open(&url, id).await?;
    until_jupyter_answers(&browser).await?;

    // a ticket counts once, and for its environment
    let again = browser.http.get(&url).send().await?;
    problem(again, StatusCode::UNAUTHORIZED, "ticket_refused").await?;
    let other = link(&alice, id).await?.replace(id.as_str(), &theirs.env_id);
    problem(browser.http.get(other).send().await?, StatusCode::UNAUTHORIZED, "ticket_refused").await?;
    // no cookie, or the cookie of another environment
    let stranger = Browser { cookie: String::new(), ..browser.clone() };
    problem(stranger.get("api/status").await?, StatusCode::UNAUTHORIZED, "jupyter_link_needed").await?;
    let there = Browser { base: format!("/jupyter/{}/", theirs.env_id), ..browser.clone() };
    problem(there.get("api/status").await?, StatusCode::UNAUTHORIZED, "jupyter_link_needed").await?;
    // another page of the same host, whose requests bring the cookie along
    let foreign = browser.http.post(format!("{}{}api/kernels", browser.origin, browser.base));
    let foreign = foreign.header(COOKIE, &browser.cookie).header(ORIGIN, "http://127.0.0.1:30001");
    problem(foreign.json(&json!({})).send().await?, StatusCode::FORBIDDEN, "cross_origin").await?;
    let refused = browser.socket("api/events/subscribe", "http://127.0.0.1:30001").await;
    ensure!(refused.is_err(), "a page of another port opened a WebSocket");

    // beside the API programs come with their token, and nothing runs
    let beside = format!("{}/jupyter/{id}/api/status", alice.base());
    let bearer = browser.http.get(&beside).bearer_auth(alice.token().unwrap_or_default()).send().await?;
    let policy = bearer.headers().get(CONTENT_SECURITY_POLICY).cloned().context("no policy")?;
    ensure!(bearer.status() == StatusCode::OK && policy.to_str()?.starts_with("sandbox;"), "{policy:?}");
    let bearer = browser.http.get(&beside).bearer_auth(bob.token().unwrap_or_default()).send().await?;
    problem(bearer, StatusCode::NOT_FOUND, "not_found").await?;
    problem(browser.http.get(&beside).send().await?, StatusCode::UNAUTHORIZED, "unauthorized").await?;
    let typed = browser.http.get(&beside).header(ACCEPT, "text/html").send().await?;
    ensure!(typed.headers()[LOCATION] == format!("/environments/{id}?open=jupyter"), "{:?}", typed.headers());

    // the allow-list holds for who is in
    let mut socket = browser.socket("api/events/subscribe", &browser.origin).await?;
    let list = format!("/api/environments/{id}/allow-list");
    alice.put(&list, &json!({"ranges": ["203.0.113.0/24"]})).await?.expect(200)?;
    problem(browser.get("api/status").await?, StatusCode::FORBIDDEN, "address_not_allowed").await?;
    alice.post(&links, &json!({})).await?.expect(403)?;
    ensure!(parting(&mut socket).await? == (4403, "address_not_allowed".to_owned()));
    alice.put(&list, &json!({"ranges": []})).await?.expect(200)?;
    until_jupyter_answers(&browser).await?;
    signing_out(&alice, &browser, id).await
}

/// What one sign-in opened ends with it; what another one of the same person opened goes on.
async fn signing_out(alice: &Api, browser: &Browser, id: &str) -> anyhow::Result<()> {
    let again = alice.as_caller(signed_in(alice, "alice").await?.as_str());
    let other = open(&link(&again, id).await?, id).await?;
    let mut ends = browser.socket("api/events/subscribe", &browser.origin).await?;
    let mut stays = other.socket("api/events/subscribe", &other.origin).await?;
    let unused = link(alice, id).await?;
    alice.delete("/api/session").await?.expect(200)?;
    ensure!(parting(&mut ends).await? == (4401, "signed_out".to_owned()));
    problem(browser.get("api/status").await?, StatusCode::UNAUTHORIZED, "signed_out").await?;
    problem(browser.http.get(unused).send().await?, StatusCode::UNAUTHORIZED, "signed_out").await?;
    ensure!(browser.socket("api/events/subscribe", &browser.origin).await.is_err(), "it opens a WebSocket");
    stays.send(Message::Ping(Vec::new().into())).await?;
    let answered = tokio::time::timeout(SOON, stays.next()).await.context("the other sign-in's is silent")?;
    ensure!(matches!(answered, Some(Ok(Message::Pong(_)))), "{answered:?}");
    let path = format!("/api/environments/{id}/sessions");
    until_listed(&again, &path, "why it ended is on record", |items| {
        items.iter().any(|session| session["entrance"] == "jupyter" && session["reason"] == "signed_out")
    })
    .await
    .map(drop)
}

/// The close frame of a WebSocket that we end.
async fn parting(socket: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> anyhow::Result<(u16, String)> {
    let closed = async {
        while let Some(message) = socket.next().await {
            if let Message::Close(Some(frame)) = message? {
                return Ok((frame.code.into(), frame.reason.to_string()));
            }
        }
        bail!("it ended without a word")
    };
    tokio::time::timeout(SOON, closed).await.context("an open WebSocket stays open")?
}
