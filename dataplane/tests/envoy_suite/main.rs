//! The L7 engine against a real Envoy: configuration goes in, real requests come out.
//!
//! Needs the Envoy binary; without it each test fails and names what fetches it.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

mod access_log;
mod acme;
mod affinity;
mod auth;
mod backend;
mod balancing;
mod breakers;
mod browser;
mod certificates;
mod churn;
mod client;
mod client_certificates;
mod collector;
mod compression;
mod connections;
mod consent;
mod consent_grpc;
mod cors;
mod dns;
mod drain;
mod explaining;
mod failover;
mod faults;
mod forms;
mod grpc;
mod grpc_backend;
mod grpc_web;
mod health;
mod http3;
mod http3_client;
mod identity_provider;
mod keys;
mod l4;
mod life;
mod limiting;
mod limiting_together;
mod listening;
mod load;
mod logins;
mod mirrors;
mod outliers;
mod overload;
mod passing_tls;
mod paused;
mod plane;
mod preflight;
mod propagation;
mod proxy_protocol;
mod refusal;
mod restart;
mod retrying;
mod rewriting;
mod routing;
mod secure_backend;
mod series;
mod tls;
mod token;
mod tokens;
mod upstream_http;
mod upstream_tls;
mod websocket;
