//! A service that is asked for consent over gRPC: by a header it consents or refuses, and says more.

use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::{
    config::core::v3::{HeaderValue, HeaderValueOption},
    service::auth::v3::{
        CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
        attribute_context::HttpRequest,
        authorization_server::{Authorization, AuthorizationServer},
        check_response::HttpResponse,
    },
    r#type::v3::HttpStatus,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, async_trait, transport::Server};

pub(crate) struct ConsentGrpc {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<HttpRequest>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ConsentGrpc {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ConsentGrpc {
    /// Starts one that refuses by 418 who does not show `x-shop: 7`.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<HttpRequest>>>::default();
        let service = AuthorizationServer::new(Judge(asked.clone()));
        let incoming = TcpListenerStream::new(listener);
        let serving = Server::builder().add_service(service).serve_with_incoming(incoming);
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { port, asked, task }
    }

    pub(crate) fn asked(&self) -> Vec<HttpRequest> {
        self.asked.lock().unwrap().clone()
    }
}

struct Judge(Arc<Mutex<Vec<HttpRequest>>>);

#[async_trait]
impl Authorization for Judge {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let http = request.into_inner().attributes.unwrap().request.unwrap().http.unwrap();
        let consents = http.headers.get("x-shop").is_some_and(|shop| shop == "7");
        self.0.lock().unwrap().push(http);
        let (code, answer) = if consents {
            let header = HeaderValue {
                key: "x-consent".into(),
                value: "given".into(),
                ..Default::default()
            };
            let header = HeaderValueOption { header: Some(header), ..Default::default() };
            let ok = OkHttpResponse { headers: vec![header], ..Default::default() };
            (Code::Ok, HttpResponse::OkResponse(ok))
        } else {
            let denied = DeniedHttpResponse {
                status: Some(HttpStatus { code: 418 }),
                body: "no".into(),
                ..Default::default()
            };
            (Code::PermissionDenied, HttpResponse::DeniedResponse(denied))
        };
        let status =
            envoy_types::pb::google::rpc::Status { code: code as i32, ..Default::default() };
        Ok(Response::new(CheckResponse {
            status: Some(status),
            http_response: Some(answer),
            ..Default::default()
        }))
    }
}
