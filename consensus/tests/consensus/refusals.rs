//! Strangers and mistakes get a reason, and nothing changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{
    Consensus, InitializeError, NodeId, Op, ProposeError, RaftTls, StartError, Transaction,
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::certificates::Authority;
use crate::harness::{Cluster, put, transaction, write};

/// The messages as another program would write them.
#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    cluster: String,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "4")]
    to: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

type Client = tonic::client::Grpc<Channel>;

async fn connect(address: std::net::SocketAddr, tls: RaftTls) -> Result<Client, Status> {
    let connector = tower::service_fn(move |_: http::Uri| {
        let mut client = (*tls.client).clone();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(tls.server_name.clone()).unwrap();
        async move {
            let stream = TcpStream::connect(address).await?;
            let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
            connector.connect(name, stream).await.map(TokioIo::new)
        }
    });
    let channel = Endpoint::from_static("http://test.invalid")
        .connect_with_connector(connector)
        .await
        .map_err(|e| Status::unavailable(e.to_string()))?;
    Ok(tonic::client::Grpc::new(channel))
}

async fn vote(client: &mut Client, header: Header) -> Result<(), Status> {
    client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/marchproxy.raft.v1.Raft/Vote");
    let request = tonic::Request::new(Request { header: Some(header) });
    let codec = ProstCodec::<Request, Request>::default();
    client.unary(request, path, codec).await.map(|_| ())
}

async fn send(address: std::net::SocketAddr, tls: RaftTls, header: Header) -> Result<(), Status> {
    vote(&mut connect(address, tls).await?, header).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_another_cluster_node_or_version_is_refused_with_a_reason() {
    let mut cluster = Cluster::formed(1).await;
    let address = cluster.addresses(1).raft;
    let good = Header { version: 1, cluster: "c0ffee".to_owned(), from: 5, to: 1 };
    let cases = [
        (Header { cluster: "bad".to_owned(), ..good.clone() }, "is of cluster bad"),
        (Header { to: 2, ..good.clone() }, "node 2 was meant, this is node 1"),
        (Header { version: 9, ..good.clone() }, "speaks version 9"),
        (Header { from: 6, ..good.clone() }, "the certificate of node 5 speaks for node 6"),
    ];
    for (header, reason) in cases {
        let tls = cluster.authority.tls(NodeId(5));
        let status = send(address, tls, header).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains(reason), "{status}");
    }
    // The same request with the right header gets past the check.
    let tls = cluster.authority.tls(NodeId(5));
    let status = send(address, tls, good.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    // A certificate of another authority does not even get a connection.
    let mut stranger = Authority::new().tls(NodeId(5));
    let status = send(address, stranger.clone(), good.clone()).await.unwrap_err();
    assert_ne!(status.code(), Code::InvalidArgument, "{status}");
    // Nor does a client without a certificate that trusts the right authority.
    let known = cluster.authority.tls(NodeId(5));
    let mut anonymous = (*known.client).clone();
    anonymous.client_auth_cert_resolver = Arc::new(NoCertificate);
    stranger.client = Arc::new(anonymous);
    stranger.server_name = known.server_name.clone();
    let status = send(address, stranger, good).await.unwrap_err();
    assert_ne!(status.code(), Code::InvalidArgument, "{status}");
    write(cluster.node(1), "objects/a", "1").await;
    cluster.stop_all().await;
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_refused_loses_its_voice_on_the_connection_that_stands() {
    let mut cluster = Cluster::formed(1).await;
    let address = cluster.addresses(1).raft;
    let header = Header { version: 1, cluster: "c0ffee".to_owned(), from: 5, to: 1 };
    let mut client = connect(address, cluster.authority.tls(NodeId(5))).await.unwrap();
    let status = vote(&mut client, header.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");

    cluster.authority.refuse(NodeId(5));
    let status = vote(&mut client, header.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("node 5 is out"), "{status}");
    // And no other one is let in.
    assert!(send(address, cluster.authority.tls(NodeId(5)), header).await.is_err());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_used_or_damaged_directory_is_refused_with_a_reason() {
    let mut cluster = Cluster::formed(1).await;
    write(cluster.node(1), "objects/a", "1").await;
    let mut beside = cluster.options(1);
    beside.raft_address.set_port(0);
    let error = Consensus::start(beside.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::Locked { .. }), "{error}");
    let taken = Consensus::start(cluster.options(1)).await.unwrap_err();
    assert!(matches!(taken, StartError::Listen { .. }), "{taken}");
    cluster.stop(1).await;

    let foreign = |change: &dyn Fn(&mut consensus::Options)| {
        let mut options = cluster.options(1);
        change(&mut options);
        options
    };
    let other_node = foreign(&|o| o.node = NodeId(2));
    let error = Consensus::start(other_node).await.unwrap_err().to_string();
    assert!(error.contains("belongs to node 1 of cluster c0ffee"), "{error}");
    let other_cluster = foreign(&|o| o.cluster = "beef".to_owned());
    let error = Consensus::start(other_cluster).await.unwrap_err().to_string();
    assert!(error.contains("this is node 1 of cluster beef"), "{error}");

    let header = cluster.dir(1).join("consensus");
    let good = std::fs::read(&header).unwrap();
    std::fs::write(&header, &good[..good.len() - 2]).unwrap();
    let error = Consensus::start(cluster.options(1)).await.unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("join anew"), "{error}");
    std::fs::remove_file(&header).unwrap();
    let error = Consensus::start(cluster.options(1)).await.unwrap_err().to_string();
    assert!(error.contains("it is missing, but wal/ or snap/ hold data"), "{error}");
    std::fs::write(&header, good).unwrap();
    cluster.start(1).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_proposed_says_why() {
    let mut cluster = Cluster::formed(1).await;
    let node = cluster.node(1).clone();
    let refused = |ops: Vec<Op>| {
        let node = node.clone();
        async move { node.propose(transaction(ops)).await.unwrap_err() }
    };
    let large = vec![0; consensus::limits::VALUE_BYTES_MAX + 1];
    let error = refused(vec![put("a", large)]).await;
    assert!(matches!(error, ProposeError::TooLarge { size: 1_048_577, .. }), "{error}");
    let megabyte = vec![0; 1024 * 1024];
    let many = (0..9).map(|n| put(n.to_string(), megabyte.clone())).collect();
    assert!(matches!(refused(many).await, ProposeError::TooLarge { .. }));
    let error = refused(vec![put("a", "1"), put("a", "2")]).await;
    assert!(error.to_string().contains("a is written twice"), "{error}");
    assert!(matches!(refused(vec![put("", "1")]).await, ProposeError::Invalid { .. }));
    assert!(matches!(refused(vec![put("a\0b", "1")]).await, ProposeError::Invalid { .. }));
    // The largest that is allowed goes through, chunked in the store.
    let seven = (0..7).map(|n| put(n.to_string(), megabyte.clone())).collect();
    node.propose(Transaction::new("a", "m", seven)).await.unwrap();

    let again = node.initialize([(NodeId(1), cluster.addresses(1))].into()).await;
    assert!(matches!(again, Err(InitializeError::AlreadyInitialized)), "{again:?}");
    let without = node.initialize(BTreeMap::new()).await;
    assert!(matches!(without, Err(InitializeError::NotAMember { node: NodeId(1) })));
    cluster.stop_all().await;
    let error = node.propose(transaction(vec![])).await.unwrap_err();
    assert!(matches!(error, ProposeError::Stopped { .. }), "{error}");
}
