//! Who comes with what, and what do they get? A ticket becomes a cookie; a cookie or a bearer token leads on.

use std::net::IpAddr;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use events::ids::EnvId;
use kit::sentry_protocol::jupyter_base_url;
use serde::Deserialize;

use super::admission::{self, Guest};
use super::pass::{self, Pass};
use super::{cookie, head, origin, proxy};
use crate::app::App;
use crate::auth::{authenticate, by_actor};
use crate::client_address;
use crate::environment::find;
use crate::problem::Problem;

const TICKET: &str = "ticket";

/// Which environment's; the rest of the path goes on as it is.
#[derive(Deserialize)]
pub struct Whose {
    env: String,
}

impl Whose {
    fn id(&self) -> Result<EnvId, Problem> {
        EnvId::parse(self.env.as_str()).map_err(|_| Problem::not_found("environment"))
    }
}

/// `/jupyter/{env}`: its first page is below.
pub async fn bare(Path(whose): Path<Whose>) -> Result<Response, Problem> {
    see_other(&jupyter_base_url(whose.id()?.as_str()))
}

/// On the origin of its own.
pub async fn with_cookie(
    State(app): State<App>,
    Path(whose): Path<Whose>,
    request: Request,
) -> Result<Response, Problem> {
    let env = whose.id()?;
    let ip = address(&app, &request)?;
    if request.method() == Method::GET
        && let Some(ticket) = query_value(request.uri().query().unwrap_or_default(), TICKET)
    {
        let (ticket, uri) = (ticket.to_owned(), request.uri().clone());
        return take_ticket(&app, &env, &ticket, ip, &uri).await;
    }
    let named = app.jupyter.origin.of(&env, request.uri(), request.headers());
    if !is_from_own_page(&request, named.as_deref()) {
        let why = "this address is for JupyterLab's own pages; open it from the environment's page";
        return Err(Problem::new("cross_origin", why));
    }
    let known = cookie::shown(request.headers()).find_map(|text| app.jupyter.passes.of_cookie(text, &env));
    let pass = known.filter(|pass| pass.ip.is_none_or(|given_to| given_to == ip));
    let pass = pass.ok_or_else(|| {
        Problem::new("jupyter_link_needed", "open JupyterLab from the environment's page: that makes a link")
    })?;
    let guest = guest(&app, pass, ip).await?;
    proxy::lead_on(&app, &guest, request).await
}

/// Beside the API. Only programs send such a token, so nothing that comes back is let loose in a browser.
pub async fn with_bearer(
    State(app): State<App>,
    Path(whose): Path<Whose>,
    request: Request,
) -> Result<Response, Problem> {
    let env = whose.id()?;
    if !request.headers().contains_key(header::AUTHORIZATION) {
        // a person who typed the address: the page makes a link
        if head::is_page_opened(request.method(), request.headers()) {
            return see_other(&format!("/environments/{env}?open=jupyter"));
        }
        let why = "send Authorization: Bearer <token>; a browser opens a link of POST .../jupyter-links";
        return Err(Problem::new("unauthorized", why));
    }
    let caller = authenticate(&app, request.headers()).await?;
    let ip = address(&app, &request)?;
    let tenant = find(&app, &caller, env.as_str()).await?.tenant;
    let guest = Guest { caller, tenant, env, ip };
    admission::enter(&app, &guest).await?;
    let response = proxy::lead_on(&app, &guest, request).await?;
    Ok(head::made_harmless(response))
}

async fn take_ticket(
    app: &App,
    env: &EnvId,
    ticket: &str,
    ip: IpAddr,
    uri: &Uri,
) -> Result<Response, Problem> {
    let pass = pass::redeem(app, ticket, env).await?;
    let secure = app.jupyter.origin.is_secure();
    let pass = Pass { ip: (!secure).then_some(ip), ..pass };
    guest(app, pass.clone(), ip).await?;
    let text = app.jupyter.passes.cookie(pass, Utc::now())?;
    let rest = without(uri.query().unwrap_or_default(), TICKET);
    let mark = if rest.is_empty() { "" } else { "?" };
    let mut response = see_other(&format!("{}{mark}{rest}", uri.path()))?;
    if let Some(cookie) = cookie::set(env, &text, secure) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Who a pass names, if they still may.
async fn guest(app: &App, pass: Pass, ip: IpAddr) -> Result<Guest, Problem> {
    let caller = by_actor(app, &pass.actor, pass.sign_in.as_ref()).await?;
    let guest = Guest { caller, tenant: pass.tenant, env: pass.env, ip };
    admission::enter(app, &guest).await?;
    Ok(guest)
}

/// A cookie comes along with whatever any page asks for. From another page only a visit counts: a page
/// that was opened, which the other one cannot read. `named` is the origin of our links: a proxy in front
/// may have written another host into the request.
fn is_from_own_page(request: &Request, named: Option<&str>) -> bool {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(from) = text("origin") {
        let asked = origin::authority(request.uri(), headers);
        let asked = asked.as_ref().map(|authority| authority.as_str());
        let authority = from.split_once("://").map(|(_, authority)| authority);
        let is_asked = authority.zip(asked).is_some_and(|(from, asked)| from.eq_ignore_ascii_case(asked));
        return is_asked || named.is_some_and(|named| from.eq_ignore_ascii_case(named));
    }
    match text("sec-fetch-site") {
        // no browser, or one that is talked to without TLS: what it may not read, the answer's headers say
        None | Some("same-origin" | "none") => true,
        Some(_) => head::is_page_opened(request.method(), headers),
    }
}

fn address(app: &App, request: &Request) -> Result<IpAddr, Problem> {
    let from = client_address::of_request(request, &app.trusted_proxies);
    from.ok_or_else(|| Problem::new("bad_request", "the request comes from nowhere"))
}

fn see_other(location: &str) -> Result<Response, Problem> {
    let location = HeaderValue::from_str(location).map_err(|error| Problem::internal(&error))?;
    let headers: HeaderMap = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ]
    .into_iter()
    .collect();
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// A query without one of its parts.
pub fn without(query: &str, name: &str) -> String {
    let is_other = |pair: &&str| pair.split('=').next() != Some(name);
    query.split('&').filter(is_other).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use axum::body::Body;

    fn asked(method: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri("/jupyter/env-a/api/kernels");
        for (name, value) in [("host", "127.0.0.1:8083")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_its_own_pages_use_the_cookie() {
        let own = ("origin", "http://127.0.0.1:8083");
        let page = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert!(is_from_own_page(&asked("POST", &[own]), None));
        assert!(is_from_own_page(&asked("POST", &[]), None), "a program");
        assert!(
            !is_from_own_page(&asked("POST", &[("origin", "http://127.0.0.1:30001")]), None),
            "another port"
        );
        assert!(!is_from_own_page(&asked("GET", &[("origin", "null")]), None));
        let behind_proxy = asked("POST", &[("origin", "https://jupyter.example.org")]);
        assert!(is_from_own_page(&behind_proxy, Some("https://jupyter.example.org")));
        assert!(!is_from_own_page(&behind_proxy, Some("http://jupyter.example.org")));
        assert!(!is_from_own_page(&asked("GET", &[("sec-fetch-site", "same-site")]), None));
        assert!(is_from_own_page(&asked("GET", &[("sec-fetch-site", "same-origin")]), None));
        let mut visit = vec![("sec-fetch-site", "cross-site")];
        visit.extend(page);
        assert!(is_from_own_page(&asked("GET", &visit), None));
        assert!(!is_from_own_page(&asked("POST", &visit), None));
        visit[2].1 = "iframe";
        assert!(!is_from_own_page(&asked("GET", &visit), None));
    }

    #[test]
    fn the_ticket_leaves_the_address_and_nothing_else_does() {
        assert_eq!(query_value("a=1&ticket=x.y&b=2", TICKET), Some("x.y"));
        assert_eq!(query_value("a=1&tickets=x", TICKET), None);
        assert_eq!(without("a=1&ticket=x.y&b=2", TICKET), "a=1&b=2");
        assert_eq!(without("ticket=x.y", TICKET), "");
        assert_eq!(without("", TICKET), "");
    }
}
