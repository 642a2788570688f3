//! From which address does a request come? From the connection's other end, or from whom a trusted
//! proxy names.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::request::Parts;
use ipnet::IpNet;
use kit::client_address::of;

use crate::problem::Problem;

/// `None` only where the routes are called without a connection.
pub fn of_parts(parts: &Parts, proxies: &[IpNet]) -> Option<IpAddr> {
    of(&parts.extensions, &parts.headers, proxies)
}

/// Of a request that must come from somewhere.
pub fn needed_of_parts(parts: &Parts, proxies: &[IpNet]) -> Result<IpAddr, Problem> {
    of_parts(parts, proxies).ok_or_else(|| Problem::new("bad_request", "the request comes from nowhere"))
}

/// The same of a whole request.
pub fn of_request(request: &Request, proxies: &[IpNet]) -> Option<IpAddr> {
    of(request.extensions(), request.headers(), proxies)
}
