//! The API of a real one-node cluster over real TLS.

mod access;
mod endpoints;
mod events;
mod flows;
mod harness;
mod hostile;
mod modules;
mod openapi;
mod qos;
mod schema;
mod writes;
