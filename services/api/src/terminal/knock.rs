//! What does somebody bring who opens a terminal's WebSocket? Read whole, and nothing of it is refused yet: what
//! is wrong is said once the WebSocket is there, because a browser can read it only then.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use events::ids::SessionId;

use crate::access::Caller;
use crate::app::App;
use crate::auth::{authenticate, by_actor};
use crate::correlation::Correlation;
use crate::params::Params;
use crate::problem::Problem;
use crate::terminal::admission::needs_log;
use crate::terminal::failure::Failure;
use crate::terminal::origin;
use crate::terminal::people::Person;
use crate::terminal::tickets::{Holder, Opens};
use crate::terminal::wire::{Protocol, SIDE_MAX, SUBPROTOCOL, Size};
use crate::{client_address, user_agent};

/// When nothing is asked for.
pub const SIZE_DEFAULT: Size = Size { cols: 80, rows: 24 };

pub struct Knock {
    headers: HeaderMap,
    asked: Result<Asked, Failure>,
    from_us: bool,
    ip: Option<IpAddr>,
    pub correlation: Correlation,
    /// What the answer to the upgrade names.
    pub subprotocol: Option<HeaderValue>,
}

/// The query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    ticket: Option<String>,
    pub size: Option<Size>,
    /// The shell to come back to.
    pub session: Option<SessionId>,
    /// How much of its output was seen.
    pub offset: Option<u64>,
}

/// Somebody who is known, and what they bring.
pub struct Visitor {
    pub caller: Caller,
    /// How they proved who they are.
    pub method: &'static str,
    pub ip: IpAddr,
    /// What it says it is.
    pub client: Option<String>,
    pub protocol: Protocol,
    pub asked: Asked,
}

impl Visitor {
    pub fn person(&self) -> Person {
        let Caller { owner, actor, sign_in, .. } = self.caller.clone();
        Person { user: owner, actor, sign_in, ip: self.ip }
    }
}

impl FromRequestParts<App> for Knock {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let asked = match Params::from_request_parts(parts, app).await {
            Ok(params) => read(params),
            Err(problem) => Err(problem),
        };
        Ok(Self {
            asked: asked.map_err(Failure::from),
            from_us: origin::is_ours(&parts.headers, app.tls),
            ip: client_address::of_parts(parts, &app.trusted_proxies),
            correlation: Correlation::of_parts(parts),
            subprotocol: subprotocol(&parts.headers),
            headers: parts.headers.clone(),
        })
    }
}

fn read(mut params: Params) -> Result<Asked, Problem> {
    let side = |text: &str| {
        let side = text.parse::<u32>().ok().filter(|side| (1..=SIDE_MAX).contains(side));
        side.ok_or_else(|| format!("must be a whole number between 1 and {SIDE_MAX}"))
    };
    let (cols, rows) = (params.parsed("cols", side), params.parsed("rows", side));
    let asked = Asked {
        ticket: params.text("ticket"),
        size: (cols.is_some() || rows.is_some()).then(|| Size {
            cols: cols.unwrap_or(SIZE_DEFAULT.cols),
            rows: rows.unwrap_or(SIZE_DEFAULT.rows),
        }),
        session: params.parsed("session", |text| SessionId::parse(text).map_err(|error| error.to_string())),
        offset: params.number("offset"),
    };
    params.end().map(|()| asked)
}

/// Ours if it is among those that were asked for. Otherwise the first: without any, a browser would cut
/// the connection before it could be told that we do not know it.
fn subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
    let asked: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let chosen = asked.iter().find(|name| **name == SUBPROTOCOL).or_else(|| asked.first())?;
    HeaderValue::from_str(chosen).ok()
}

impl Knock {
    /// Who it is; `opens` is what they want to open.
    pub async fn visitor(self, app: &App, opens: &Opens) -> Result<Visitor, Failure> {
        let protocol = match &self.subprotocol {
            None => Protocol::Json,
            Some(name) if name == SUBPROTOCOL => Protocol::Binary,
            Some(name) => {
                let why = format!("the subprotocol {name:?} is not known here");
                return Err(Failure::new("subprotocol_unknown", why));
            }
        };
        if !self.from_us {
            let origin = self.headers.get(header::ORIGIN);
            let why = format!(
                "the page at {:?} is not one of ours",
                origin.unwrap_or(&HeaderValue::from_static(""))
            );
            return Err(Failure::new("origin_refused", why));
        }
        let asked = self.asked?;
        let (caller, method) = match &asked.ticket {
            Some(ticket) => by_ticket(app, ticket, opens).await?,
            None if self.headers.contains_key(header::AUTHORIZATION) => {
                (authenticate(app, &self.headers).await?, "token")
            }
            None => {
                let why = "the address has no ticket: ask for one with POST /api/terminal-tickets";
                return Err(Failure::new("ticket_invalid", why));
            }
        };
        let ip = self.ip.ok_or_else(|| Failure::new("internal", "the connection has no address"))?;
        let client = user_agent::of(&self.headers);
        Ok(Visitor { caller, method, ip, client, protocol, asked })
    }
}

/// Who asked for the ticket, as they stand now: they may have signed out since.
async fn by_ticket(app: &App, ticket: &str, opens: &Opens) -> Result<(Caller, &'static str), Failure> {
    needs_log(app)?;
    let invalid = |why: &str| Failure::new("ticket_invalid", why);
    let holder = app.terminals.tickets.take(ticket);
    let Holder { caller, method, opens: may_open } = holder
        .ok_or_else(|| invalid("the ticket is unknown, was used before, or is older than 30 seconds"))?;
    if may_open != *opens {
        return Err(invalid("the ticket was made for another terminal"));
    }
    Ok((by_actor(app, &caller.actor, caller.sign_in.as_ref()).await?, method))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    async fn asked(query: &str) -> Result<Asked, &'static str> {
        let request = axum::http::Request::get(format!("/ws?{query}")).body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        let params = Params::from_request_parts(&mut parts, &()).await.map_err(|problem| problem.code())?;
        read(params).map_err(|problem| problem.code())
    }

    #[tokio::test]
    async fn an_address_is_read_whole() {
        let plain = Asked { ticket: None, size: None, session: None, offset: None };
        assert_eq!(asked("").await, Ok(plain.clone()));
        let back = asked("ticket=t&cols=132&rows=50&session=ses-abc&offset=7").await.unwrap();
        assert_eq!((back.ticket.as_deref(), back.offset), (Some("t"), Some(7)));
        assert_eq!((back.size.unwrap().cols, back.session.unwrap().as_str()), (132, "ses-abc"));
        for wrong in ["cols=0", "rows=2001", "offset=-1", "session=a.b", "token=ptr_abc", "cols=1&cols=2"] {
            assert_eq!(asked(wrong).await, Err("parameter_invalid"), "{wrong}");
        }
    }

    #[test]
    fn ours_is_taken_wherever_it_stands() {
        let of = |line: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line))]);
            subprotocol(&headers)
        };
        assert_eq!(of("a, portreeve.terminal.v1").unwrap(), SUBPROTOCOL);
        assert_eq!(of("tty, b").unwrap(), "tty");
        assert_eq!(subprotocol(&HeaderMap::new()), None);
    }
}
