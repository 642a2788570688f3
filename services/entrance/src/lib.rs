//! What do the entrances share that we keep ourselves, the gateway and the web terminal? The way into an
//! environment, and what is recorded of somebody who went it, or kept coming to a closed door.
//!
//! Knows nothing of HTTP and SQL, and not how a person proved who they are.

pub mod refusals;
pub mod visit;
pub mod way_in;
