//! What do people and programs see from outside? Stories through the public surface, one binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agent;
mod audit;
mod bad_input;
mod busy_people;
mod commands;
mod foreign_relays;
mod gateway;
mod gateway_lockout;
mod gateway_proxies;
mod in_a_browser;
mod jupyter;
mod kill_anywhere;
mod left_behind;
mod main_job;
mod neighbours;
mod outages;
mod pool;
mod projectors;
mod quota_race;
mod recordings;
mod repairs;
mod secrets;
mod spool;
mod three_entrances;
mod web_terminal;
