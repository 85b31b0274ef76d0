//! The control process of a node, its API, the client of that API and the command line.
//!
//! The program `marchproxy` is [`cli::main`]; everything is a library so that the tests of the API
//! run it in their own process.

mod announce;
pub mod api;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod control;
mod dataplane_socket;
pub(crate) mod formation;
mod issuing;
pub mod joining;
pub mod ledger;
pub(crate) mod membership;
mod modules;
mod preflight;
pub(crate) mod probes;
pub(crate) mod publisher;
mod quotas;
pub(crate) mod rollout;
pub mod secret_file;
pub mod settings;
pub(crate) mod shares;
pub mod tokens;
