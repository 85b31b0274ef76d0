//! Endpoints of weight 0 keep their connections and get no new ones; endpoints that come start
//! slowly.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::plane::{Plane, eventually, free_port};

/// A server that says a byte and then repeats what it hears.
async fn echo(name: u8) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(&[name]).await;
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

/// Opens a connection; returns it with the name of the server that it came to.
async fn connect(port: u16) -> Option<(u8, TcpStream)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let name = stream.read_u8().await.ok()?;
    Some((name, stream))
}

fn listener(port: u16) -> String {
    format!(
        "kind: Listener\nmetadata: {{ name: l4 }}\nspec: {{ protocol: TCP, port: {port} }}\n---\n\
         kind: TCPRoute\nmetadata: {{ name: l4 }}\nspec: {{ listeners: [{{ name: l4 }}], \
         backends: [{{ service: {{ name: s }} }}] }}\n---\n"
    )
}

fn service(endpoints: &[(u16, u32)], more: &str) -> String {
    let endpoint = |(port, weight): &(u16, u32)| {
        format!("{{ address: 127.0.0.1, port: {port}, weight: {weight} }}")
    };
    let list: Vec<String> = endpoints.iter().map(endpoint).collect();
    format!(
        "kind: Service\nmetadata: {{ name: s }}\nspec: {{ endpoints: [{}]{more} }}\n",
        list.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_keeps_connections_to_an_endpoint_of_weight_0_and_makes_no_new_ones() {
    let (a, b, port) = (echo(b'a').await, echo(b'b').await, free_port());
    let mut plane = Plane::with(&(listener(port) + &service(&[(a, 1), (b, 1)], ""))).await;
    let mut kept = eventually("a connection to a", async || {
        connect(port).await.filter(|(name, _)| *name == b'a').map(|(_, stream)| stream)
    })
    .await;
    for (weights, new) in [([0, 1], Some(b'b')), ([0, 0], None), ([1, 1], Some(b'a'))] {
        plane.apply(&service(&[(a, weights[0]), (b, weights[1])], "")).await;
        eventually("the last change to reach the workers", async || {
            (connect(port).await.map(|(name, _)| name) == new).then_some(())
        })
        .await;
        for _ in 0..20 {
            let name = connect(port).await.map(|(name, _)| name);
            assert!(weights == [1, 1] || name == new, "{name:?} with weights {weights:?}");
        }
        kept.write_all(b"x").await.unwrap();
        assert_eq!(kept.read_u8().await.unwrap(), b'x', "weights {weights:?}");
    }
    plane.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_starts_an_endpoint_that_comes_slowly() {
    const WINDOW: Duration = Duration::from_secs(8);
    let slow = |policy: &str| {
        format!(
            ", loadBalancing: {policy}, slowStart: {{ window: 8s, aggressionPercent: 50, \
             minWeightPercent: 1 }}"
        )
    };
    for policy in ["RoundRobin", "LeastRequest"] {
        let (a, b, port) = (echo(b'a').await, echo(b'b').await, free_port());
        let more = slow(policy);
        let mut plane = Plane::with(&(listener(port) + &service(&[(a, 1)], &more))).await;
        // Envoy takes those that are there at first for new ones too.
        let ready = Instant::now();
        eventually("a's window to end", async || {
            connect(port).await;
            (ready.elapsed() > WINDOW + Duration::from_secs(1)).then_some(())
        })
        .await;
        plane.apply(&service(&[(a, 1), (b, 1)], &more)).await;
        let count = async || {
            let mut at_b = 0;
            for _ in 0..60 {
                let (name, _) = connect(port).await.expect("a connection");
                at_b += u32::from(name == b'b');
            }
            at_b
        };
        let first = count().await;
        assert!(first < 15, "{policy}: {first} of 60 connections to what has just come");
        eventually("half of them", async || (count().await >= 24).then_some(())).await;
        plane.stop().await;
    }
}
