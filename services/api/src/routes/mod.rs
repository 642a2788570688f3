//! What does the API offer? One file a use case; this is the list of them.

pub mod audit_log;
pub mod change_status;
pub mod connection_info;
pub mod create_environment;
pub mod event_stream;
pub mod list_environments;
pub mod lockouts;
pub mod login;
pub mod logins;
pub mod mark_job;
pub mod progress;
pub mod projections;
pub mod reset_password;
pub mod session;
pub mod sessions;
pub mod set_allow_list;
pub mod show_environment;
pub mod ssh_keys;
pub mod tenants;
pub mod tokens;
pub mod unlock;
pub mod users;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

/// How a list answers.
#[derive(Serialize, ToSchema)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// Send it as `?cursor=` to get the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// Every route of the API, with its description.
pub fn all() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(login::login))
        .routes(routes!(login::me))
        .routes(routes!(session::sign_in, session::sign_out))
        .routes(routes!(create_environment::create, list_environments::list))
        .routes(routes!(show_environment::show, change_status::delete))
        .routes(routes!(connection_info::connection_info))
        .routes(routes!(reset_password::reset_password))
        .routes(routes!(change_status::stop))
        .routes(routes!(change_status::start))
        .routes(routes!(set_allow_list::set))
        .routes(routes!(mark_job::mark_job))
        .routes(routes!(unlock::unlock))
        .routes(routes!(lockouts::list))
        .routes(routes!(sessions::list))
        .routes(routes!(logins::list))
        .routes(routes!(progress::follow))
        .routes(routes!(ssh_keys::add, ssh_keys::list))
        .routes(routes!(ssh_keys::remove))
        .routes(routes!(tenants::add, tenants::list))
        .routes(routes!(tenants::quota, tenants::set_quota))
        .routes(routes!(users::add, users::list))
        .routes(routes!(users::disable))
        .routes(routes!(tokens::add, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(event_stream::follow))
        .routes(routes!(event_stream::follow_socket))
        .routes(routes!(audit_log::list))
        .routes(routes!(projections::list))
        .routes(routes!(projections::rebuild))
}
