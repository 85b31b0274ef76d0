//! The control process of a node, its API, the client of that API and the command line.
//!
//! The program `marchproxy` is [`cli::main`]; everything is a library so that the tests of the API
//! run it in their own process.

pub mod control;
pub mod joining;
pub mod ledger;
pub mod settings;
pub mod tokens;
