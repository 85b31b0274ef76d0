//! The gRPC services: aggregated, and one for each type. Each method opens a stream or fetches.

use std::pin::Pin;

use envoy_types::pb::envoy::service::{
    cluster::v3::cluster_discovery_service_server as cds,
    discovery::v3::{self as pb, aggregated_discovery_service_server as ads},
    endpoint::v3::endpoint_discovery_service_server as eds,
    extension::v3::extension_config_discovery_service_server as ecds,
    listener::v3::listener_discovery_service_server as lds,
    route::v3::{
        route_discovery_service_server as rds, scoped_routes_discovery_service_server as srds,
    },
    secret::v3::secret_discovery_service_server as sds,
};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use super::{
    client::{Request as ClientRequest, Sent, Wire},
    connection::ConnectionInfo,
    driver::{self, Input},
    fetch::fetch,
    service::Discovery,
};
use crate::l7::ResourceType;

/// The longest request: a reconnection with the versions of 100,000 resources.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Responses between a client and its connection: one per type may be in flight.
const RESPONSES_QUEUED_MAX: usize = ResourceType::COUNT;

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type DeltaRequests = Request<Streaming<pb::DeltaDiscoveryRequest>>;
type StateRequests = Request<Streaming<pb::DiscoveryRequest>>;

/// A form of the protocol: its messages, as requests and responses of a client.
trait Form: Send + 'static {
    type Request: Send + 'static;
    type Response: Send + 'static;
    const WIRE: Wire;
    fn type_url(request: &mut Self::Request) -> &mut String;
    fn request(request: Self::Request) -> ClientRequest;
    fn response(sent: Sent) -> Option<Self::Response>;
}

struct Delta;

impl Form for Delta {
    type Request = pb::DeltaDiscoveryRequest;
    type Response = pb::DeltaDiscoveryResponse;
    const WIRE: Wire = Wire::Delta;

    fn type_url(request: &mut Self::Request) -> &mut String {
        &mut request.type_url
    }

    fn request(request: Self::Request) -> ClientRequest {
        ClientRequest::Delta(Box::new(request))
    }

    fn response(sent: Sent) -> Option<Self::Response> {
        match sent {
            Sent::Delta(response) => Some(*response),
            Sent::StateOfTheWorld(_) => None,
        }
    }
}

struct StateOfTheWorld;

impl Form for StateOfTheWorld {
    type Request = pb::DiscoveryRequest;
    type Response = pb::DiscoveryResponse;
    const WIRE: Wire = Wire::StateOfTheWorld;

    fn type_url(request: &mut Self::Request) -> &mut String {
        &mut request.type_url
    }

    fn request(request: Self::Request) -> ClientRequest {
        ClientRequest::StateOfTheWorld(Box::new(request))
    }

    fn response(sent: Sent) -> Option<Self::Response> {
        match sent {
            Sent::StateOfTheWorld(response) => Some(*response),
            Sent::Delta(_) => None,
        }
    }
}

impl Discovery {
    /// Opens a stream of `kind`, or an aggregated one.
    fn open<F: Form>(
        &self,
        kind: Option<ResourceType>,
        request: Request<Streaming<F::Request>>,
    ) -> Result<Response<Responses<F::Response>>, Status> {
        let connection = request.extensions().get::<ConnectionInfo>().copied();
        let connection =
            connection.ok_or_else(|| Status::internal("a connection without number"))?;
        let (sender, receiver) = mpsc::channel(RESPONSES_QUEUED_MAX);
        let joined = self.registry.join(connection.number, kind, F::WIRE, sender);
        let joined = joined.ok_or_else(driver::unavailable)?;
        if let Some(new) = joined.new {
            tokio::spawn(driver::drive(self.shared.clone(), self.registry.clone(), new));
        }
        let (inputs, stream) = (joined.inputs, joined.stream);
        let (failed, failure) = mpsc::channel(1);
        tokio::spawn(async move {
            if let Err(status) = forward::<F>(kind, request.into_inner(), stream, &inputs).await {
                tracing::debug!(%status, "a configuration stream ended");
                // Nobody reads it when the stream was broken.
                let _ = failed.send(status).await;
            }
            let _ = inputs.send(Input::Closed(stream)).await;
        });
        let responses = ReceiverStream::new(receiver).filter_map(async |sent| F::response(sent));
        let failures = ReceiverStream::new(failure).map(Err);
        Ok(Response::new(Box::pin(responses.map(Ok).chain(failures))))
    }

    fn fetch(
        &self,
        kind: ResourceType,
        request: &Request<pb::DiscoveryRequest>,
    ) -> Result<Response<pb::DiscoveryResponse>, Status> {
        let world = self.shared.worlds.borrow().clone();
        let world = world.ok_or_else(|| Status::unavailable("no configuration is known yet"))?;
        Ok(Response::new(fetch(&world, kind, request.get_ref())))
    }
}

/// Hands requests to the client until the stream ends, or the client does.
async fn forward<F: Form>(
    kind: Option<ResourceType>,
    mut requests: Streaming<F::Request>,
    stream: u64,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), Status> {
    loop {
        let request = tokio::select! {
            request = requests.message() => request?,
            () = inputs.closed() => return Err(driver::unavailable()),
        };
        let Some(mut request) = request else { return Ok(()) };
        let type_url = F::type_url(&mut request);
        match kind {
            Some(kind) if type_url.is_empty() => kind.type_url().clone_into(type_url),
            Some(kind) if type_url != kind.type_url() => {
                return Err(Status::invalid_argument(format!(
                    "this stream is for {}, not for {type_url}",
                    kind.type_url()
                )));
            }
            None if type_url.is_empty() => {
                return Err(Status::invalid_argument("type_url: an aggregated stream needs it"));
            }
            _ => {}
        }
        let request = Input::Requested(stream, F::request(request));
        inputs.send(request).await.map_err(|_| driver::unavailable())?;
    }
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Discovery {
    type StreamAggregatedResourcesStream = Responses<pb::DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Responses<pb::DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: StateRequests,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        self.open::<StateOfTheWorld>(None, request)
    }

    async fn delta_aggregated_resources(
        &self,
        request: DeltaRequests,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        self.open::<Delta>(None, request)
    }
}

/// Implements the service of one type: a stream in either form, and the unary one.
macro_rules! service {
    ($kind:ident, $module:ident::$service:ident,
     $stream:ident -> $Stream:ident, $delta:ident -> $Delta:ident, $fetch:ident) => {
        #[tonic::async_trait]
        impl $module::$service for Discovery {
            type $Stream = Responses<pb::DiscoveryResponse>;
            type $Delta = Responses<pb::DeltaDiscoveryResponse>;

            async fn $stream(
                &self,
                request: StateRequests,
            ) -> Result<Response<Self::$Stream>, Status> {
                self.open::<StateOfTheWorld>(Some(ResourceType::$kind), request)
            }

            async fn $delta(
                &self,
                request: DeltaRequests,
            ) -> Result<Response<Self::$Delta>, Status> {
                self.open::<Delta>(Some(ResourceType::$kind), request)
            }

            async fn $fetch(
                &self,
                request: Request<pb::DiscoveryRequest>,
            ) -> Result<Response<pb::DiscoveryResponse>, Status> {
                Discovery::fetch(self, ResourceType::$kind, &request)
            }
        }
    };
}

service!(Cluster, cds::ClusterDiscoveryService, stream_clusters -> StreamClustersStream,
    delta_clusters -> DeltaClustersStream, fetch_clusters);
service!(Endpoints, eds::EndpointDiscoveryService, stream_endpoints -> StreamEndpointsStream,
    delta_endpoints -> DeltaEndpointsStream, fetch_endpoints);
service!(Secret, sds::SecretDiscoveryService, stream_secrets -> StreamSecretsStream,
    delta_secrets -> DeltaSecretsStream, fetch_secrets);
service!(ExtensionConfig, ecds::ExtensionConfigDiscoveryService,
    stream_extension_configs -> StreamExtensionConfigsStream,
    delta_extension_configs -> DeltaExtensionConfigsStream, fetch_extension_configs);
service!(Listener, lds::ListenerDiscoveryService, stream_listeners -> StreamListenersStream,
    delta_listeners -> DeltaListenersStream, fetch_listeners);
service!(Route, rds::RouteDiscoveryService, stream_routes -> StreamRoutesStream,
    delta_routes -> DeltaRoutesStream, fetch_routes);
service!(ScopedRoute, srds::ScopedRoutesDiscoveryService,
    stream_scoped_routes -> StreamScopedRoutesStream,
    delta_scoped_routes -> DeltaScopedRoutesStream, fetch_scoped_routes);

/// Returns all services.
pub(super) fn routes(discovery: &Discovery) -> Routes {
    macro_rules! limited {
        ($server:path) => {
            <$server>::new(discovery.clone()).max_decoding_message_size(REQUEST_BYTES_MAX)
        };
    }
    Routes::new(limited!(ads::AggregatedDiscoveryServiceServer<Discovery>))
        .add_service(limited!(cds::ClusterDiscoveryServiceServer<Discovery>))
        .add_service(limited!(eds::EndpointDiscoveryServiceServer<Discovery>))
        .add_service(limited!(sds::SecretDiscoveryServiceServer<Discovery>))
        .add_service(limited!(ecds::ExtensionConfigDiscoveryServiceServer<Discovery>))
        .add_service(limited!(lds::ListenerDiscoveryServiceServer<Discovery>))
        .add_service(limited!(rds::RouteDiscoveryServiceServer<Discovery>))
        .add_service(limited!(srds::ScopedRoutesDiscoveryServiceServer<Discovery>))
}
