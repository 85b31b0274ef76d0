//! Answers the challenges of authorities that are asked by ACME (RFC 8555, section 8.3): whoever asks any
//! node for the path of a challenge is told what proves the cluster's account.
//!
//! Envoy asks here, on its configuration server's socket, for every request to such a path, by the protocol
//! of external processing: an immediate response is the answer, all else goes its way, to a service that
//! has challenges of its own. So nothing of Envoy's configuration changes with a challenge. (The protocol of
//! external authorization would do as well, but Envoy does not use it where no route was found.)

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use envoy_types::pb::envoy::{
    service::ext_proc::v3::{
        HeadersResponse, HttpHeaders, ImmediateResponse, ProcessingRequest, ProcessingResponse,
        external_processor_server::{ExternalProcessor, ExternalProcessorServer},
        processing_request, processing_response,
    },
    r#type::v3::{HttpStatus, StatusCode},
};
use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// The start of the paths of challenges.
pub(crate) const PATH: &str = "/.well-known/acme-challenge/";

/// What is to be answered, by token.
pub type Challenges = BTreeMap<String, String>;

/// Answers Envoy.
#[derive(Clone, Debug)]
pub(crate) struct Answers(watch::Receiver<Arc<Challenges>>);

impl Answers {
    /// Makes the service of the challenges that there are.
    pub(crate) fn service(
        challenges: watch::Receiver<Arc<Challenges>>,
    ) -> ExternalProcessorServer<Self> {
        ExternalProcessorServer::new(Self(challenges))
    }

    fn answer(&self, path: &str) -> Option<String> {
        let path = path.split('?').next()?;
        self.0.borrow().get(path.strip_prefix(PATH)?).cloned()
    }
}

/// Returns the value of a header.
fn header<'a>(headers: &'a HttpHeaders, name: &str) -> Option<&'a str> {
    let header = headers.headers.as_ref()?.headers.iter().find(|it| it.key == name)?;
    if header.raw_value.is_empty() {
        return Some(&header.value);
    }
    std::str::from_utf8(&header.raw_value).ok()
}

#[async_trait]
impl ExternalProcessor for Answers {
    type ProcessStream = Pin<Box<dyn Stream<Item = Result<ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        use processing_response::Response as Step;
        let answers = self.clone();
        let steps = request.into_inner().map(move |message| {
            let Some(processing_request::Request::RequestHeaders(headers)) = message?.request
            else {
                return Err(Status::invalid_argument("headers of requests are wanted alone"));
            };
            let answer = header(&headers, ":path").and_then(|path| answers.answer(path));
            let step = match answer {
                Some(answer) => Step::ImmediateResponse(ImmediateResponse {
                    status: Some(HttpStatus { code: StatusCode::Ok as i32 }),
                    body: answer.into_bytes(),
                    details: "acme_challenge".to_owned(),
                    ..Default::default()
                }),
                None => Step::RequestHeaders(HeadersResponse::default()),
            };
            Ok(ProcessingResponse { response: Some(step), ..Default::default() })
        });
        // Over with its answer, however long the client takes for its body: streams are few.
        Ok(Response::new(Box::pin(steps.take(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_a_challenge_has_an_answer() {
        let challenges = Challenges::from([("token".to_owned(), "token.thumb".to_owned())]);
        let answers = Answers(watch::channel(Arc::new(challenges)).1);
        let path = |rest: &str| format!("{PATH}{rest}");
        assert_eq!(answers.answer(&path("token")).as_deref(), Some("token.thumb"));
        assert_eq!(answers.answer(&path("token?x=1")).as_deref(), Some("token.thumb"));
        for other in [path(""), path("other"), path("token/"), "/token".to_owned(), String::new()] {
            assert_eq!(answers.answer(&other), None, "{other}");
        }
    }
}
