//! The same Envoy over each form of the protocol: delta and state of the world, aggregated and a stream
//! for each type, or rather for each thing that it subscribes to.
//!
//! The resources are plain ones (RDS, not scopes), each with the source that the form asks for.

mod envoy;
mod resources;

use std::net::Ipv4Addr;

use dataplane::{l7::World, xds::Server};
use tokio::{net::TcpListener, sync::watch};

use self::{
    envoy::{Envoy, Form},
    resources::{STEP, world},
};
use crate::{
    backend::Backend,
    client::Client,
    load::Load,
    plane::{DEADLINE, eventually, free_port},
};

/// Route changes, each to a cluster of its own, while the one before goes.
const REPOINTS: usize = 100;

/// Serves over a form, and moves a route from cluster to cluster under load.
async fn serves(form: Form) {
    let backend = Backend::start("a").await;
    let port = free_port();
    let (worlds, receiver) = watch::channel(None::<World>);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(Server::new(receiver).serve(listener));
    worlds.send_replace(Some(world(form, port, backend.port, 0)));
    let envoy = Envoy::start(form, server);
    let mut client = eventually("the listener", async || Client::connect(port).await).await;
    let answer = client.get("any.example", "/").await.unwrap();
    assert_eq!((answer.backend(), answer.header(STEP)), ("a".to_owned(), "0"));

    let load = Load::start(port, "any.example", 1);
    for step in 1..=REPOINTS {
        worlds.send_replace(Some(world(form, port, backend.port, step)));
        let moved = async {
            while client.get("any.example", "/").await.unwrap().header(STEP) != step.to_string() {}
        };
        tokio::time::timeout(DEADLINE, moved).await.expect("the route moves");
    }
    assert!(load.stop().await > 100);
    drop(envoy);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_made_before_it_is_broken_over_delta_ads() {
    serves(Form { delta: true, aggregated: true }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_made_before_it_is_broken_over_the_aggregated_state_of_the_world() {
    serves(Form { delta: false, aggregated: true }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_made_before_it_is_broken_over_separate_delta_streams() {
    serves(Form { delta: true, aggregated: false }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_made_before_it_is_broken_over_separate_streams_of_the_state_of_the_world() {
    serves(Form { delta: false, aggregated: false }).await;
}
