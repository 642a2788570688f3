//! How does a page of JupyterLab get to a browser without the token that JupyterLab writes into it?
//!
//! Its pages carry a configuration with the server's token, for scripts that are to send it along. Behind us
//! they need none: an empty one is what JupyterLab knows from JupyterHub.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::{Stream, StreamExt, stream};
use secrecy::{ExposeSecret, SecretString};

/// Only pages are read; what is downloaded stays as it is.
pub fn is_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let attached = text(header::CONTENT_DISPOSITION).starts_with("attachment");
    text(header::CONTENT_TYPE).starts_with("text/html") && !attached
}

/// The page without it; its length changes.
pub fn hide(body: Body, token: &SecretString, headers: &mut HeaderMap) -> Body {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ETAG);
    Body::from_stream(without(body.into_data_stream(), token.clone()))
}

fn without<E>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
    token: SecretString,
) -> impl Stream<Item = Result<Bytes, E>> {
    let begun = (pieces, Vec::new(), token, false);
    stream::unfold(begun, |(mut pieces, mut held, token, ended)| async move {
        if ended {
            return None;
        }
        match pieces.next().await {
            Some(Ok(piece)) => {
                held.extend_from_slice(&piece);
                let (out, rest) = cut(&held, token.expose_secret().as_bytes());
                Some((Ok(Bytes::from(out)), (pieces, rest, token, false)))
            }
            Some(Err(error)) => Some((Err(error), (pieces, Vec::new(), token, true))),
            None => Some((Ok(Bytes::from(held)), (pieces, Vec::new(), token, true))),
        }
    })
}

/// What is certain to be free of it, and what may be its beginning.
fn cut(bytes: &[u8], token: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !token.is_empty() && !rest.is_empty() {
        let Some(at) = rest.windows(token.len()).position(|window| window == token) else { break };
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        rest = after.get(token.len()..).unwrap_or_default();
    }
    let begins = |length: &usize| rest.ends_with(token.get(..*length).unwrap_or(b"\0"));
    let kept = (1..token.len()).rev().find(begins).unwrap_or(0);
    let (free, held) = rest.split_at(rest.len() - kept.min(rest.len()));
    out.extend_from_slice(free);
    (out, held.to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn wherever_a_page_is_cut_the_token_is_gone_and_nothing_else() {
        let token = "abcabd0123";
        let page = format!("<a token=\"{token}\">abcab abc{token}{token}abcabd012");
        for size in 1..page.len() {
            let pieces: Vec<Result<Bytes, axum::Error>> =
                page.as_bytes().chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            let shown = without(stream::iter(pieces), SecretString::from(token));
            let shown: Vec<_> = shown.map(|piece| piece.unwrap()).collect().await;
            assert_eq!(shown.concat(), page.replace(token, "").as_bytes(), "in pieces of {size}");
        }
    }
}
