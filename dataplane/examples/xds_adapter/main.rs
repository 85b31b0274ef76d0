//! The configuration server of the data plane beside the `Adapter` service of the public test harness
//! for control planes (github.com/ii/xds-test-harness), so that the harness can be pointed at it.
//!
//! The harness sets resources and versions through the adapter, and compares what its clients receive.

mod messages;
mod service;
mod state;

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use dataplane::xds::Server;
use tokio::{net::TcpListener, sync::watch};

/// Serves xDS and the test harness's adapter, without encryption.
#[derive(Parser)]
struct Arguments {
    /// Where clients subscribe (the harness's target).
    #[arg(long, default_value = "127.0.0.1:18000")]
    xds: SocketAddr,
    /// Where the harness sets what they are to receive.
    #[arg(long, default_value = "127.0.0.1:17000")]
    adapter: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))
    };
    let (xds, adapter) = (bind(arguments.xds).await?, bind(arguments.adapter).await?);
    println!("xDS on {}, adapter on {}", xds.local_addr()?, adapter.local_addr()?);
    let (worlds, receiver) = watch::channel(None);
    // The harness has no traffic that a cluster would stay for.
    let server = Server::new(receiver).without_linger();
    tokio::select! {
        served = server.serve(xds) => served.context("serving xDS"),
        served = service::serve(adapter, state::State::new(worlds)) => {
            served.context("serving the adapter")
        }
    }
}
