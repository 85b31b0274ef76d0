//! The configuration model: kinds, validation, snapshots, diffs and the types of the API.
//!
//! Pure: no I/O, no clock, no randomness; it also compiles to `wasm32-unknown-unknown` for the
//! console. A document enters as text ([`parse`]), is checked whole, and leaves as validated
//! [`Object`]s or as *all* of its errors at once, each with a path, the value and a remedy.
//!
//! **Invariants.** An [`Object`] cannot hold a value that `parse` would refuse; its canonical JSON
//! ([`Object::to_canonical`]) parses back to an equal object, on every replica to the same bytes.

pub mod ack;
pub mod announce;
pub mod api;
pub mod auth_policy;
pub mod certificate;
pub mod cluster;
pub mod endpoint;
pub mod error;
pub mod explain;
pub mod field_change;
pub mod filter_module;
pub mod flow;
pub mod key;
pub mod limits;
pub mod listener;
pub mod lockout;
mod match_identity;
pub mod object;
pub mod packet_filter;
pub mod parse;
pub mod plan;
pub mod prefix;
pub mod qos_policy;
pub mod qos_report;
pub mod quotas;
pub mod rate_limit;
pub mod revision;
pub mod rollout;
pub mod rollout_policy;
pub mod route;
pub mod service;
pub mod shares;
pub mod snapshot;
pub mod tls;
pub mod traffic;
pub mod validate;

pub use ack::{AckState, Engine, EngineReport, Refusal};
pub use auth_policy::AuthPolicy;
pub use certificate::{Acme, AcmeChallenge, Certificate, Issued, Issuer};
pub use endpoint::EndpointId;
pub use error::{ConfigError, ConfigErrors};
pub use field_change::{FieldChange, ObjectDiff, diff_snapshots, field_changes};
pub use filter_module::{FilterModule, ModuleFile, ModuleId};
pub use key::{Kind, ObjectKey};
pub use listener::Listener;
pub use match_identity::MatchIdentity;
pub use object::{Metadata, Object, Spec};
pub use packet_filter::{PacketFilter, PrefixList};
pub use plan::{Plan, plan_apply, plan_delete, plan_replace};
pub use prefix::{Prefix, Prefixes};
pub use qos_policy::QosPolicy;
pub use rate_limit::RateLimit;
pub use revision::Revision;
pub use rollout::Rollout;
pub use rollout_policy::RolloutPolicy;
pub use route::{GrpcRoute, HttpRoute, L4Route, TlsRoute};
pub use service::Service;
pub use snapshot::{Change, Snapshot};
pub use validate::validate_snapshot;
