//! Endpoints over loopback: sessions, and refusals with their words on both sides.

use serde_json::Value;

use super::*;
use crate::{
    identity::{Authority, NodeId, Validity},
    push::{FrameReader, FrameWriter},
};

fn node(ca: &Authority, node: u64, role: Role) -> NodeIdentity {
    let peer = PeerIdentity { cluster: ca.cluster().clone(), node: NodeId(node), role };
    let key = KeyPair::generate().unwrap();
    let pem = ca.issue(&key.csr().unwrap().0, &peer, Validity::node()).unwrap();
    NodeIdentity::new(ca.certificate_pem(), &pem, key).unwrap()
}

fn client(identity: &NodeIdentity) -> Endpoint {
    client_endpoint(&LiveIdentity::new(identity).unwrap(), any_port()).unwrap()
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn a_session_carries_frames_both_ways_and_names_the_peer() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let server = server_endpoint(&node(&ca, 1, Role::Control), any_port()).unwrap();
    let address = server.local_addr().unwrap();
    let serve = async {
        let connection = server.accept().await.unwrap().await.unwrap();
        let peer = connected_peer(&connection).unwrap();
        let (send, receive) = connection.accept_bi().await.unwrap();
        let mut reader = FrameReader::<_, Value>::new(receive);
        let mut writer = FrameWriter::<_, Value>::new(send);
        let got = reader.read().await.unwrap().unwrap();
        writer.write(&got).await.unwrap();
        // The client has read its answer when it closes.
        connection.closed().await;
        peer
    };
    let identity = node(&ca, 2, Role::DataPlane);
    let call = async {
        let endpoint = client(&identity);
        let connection = connect(&endpoint, identity.cluster(), address).await.unwrap();
        let (send, receive) = connection.open_bi().await.unwrap();
        let message = Value::from("x".repeat(1_000_000));
        FrameWriter::<_, Value>::new(send).write(&message).await.unwrap();
        let answer = FrameReader::<_, Value>::new(receive).read().await.unwrap().unwrap();
        assert_eq!(answer, message);
        connection.close(VarInt::from_u32(0), b"done");
        endpoint.wait_idle().await;
    };
    let (peer, ()) = tokio::join!(serve, call);
    assert_eq!(&peer, identity.peer());
}

#[tokio::test]
async fn a_client_of_another_cluster_names_both_clusters_in_its_refusal() {
    let (ours, theirs) = (
        Authority::create(ClusterId::random()).unwrap(),
        Authority::create(ClusterId::random()).unwrap(),
    );
    let server = server_endpoint(&node(&ours, 1, Role::Control), any_port()).unwrap();
    let address = server.local_addr().unwrap();
    let identity = node(&theirs, 2, Role::DataPlane);
    let endpoint = client(&identity);
    let (accepted, connected) = tokio::join!(
        async { server.accept().await.unwrap().await },
        connect(&endpoint, identity.cluster(), address)
    );
    let ConnectError::Failed { source, .. } = connected.unwrap_err() else { panic!() };
    let words = source.to_string();
    assert!(words.contains(ours.cluster().as_str()), "{words}");
    assert!(words.contains(theirs.cluster().as_str()), "{words}");
    // The server hears the client's words.
    let words = accepted.unwrap_err().to_string();
    assert!(words.contains(ours.cluster().as_str()), "{words}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let identity = node(&ca, 1, Role::Control);
    let first = server_endpoint(&identity, any_port()).unwrap();
    let taken = first.local_addr().unwrap();
    let error = server_endpoint(&identity, taken).unwrap_err();
    assert!(matches!(error, EndpointError::Bind { address, .. } if address == taken), "{error}");
}

#[tokio::test]
async fn a_restarted_server_ends_the_sessions_of_its_former_life_at_once() {
    let ca = Authority::create(ClusterId::random()).unwrap();
    let identity = node(&ca, 1, Role::Control);
    let first = server_endpoint(&identity, any_port()).unwrap();
    let address = first.local_addr().unwrap();
    let plane = node(&ca, 2, Role::DataPlane);
    let client = client(&plane);
    let accept = async { first.accept().await.unwrap().await.unwrap() };
    let (served, session) = tokio::join!(accept, connect(&client, plane.cluster(), address));
    let session = session.unwrap();

    // A `kill -9` says no goodbye: the first server goes mute (its socket moves away; an endpoint
    // keeps the socket before the present one), and a second one is at its address.
    for _ in 0..2 {
        first.rebind(std::net::UdpSocket::bind(any_port()).unwrap()).unwrap();
    }
    let second = async {
        // The tasks of the first let go of its socket when they next run.
        loop {
            match server_endpoint(&identity, address) {
                Ok(second) => break second,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let _second = tokio::time::timeout(IDLE_TIMEOUT, second).await.unwrap();
    let ended = tokio::time::timeout(IDLE_TIMEOUT / 2, session.closed()).await;
    assert!(matches!(ended, Ok(ConnectionError::Reset)), "{ended:?}");
    drop(served);
}
