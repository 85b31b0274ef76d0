//! The L7 engine's translation: a configuration becomes Envoy's resources.
//!
//! Pure: a [`model::Snapshot`], the unhealthy endpoints and the listeners that XDP carries go into
//! [`Compiler::update`]; named, versioned, encoded [`Resource`]s and the list of what changed come
//! out. Nothing here talks to Envoy (see `xds`) or starts it (see `envoy`).
//!
//! # How a request finds its route
//!
//! Each (listener, exact host) is one scope: a `ScopedRouteConfiguration` that carries its route
//! table inline, under the key `:authority` without its port. A new host is thereby one small
//! resource, however many others there are. Scoped routes know no default, so each HTTP listener
//! has one more scope with the table of its wildcard hosts, and a script that runs only for
//! requests that found no scope (see `filters`): it lowers the case of the host and tries
//! again, then selects the table of the wildcards. Exact hosts pay nothing for it.
//!
//! **Invariants.** The resources are a function of the last input alone (incremental and
//! from-scratch results are equal). A version is a hash of what the resource was made of, never of
//! encoded bytes, so it is equal on every replica. A reference to a service that is not there
//! answers 500, a service without endpoints 503.

mod action;
mod affinity;
mod client_certificates;
mod cluster;
mod common_tls;
mod compiler;
mod downstream_tls;
mod edits;
mod endpoints;
mod filters;
mod http_listener;
mod index;
mod l4_listener;
mod listener;
mod matching;
mod names;
mod origin;
mod pb;
mod precedence;
mod quiet;
mod resource;
mod retries;
mod rewrite;
mod secret;
mod session_secrets;
mod table;
mod tls_listener;
mod version;
mod world;

pub use compiler::{Compiler, Input, Settings, system_roots};
pub(crate) use filters::jwt::{NAME as TOKENS, is_requirement, joined};
pub use origin::{Origin, find as find_origin};
pub(crate) use pb::{CHALLENGES_CLUSTER, QUOTAS_CLUSTER, XDS_CLUSTER};
pub use resource::{Resource, ResourceId, ResourceType};
pub(crate) use secret::spelled_anew;
pub use world::{ResourceDelta, World};
