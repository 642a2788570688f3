//! What does the API offer? One file a use case; this is the list of them.

pub mod anchor_log;
pub mod approve_batch;
pub mod audit_log;
pub mod batches;
pub mod change_relay;
pub mod change_server;
pub mod change_status;
pub mod command_output;
pub mod compare_log;
pub mod connection_info;
pub mod create_environment;
pub mod diagnose_server;
pub mod event_schemas;
pub mod event_stream;
pub mod explain_event;
pub mod export_log;
pub mod export_servers;
pub mod import_servers;
pub mod jupyter_links;
pub mod list_environments;
pub mod list_servers;
pub mod lockouts;
pub mod login;
pub mod logins;
pub mod mark_job;
pub mod nats_taps;
pub mod parked_deliveries;
pub mod people_groups;
pub mod ports;
pub mod progress;
pub mod projections;
pub mod recordings;
pub mod register_server;
pub mod relays;
pub mod replay_log;
pub mod report_log;
pub mod reset_password;
pub mod run_command;
pub mod schedules;
pub mod server_accounts;
pub mod server_authority;
pub mod server_facts;
pub mod server_grants;
pub mod server_sessions;
pub mod session;
pub mod sessions;
pub mod set_allow_list;
pub mod show_environment;
pub mod ssh_keys;
pub mod subscription_events;
pub mod subscriptions;
pub mod tenant_recording;
pub mod tenants;
pub mod terminal_shares;
pub mod terminal_sockets;
pub mod terminal_tickets;
pub mod test_server;
pub mod tokens;
pub mod unlock;
pub mod users;
pub mod verify_log;
pub mod what_if;

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
        .routes(routes!(jupyter_links::make))
        .routes(routes!(change_status::stop))
        .routes(routes!(change_status::start))
        .routes(routes!(set_allow_list::set))
        .routes(routes!(ports::list))
        .routes(routes!(mark_job::mark_job))
        .routes(routes!(unlock::unlock))
        .routes(routes!(lockouts::list))
        .routes(routes!(sessions::list))
        .routes(routes!(logins::list))
        .routes(routes!(recordings::list))
        .routes(routes!(recordings::show))
        .routes(routes!(progress::follow))
        .routes(routes!(ssh_keys::add, ssh_keys::list))
        .routes(routes!(ssh_keys::remove))
        .routes(routes!(tenants::add, tenants::list))
        .routes(routes!(tenants::quota, tenants::set_quota))
        .routes(routes!(tenant_recording::show, tenant_recording::set))
        .routes(routes!(users::add, users::list))
        .routes(routes!(users::disable))
        .routes(routes!(tokens::add, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(terminal_tickets::issue))
        .routes(routes!(terminal_shares::add, terminal_shares::list))
        .routes(routes!(terminal_shares::end))
        .routes(routes!(register_server::add, list_servers::list))
        .routes(routes!(import_servers::import))
        .routes(routes!(export_servers::export))
        .routes(routes!(list_servers::show, change_server::patch, change_server::remove))
        .routes(routes!(test_server::test))
        .routes(routes!(test_server::accept_host_key))
        .routes(routes!(diagnose_server::diagnose))
        .routes(routes!(server_accounts::list, server_accounts::push))
        .routes(routes!(server_accounts::remove))
        .routes(routes!(server_accounts::verify))
        .routes(routes!(server_accounts::rotate))
        .routes(routes!(server_facts::show, server_facts::gather))
        .routes(routes!(server_grants::show, server_grants::set))
        .routes(routes!(server_grants::list, server_grants::set_scoped))
        .routes(routes!(server_authority::show))
        .routes(routes!(server_sessions::sessions))
        .routes(routes!(server_sessions::recordings))
        .routes(routes!(people_groups::list))
        .routes(routes!(relays::add, relays::list))
        .routes(routes!(relays::show, change_relay::patch, relays::remove))
        .routes(routes!(relays::rotate))
        .routes(routes!(relays::accept))
        .routes(routes!(run_command::run))
        .routes(routes!(batches::show_command))
        .routes(routes!(command_output::stdout))
        .routes(routes!(command_output::stderr))
        .routes(routes!(batches::list))
        .routes(routes!(batches::show))
        .routes(routes!(batches::list_commands))
        .routes(routes!(batches::follow))
        .routes(routes!(batches::cancel))
        .routes(routes!(schedules::add, schedules::list))
        .routes(routes!(schedules::show, schedules::patch, schedules::remove))
        .routes(routes!(subscriptions::add, subscriptions::list))
        .routes(routes!(subscriptions::show, subscriptions::patch, subscriptions::remove))
        .routes(routes!(subscriptions::rotate))
        .routes(routes!(subscription_events::follow))
        .routes(routes!(subscription_events::acknowledge))
        .routes(routes!(parked_deliveries::list))
        .routes(routes!(parked_deliveries::retry))
        .routes(routes!(parked_deliveries::give_up_one))
        .routes(routes!(approve_batch::approve))
        .routes(routes!(approve_batch::reject))
        .routes(routes!(people_groups::set))
        .routes(routes!(event_stream::follow))
        .routes(routes!(event_stream::follow_socket))
        .routes(routes!(event_schemas::show))
        .routes(routes!(nats_taps::add, nats_taps::list))
        .routes(routes!(nats_taps::show, nats_taps::revoke))
        .routes(routes!(audit_log::list))
        .routes(routes!(verify_log::verify))
        .routes(routes!(export_log::export_bundle))
        .routes(routes!(replay_log::replay))
        .routes(routes!(compare_log::diff))
        .routes(routes!(report_log::report))
        .routes(routes!(explain_event::explain))
        .routes(routes!(explain_event::timeline))
        .routes(routes!(what_if::ask))
        .routes(routes!(anchor_log::anchor))
        .routes(routes!(anchor_log::keys, anchor_log::rotate))
        .routes(routes!(projections::list))
        .routes(routes!(projections::rebuild))
}

/// WebSockets that accept everybody and then say why not.
pub fn sockets() -> OpenApiRouter<App> {
    OpenApiRouter::default()
        .routes(routes!(terminal_sockets::environment))
        .routes(routes!(terminal_sockets::server))
        .routes(routes!(terminal_sockets::share))
}
