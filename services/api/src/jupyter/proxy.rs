//! How does one request get to JupyterLab and its answer back? Bodies pass as they come, both ways; a
//! WebSocket's bytes pass undecoded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, Version, header};
use axum::response::Response;
use events::credential::SecretRef;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kit::error::chain;
use secrecy::SecretString;
use tokio::io::copy_bidirectional;

use super::admission::Guest;
use super::parting::Page;
use super::way::{Tunnel, Way};
use super::{arrival, head, hide_token, origin};
use crate::app::App;
use crate::problem::Problem;
use crate::user_agent;

/// An upload is answered after its end: this long for both. What is under way ends with its way.
const ANSWER_WAIT: Duration = Duration::from_secs(30 * 60);
/// The head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 100;
/// A WebSocket is closed with this and HTTP's status.
const CLOSE_CODES: u16 = 4000;

/// For somebody who was admitted.
pub async fn lead_on(app: &App, guest: &Guest, mut request: Request) -> Result<Response, Problem> {
    let client = user_agent::of(request.headers());
    let token = app.vault.get(&SecretRef::jupyter(&guest.env)).await?;
    let token =
        token.ok_or_else(|| Problem::new("jupyter_unavailable", "JupyterLab has no token yet; try again"))?;
    let upgrade = wants_websocket(&request).then(|| hyper::upgrade::on(&mut request));
    let request = inward(app, guest, request, &token, upgrade.is_some())?;
    let way = app.jupyter.ways.of(app, guest, client).await?;
    let tunnel = way.tunnel().await?;
    let answer = send(tunnel, request).await?;
    outward(guest, answer, upgrade.map(|outside| (outside, way)), &token)
}

fn wants_websocket(request: &Request) -> bool {
    let asked = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    asked.is_some_and(|asked| asked.eq_ignore_ascii_case("websocket"))
        && request.extensions().get::<OnUpgrade>().is_some()
}

fn inward(
    app: &App,
    guest: &Guest,
    request: Request,
    token: &SecretString,
    upgrade: bool,
) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let host = origin::authority(&parts.uri, &parts.headers);
    let asking = head::Asking {
        ip: guest.ip,
        scheme: app.jupyter.origin.scheme(),
        host: host.as_ref().map(|host| host.as_str()),
        upgrade,
    };
    parts.headers = head::for_jupyter(&parts.headers, &asking, token)?;
    let query = arrival::without(parts.uri.query().unwrap_or_default(), "token");
    let mark = if query.is_empty() { "" } else { "?" };
    let target = format!("{}{mark}{query}", parts.uri.path());
    parts.uri = target.parse::<Uri>().map_err(|error| Problem::internal(&error))?;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body))
}

async fn send(tunnel: Tunnel, request: Request) -> Result<hyper::Response<hyper::body::Incoming>, Problem> {
    let broke = |error: &hyper::Error| {
        tracing::debug!(error = chain(error), "JupyterLab broke off");
        Problem::limited(
            "jupyter_unavailable",
            "JupyterLab broke off; it may be starting again".to_owned(),
            2,
        )
    };
    let mut http = http1::Builder::new();
    http.max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
    let (mut sender, connection) =
        http.handshake::<_, Body>(TokioIo::new(tunnel)).await.map_err(|error| broke(&error))?;
    // ends with the answer's body, or when nobody wants it any more
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = chain(&error), "a connection to JupyterLab ended early");
        }
    });
    match tokio::time::timeout(ANSWER_WAIT, sender.send_request(request)).await {
        Ok(answer) => answer.map_err(|error| broke(&error)),
        Err(_) => Err(Problem::new("timed_out", "JupyterLab did not answer in time")),
    }
}

fn outward(
    guest: &Guest,
    mut answer: hyper::Response<hyper::body::Incoming>,
    upgrade: Option<(OnUpgrade, Arc<Way>)>,
    token: &SecretString,
) -> Result<Response, Problem> {
    let mut headers = head::from_jupyter(answer.headers(), &guest.env);
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let unasked = || Problem::new("jupyter_unavailable", "JupyterLab answered what nobody had asked");
        let (outside, way) = upgrade.ok_or_else(unasked)?;
        let inside = hyper::upgrade::on(&mut answer);
        tokio::spawn(join(outside, inside, way));
        for name in [header::CONNECTION, header::UPGRADE] {
            headers.extend(answer.headers_mut().remove(&name).map(|value| (name, value)));
        }
        return Ok(answered(status, headers, Body::empty()));
    }
    let body = Body::new(answer.into_body());
    let body = if hide_token::is_page(&headers) { hide_token::hide(body, token, &mut headers) } else { body };
    Ok(answered(status, headers, body))
}

fn answered(status: StatusCode, headers: axum::http::HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    // its refusals are its own
    response.extensions_mut().insert(crate::problem::Whole);
    response
}

/// Until either side ends, or the way is closed to the person: then the page is told why.
async fn join(outside: OnUpgrade, inside: OnUpgrade, way: Arc<Way>) {
    let (outside, inside) = match tokio::try_join!(outside, inside) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(error = chain(&error), "a WebSocket did not come about");
            return;
        }
    };
    let (mut outside, mut inside) = (Page::new(TokioIo::new(outside)), TokioIo::new(inside));
    let closed = tokio::select! {
        biased;
        Some(problem) = way.closed() => problem,
        copied = copy_bidirectional(&mut outside, &mut inside) => {
            if let Err(error) = copied {
                tracing::debug!(%error, "a WebSocket ended early");
            }
            return;
        }
    };
    outside.part(CLOSE_CODES + closed.status().as_u16(), closed.code()).await;
}
