//! What both processes of a node need: supervision and restart budgets, child processes, node
//! identity and TLS, the push protocol's messages and framing, durable files, the code of filters,
//! errors in one line, telemetry set-up.
//!
//! Knows nothing of consensus, of engines or of the API. Imports `model` only.

pub mod chain;
pub mod durable;
pub mod filter_code;
pub mod identity;
pub mod process;
pub mod push;
pub mod supervision;
pub mod telemetry;
pub mod tls;
