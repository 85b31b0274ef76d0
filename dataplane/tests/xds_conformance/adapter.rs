//! The adapter of the public harness (`examples/xds_adapter`): what is set there is what clients hear.

#[path = "../../examples/xds_adapter/messages.rs"]
mod messages;
#[path = "../../examples/xds_adapter/service.rs"]
mod service;
#[path = "../../examples/xds_adapter/state.rs"]
mod state;

use std::{collections::BTreeSet, net::Ipv4Addr};

use dataplane::{
    l7::ResourceType::{self, Cluster},
    xds::Server,
};
use envoy_types::pb::{envoy::config::cluster::v3 as pb, google::protobuf::Any};
use prost::{Message, Name};
use tokio::{net::TcpListener, sync::watch};
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use self::messages::{
    ClearStateRequest, ClearStateResponse, Done, ResourceRequest, SetStateRequest,
};
use crate::stream::{Stream, Variant};

async fn call<Q, A>(channel: &Channel, method: &str, request: Q) -> Result<A, tonic::Status>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let path: PathAndQuery = format!("/adapter.Adapter/{method}").parse().unwrap();
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<Q, A>::default();
    Ok(client.unary(Request::new(request), path, codec).await?.into_inner())
}

fn request(kind: ResourceType, name: &str, version: &str) -> ResourceRequest {
    ResourceRequest {
        node: "test".into(),
        type_url: kind.type_url().into(),
        resource_name: name.into(),
        version: version.into(),
    }
}

async fn start() -> (Channel, Channel) {
    let (worlds, receiver) = watch::channel(None);
    let mut channels = Vec::new();
    let (xds, adapter) = (
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
    );
    let addresses = [xds.local_addr().unwrap(), adapter.local_addr().unwrap()];
    tokio::spawn(Server::new(receiver).without_linger().serve(xds));
    tokio::spawn(service::serve(adapter, state::State::new(worlds)));
    for address in addresses {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        channels.push(endpoint.connect().await.unwrap());
    }
    let adapter = channels.pop().unwrap();
    (channels.pop().unwrap(), adapter)
}

#[tokio::test]
async fn what_the_harness_sets_through_the_adapter_is_what_its_clients_hear() {
    let (xds, adapter) = start().await;
    let mut stream = Stream::open(&xds, Variant::DeltaAggregated, Cluster).await;
    let body = |name: &str| Any {
        type_url: pb::Cluster::type_url(),
        value: pb::Cluster { name: name.into(), ..Default::default() }.encode_to_vec(),
    };
    let resources = ["A", "B"].map(body).to_vec();
    let set = SetStateRequest { node: "test".into(), version: "1".into(), resources };
    assert!(call::<_, Done>(&adapter, "SetState", set).await.unwrap().success);
    stream.wildcard(Cluster).await;
    let steps = [
        (None, "1", &["A", "B"][..], &[][..]),
        (Some(("UpdateResource", "A")), "2", &["A"], &[]),
        (Some(("AddResource", "C")), "2", &["C"], &[]),
        (Some(("RemoveResource", "B")), "2", &[], &["B"]),
    ];
    for (step, version, resources, removed) in steps {
        if let Some((method, name)) = step {
            let done: Done = call(&adapter, method, request(Cluster, name, version)).await.unwrap();
            assert!(done.success);
        }
        let heard = stream.hear().await;
        stream.acknowledge(&heard).await;
        let set = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<BTreeSet<_>>();
        assert_eq!(heard.version, version);
        assert_eq!((heard.resources, heard.removed), (set(resources), set(removed)));
    }
    let clear = ClearStateRequest { node: "test".into() };
    call::<_, ClearStateResponse>(&adapter, "ClearState", clear).await.unwrap();
    assert_eq!(stream.hear().await.removed.len(), 2);
    // What it cannot do it says.
    let refused = call::<_, Done>(&adapter, "AddResource", request(Cluster, "A", "v1")).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
    let missing = call::<_, Done>(&adapter, "RemoveResource", request(Cluster, "Z", "1")).await;
    assert_eq!(missing.unwrap_err().code(), tonic::Code::NotFound);
}
