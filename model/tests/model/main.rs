//! Tests of the model as its users see it: text in, objects or errors out.

mod canonical;
mod checking;
mod example;
mod filters;
mod generate;
mod generate_auth;
mod generate_listener;
mod generate_policy;
mod generate_service;
mod lockouts;
mod mistakes_document;
mod mistakes_filter;
mod mistakes_http;
mod mistakes_listener;
mod mistakes_match;
mod mistakes_policy;
mod mistakes_qos;
mod mistakes_rollout;
mod mistakes_service;
mod mistakes_snapshot;
mod mistakes_upstream;
mod mutation;
mod plans;
mod round_trip;
mod snapshots;
