//! `GET /ws/terminal/...`: a shell in the browser, one's own or one that somebody shares.

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::problem::{Problem, ProblemDetails};
use crate::terminal::input::INPUT_BYTES_MAX;
use crate::terminal::knock::Knock;
use crate::terminal::{to_environment, to_server, to_share};

/// A message may be longer than the input in it: JSON writes some characters as six.
const MESSAGE_BYTES_MAX: usize = 6 * INPUT_BYTES_MAX + 1_024;
/// What waits for a client's socket, besides the piece that is being sent.
const WRITE_BUFFER_BYTES_MAX: usize = 1 << 20;

/// Open a terminal in an environment
///
/// Without a subprotocol: JSON text messages, `message`, `session`, `output`, `error`, `exit`, `pong` from
/// the server; `input`, `resize`, `ping` from the client. With `portreeve.terminal.v1`: output, input,
/// resize and acknowledgements in binary messages. The upgrade is always accepted; what is wrong is said
/// as `{type:"error", code, reason, suggestion, retryable}`, and then the connection is closed with 4000
/// and HTTP's status for it; `/docs/errors` lists them. Who comes back within 60 seconds with `session`
/// and `offset` gets everything since then. Without a ticket, `Authorization` is read.
#[utoipa::path(
    get, path = "/ws/terminal/environments/{id}", tag = "terminals",
    params(
        ("id" = String, Path, description = "Environment id"),
        ("ticket" = Option<String>, Query, description = "Of POST /api/terminal-tickets"),
        ("cols" = Option<u32>, Query, description = "1 to 2000; 80 when absent"),
        ("rows" = Option<u32>, Query, description = "1 to 2000; 24 when absent"),
        ("session" = Option<String>, Query, description = "The shell to come back to"),
        ("offset" = Option<u64>, Query, description = "How much of its output was seen"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on"),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn environment(
    State(app): State<App>,
    Path(id): Path<String>,
    knock: Knock,
    upgrade: WebSocketUpgrade,
) -> Response {
    let serving = app.clone();
    accept(&app, knock, upgrade, async move |socket, knock| {
        to_environment(&serving, socket, knock, &id).await
    })
}

/// Open a terminal on a server
///
/// As `/ws/terminal/environments/{id}`, for whoever is granted `terminal` there. What stands in the way to the server
/// is said with the class that its test names, and close code 4502.
#[utoipa::path(
    get, path = "/ws/terminal/servers/{id}", tag = "terminals",
    params(
        ("id" = String, Path, description = "Server id"),
        ("ticket" = Option<String>, Query, description = "Of POST /api/terminal-tickets"),
        ("cols" = Option<u32>, Query, description = "1 to 2000; 80 when absent"),
        ("rows" = Option<u32>, Query, description = "1 to 2000; 24 when absent"),
        ("session" = Option<String>, Query, description = "The shell to come back to"),
        ("offset" = Option<u64>, Query, description = "How much of its output was seen"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on"),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn server(
    State(app): State<App>,
    Path(id): Path<String>,
    knock: Knock,
    upgrade: WebSocketUpgrade,
) -> Response {
    let serving = app.clone();
    accept(&app, knock, upgrade, async move |socket, knock| to_server(&serving, socket, knock, &id).await)
}

/// Look at a terminal that somebody shares
///
/// As `/ws/terminal/environments/{id}`. Begins with what is kept of the output; `size` says how large the
/// owner's terminal is, `people` who is there. In a share for looking on, input is answered with
/// `view_only`.
#[utoipa::path(
    get, path = "/ws/terminal/shares/{share}", tag = "terminals",
    params(
        ("share" = String, Path, description = "Id of the share"),
        ("ticket" = Option<String>, Query, description = "Of POST /api/terminal-tickets"),
        ("offset" = Option<u64>, Query, description = "How much of its output was seen"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on"),
        (status = "default", description = "Problem details", body = ProblemDetails, content_type = "application/problem+json"),
    )
)]
pub async fn share(
    State(app): State<App>,
    Path(id): Path<String>,
    knock: Knock,
    upgrade: WebSocketUpgrade,
) -> Response {
    let serving = app.clone();
    accept(&app, knock, upgrade, async move |socket, knock| to_share(&serving, socket, knock, &id).await)
}

fn accept<S, F>(app: &App, knock: Knock, mut upgrade: WebSocketUpgrade, serve: S) -> Response
where
    S: FnOnce(WebSocket, Knock) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(place) = app.terminals.connections.clone().try_acquire_owned() else {
        return Problem::new("busy", "too many terminals are open here; try again").into_response();
    };
    if let Some(subprotocol) = knock.subprotocol.clone() {
        upgrade.set_selected_protocol(subprotocol);
    }
    let under_way = app.terminals.under_way.clone();
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .on_failed_upgrade(|error| tracing::debug!(%error, "a terminal's upgrade failed"))
        .on_upgrade(move |socket| async move {
            let serving = under_way.track_future(serve(socket, knock));
            Box::pin(serving).await;
            drop(place);
        })
}
