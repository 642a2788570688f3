//! What do people see when environments are Pods? Stories on a real cluster: `make test-kubernetes`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chart;
mod chart_release;
mod faults;
mod main_job;
mod outages;
mod provisioners;
mod requests;
mod silence;
mod startup;
