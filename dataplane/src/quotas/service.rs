//! The rate-limit service that Envoy asks, on its configuration server's socket.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::HeaderValue,
        service::ratelimit::v3::{
            RateLimitResponse,
            rate_limit_response::{Code, DescriptorStatus, RateLimit},
            rate_limit_service_server::SERVICE_NAME,
        },
    },
    google::protobuf::Duration as PbDuration,
};
use futures::{FutureExt, future::BoxFuture};
use model::quotas::{QuotaKey, QuotaLimit};
use sha2::{Digest, Sha256};
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{
    Counted, Decision, Quotas, Told,
    wire::{Descriptor, Question},
};

/// The parts of a descriptor that the configuration puts there, in their order; a value may follow.
pub(crate) const POLICY: &str = "policy";
pub(crate) const LIMIT: &str = "limit";
pub(crate) const TARGET: &str = "target";

/// Writes a limit as a part of a descriptor.
pub(crate) fn limit_text(limit: QuotaLimit) -> String {
    format!("{}/{}/{}", limit.requests, limit.interval_ms, limit.burst)
}

fn limit_of(text: &str) -> Option<QuotaLimit> {
    let mut parts = text.split('/');
    let mut next = || parts.next()?.parse::<u64>().ok();
    let (requests, interval_ms, burst) = (next()?, next()?, next()?);
    let limit = QuotaLimit {
        requests: requests.try_into().ok()?,
        interval_ms,
        burst: burst.try_into().ok()?,
    };
    limit.is_valid().then_some(limit)
}

/// Answers Envoy.
#[derive(Clone, Debug)]
pub(crate) struct Service(Quotas);

impl Service {
    /// Makes the service of what this node may let through.
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self(quotas)
    }

    async fn answer(self, question: Question) -> Result<Response<RateLimitResponse>, Status> {
        let limits: Option<Vec<_>> = question.descriptors.iter().map(counted).collect();
        let Some(limits) = limits.filter(|limits| !limits.is_empty()) else {
            return Err(Status::invalid_argument("a descriptor that no limit has"));
        };
        let (policies, limits): (Vec<&str>, Vec<Counted>) = limits.into_iter().unzip();
        let decision = self.0.decide(&limits).await;
        count(&policies, &decision);
        Ok(Response::new(answer(&limits, &decision)))
    }
}

impl NamedService for Service {
    const NAME: &'static str = SERVICE_NAME;
}

/// Makes of the service what the generated code would make of it, for [`Question`].
impl tonic::codegen::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = Method(self.clone());
        async move {
            if request.uri().path().rsplit('/').next() != Some("ShouldRateLimit") {
                return Ok(Status::unimplemented("there is ShouldRateLimit alone").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).unary(method, request).await)
        }
        .boxed()
    }
}

struct Method(Service);

impl UnaryService<Question> for Method {
    type Response = RateLimitResponse;
    type Future = BoxFuture<'static, Result<Response<RateLimitResponse>, Status>>;

    fn call(&mut self, request: Request<Question>) -> Self::Future {
        self.0.clone().answer(request.into_inner()).boxed()
    }
}

/// Reads what a request has to pass, and the name of its policy.
fn counted(descriptor: &Descriptor) -> Option<(&str, Counted)> {
    let [policy, limit, target, ..] = descriptor.entries.as_slice() else { return None };
    let names = [POLICY, LIMIT, TARGET].map(str::as_bytes);
    if [policy, limit, target].map(|entry| entry.key.as_slice()) != names {
        return None;
    }
    let mut digest = Sha256::new();
    for part in descriptor.entries.iter().flat_map(|entry| [&entry.key, &entry.value]) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let key = QuotaKey(*digest.finalize().first_chunk().expect("a SHA-256 has 32 bytes"));
    let limit = limit_of(std::str::from_utf8(&limit.value).ok()?)?;
    Some((std::str::from_utf8(&policy.value).ok()?, Counted { key, limit }))
}

fn count(policies: &[&str], decision: &Decision) {
    let passes = decision.passes();
    for (policy, told) in policies.iter().zip(&decision.limits) {
        // What one limit refuses has not counted for the others.
        let outcome = match (told.refused, passes) {
            (Some(_), _) => "limited",
            (None, true) => "passed",
            (None, false) => continue,
        };
        let count = if told.alone { "alone" } else { "cluster" };
        let labels = [
            ("policy", (*policy).to_owned()),
            ("outcome", outcome.into()),
            ("count", count.into()),
        ];
        metrics::counter!("marchproxy_quota_requests_total", &labels).increment(1);
    }
}

fn answer(limits: &[Counted], decision: &Decision) -> RateLimitResponse {
    let code = |passes| if passes { Code::Ok } else { Code::OverLimit } as i32;
    let statuses = limits.iter().zip(&decision.limits).map(|(counted, told)| {
        let Told { left, refused, .. } = *told;
        // In the same terms as Envoy's own limits: how many may come at once.
        let limit = RateLimit { requests_per_unit: counted.limit.burst, ..Default::default() };
        DescriptorStatus {
            code: code(refused.is_none()),
            current_limit: Some(limit),
            limit_remaining: left,
            duration_until_reset: Some(whole_seconds(refused.unwrap_or(counted.limit.pause()))),
            ..Default::default()
        }
    });
    let longest = decision.limits.iter().filter_map(|told| told.refused).max();
    let retry_after = longest.map(|wait| HeaderValue {
        key: "retry-after".to_owned(),
        value: seconds(wait).to_string(),
        ..Default::default()
    });
    RateLimitResponse {
        overall_code: code(decision.passes()),
        statuses: statuses.collect(),
        response_headers_to_add: retry_after.into_iter().collect(),
        ..Default::default()
    }
}

/// Rounds up; at least one.
fn seconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

fn whole_seconds(time: Duration) -> PbDuration {
    PbDuration { seconds: i64::try_from(seconds(time)).unwrap_or(i64::MAX), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use super::{super::wire::Entry, *};

    fn descriptor(parts: &[(&str, &str)]) -> Descriptor {
        let entry = |(key, value): &(&str, &str)| Entry {
            key: key.as_bytes().to_owned(),
            value: value.as_bytes().to_owned(),
        };
        Descriptor { entries: parts.iter().map(entry).collect() }
    }

    fn parts<'a>(limit: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut parts = vec![(POLICY, "shop/api"), (LIMIT, limit), (TARGET, "HTTPRoute/shop/a")];
        parts.extend(more);
        parts
    }

    #[test]
    fn each_value_is_counted_by_itself() {
        let key = |more: &[_]| counted(&descriptor(&parts("10/1000/20", more))).unwrap().1.key;
        let keys = [
            key(&[]),
            key(&[("header", "")]),
            key(&[("header", "a")]),
            key(&[("header", "b")]),
            key(&[("header", "a"), ("header", "")]),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(one), "{index}");
        }
        assert_eq!(key(&[("header", "a")]), keys[2]);
    }

    #[test]
    fn a_limit_is_read_as_it_was_written_or_not_at_all() {
        let limit = QuotaLimit { requests: 10, interval_ms: 60_000, burst: 20 };
        let text = limit_text(limit);
        let told = descriptor(&parts(&text, &[]));
        let (policy, found) = counted(&told).unwrap();
        assert_eq!((policy, found.limit), ("shop/api", limit));
        for other in
            ["", "10/60000", "0/1000/1", "1/0/1", "1/1000/0", "a/1000/1", "99999999999/1/1"]
        {
            assert!(counted(&descriptor(&parts(other, &[]))).is_none(), "{other}");
        }
        assert!(counted(&descriptor(&parts(&text, &[])[1..])).is_none());
        assert!(counted(&descriptor(&[])).is_none());
    }

    #[test]
    fn a_refusal_says_when_to_come_again() {
        let limit = QuotaLimit { requests: 10, interval_ms: 60_000, burst: 20 };
        let limits = [Counted { key: QuotaKey([0; 16]), limit }; 2];
        let wait = Some(Duration::from_millis(1_001));
        let told = |left, refused| Told { left, refused, alone: false };
        let of = |limits| Decision { limits };
        let refusal = answer(&limits, &of(vec![told(3, None), told(0, wait)]));
        assert_eq!(refusal.overall_code, Code::OverLimit as i32);
        assert_eq!(refusal.response_headers_to_add[0].value, "2");
        let codes: Vec<_> =
            refusal.statuses.iter().map(|it| (it.code, it.limit_remaining)).collect();
        assert_eq!(codes, [(Code::Ok as i32, 3), (Code::OverLimit as i32, 0)]);
        let passes = answer(&limits, &of(vec![told(3, None), told(1, None)]));
        assert_eq!(passes.overall_code, Code::Ok as i32);
        assert!(passes.response_headers_to_add.is_empty());
    }
}
