//! Every operation of the API: where, who may, what goes in and what comes out.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{MethodRouter, delete, get, post, put},
};
use http::Method;

use super::{
    Shared,
    access::{self, Access, Guard},
    acks, certificates, cluster, dataplane, endpoints, events, explain, flows, health, history,
    joining, metrics, modules, objects, openapi, qos,
    reply::ApiError,
    rollout, tokens, writes,
};

/// A parameter in the query or the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// A name in the schemas' `parameters` part of the document.
    pub(super) schema: &'static str,
    pub(super) text: &'static str,
}

/// What goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    /// YAML or JSON documents.
    Documents,
    /// JSON of this schema.
    Json(&'static str),
    /// Bytes of this media type.
    Bytes(&'static str),
}

/// What comes out when all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// JSON of this schema.
    Json(u16, &'static str),
    /// Nothing: 204.
    Nothing,
    /// Text of this media type.
    Text(&'static str),
}

/// One operation.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) text: &'static str,
    pub(super) access: Access,
    pub(super) query: &'static [Parameter],
    pub(super) input: Input,
    pub(super) output: Output,
    /// Statuses of errors beside 400, 401, 403 and 503.
    pub(super) errors: &'static [u16],
    handler: MethodRouter<Shared>,
}

const fn query(name: &'static str, schema: &'static str, text: &'static str) -> Parameter {
    Parameter { name, schema, text }
}

const CONSISTENCY: Parameter = query(
    "consistency",
    "Consistency",
    "`linearizable` (default) sees every acknowledged write; `stale` answers from this node at once",
);
const WRITE: &[Parameter] = &[
    query("dryRun", "Flag", "Check everything and write nothing"),
    query(
        "wait",
        "Flag",
        "Answer when every engine of every node has answered, or after `timeout`",
    ),
    query(
        "force",
        "Flag",
        "Write also a packet filter that would cut off the cluster's own ports or the caller",
    ),
    query("timeout", "Time", "How long to wait; 30s by default, at most 55s"),
    query(
        "expectRevision",
        "Revision",
        "Write only if the configuration is still at this revision",
    ),
    query("allAtOnce", "Flag", "Write to all nodes at once, whatever the rollout policy says"),
    query("message", "Message", "Why, for the history"),
];

const LIST: &[Parameter] =
    &[CONSISTENCY, query("namespace", "Namespace", "Only those of this namespace")];
const HISTORY: &[Parameter] = &[query("limit", "Limit", "How many; 50 by default, at most 1000")];
const ACKS: &[Parameter] = &[
    query("revision", "Revision", "Which one; the present one by default"),
    query("wait", "Time", "Answer when all have answered, or after this time, at most 55s"),
];

const ABORT: &[Parameter] = &[query("message", "Message", "Why, for the history")];

const RESTART: &[Parameter] = &[query(
    "drain",
    "Flag",
    "End the one that runs before the other starts: connections are refused meanwhile",
)];

const FLOWS: &[Parameter] = &[
    query("follow", "Flag", "Go on with those that come"),
    query("service", "FlowName", "Only those of this service"),
    query("listener", "FlowName", "Only those of this listener"),
    query("verdict", "Verdict", "Only those with this verdict"),
    query("address", "IpAddress", "Only those from or to this address"),
];

const ENDPOINTS: &[Parameter] = &[
    query("service", "FlowName", "Only those of this service"),
    query("listener", "FlowName", "Only those of this listener"),
];

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    use Access::{Admin, Anonymous, JoinSecret, Read};
    use Input::{Documents, Nothing};

    let operation = |method: Method, path, id, access, handler| Operation {
        method,
        path,
        id,
        text: "",
        access,
        query: &[],
        input: Nothing,
        output: Output::Nothing,
        errors: &[],
        handler,
    };
    vec![
        Operation {
            text: "Tells that the process answers, and whether it can serve writes.",
            output: Output::Json(200, "Health"),
            ..operation(Method::GET, "/healthz", "getHealth", Anonymous, get(health::healthz))
        },
        Operation {
            text: "Metrics of the control process, in Prometheus' text format.",
            output: Output::Text(metrics::MEDIA_TYPE),
            ..operation(Method::GET, "/metrics", "getMetrics", Read, get(metrics::control))
        },
        Operation {
            text: "Metrics of this node's data plane, in Prometheus' text format.",
            output: Output::Text(metrics::MEDIA_TYPE),
            errors: &[502],
            ..operation(
                Method::GET,
                "/metrics/dataplane",
                "getDataplaneMetrics",
                Read,
                get(metrics::dataplane),
            )
        },
        Operation {
            text: "This document.",
            output: Output::Json(200, "Document"),
            ..operation(Method::GET, "/v1/openapi.json", "getOpenapi", Read, get(openapi::serve))
        },
        Operation {
            text: "Creates and replaces objects, all or none, as one revision.",
            query: WRITE,
            input: Documents,
            output: Output::Json(200, "WriteResponse"),
            errors: &[408, 409, 413, 422, 504],
            ..operation(Method::POST, "/v1/apply", "apply", Admin, post(writes::apply))
        },
        Operation {
            text: "Shows, field by field, what an apply of the same documents would change.",
            input: Documents,
            output: Output::Json(200, "DiffResponse"),
            errors: &[408, 413, 422],
            ..operation(Method::POST, "/v1/diff", "diff", Read, post(writes::diff))
        },
        Operation {
            text: "Makes the configuration of a kept revision the present one, as a new revision.",
            query: WRITE,
            input: Input::Json("RollbackRequest"),
            output: Output::Json(200, "WriteResponse"),
            errors: &[404, 408, 409, 413, 422, 504],
            ..operation(Method::POST, "/v1/rollback", "rollback", Admin, post(writes::rollback))
        },
        Operation {
            text: "Lists the objects of a kind.",
            query: LIST,
            output: Output::Json(200, "ObjectList"),
            ..operation(Method::GET, "/v1/objects/{kind}", "listObjects", Read, get(objects::list))
        },
        Operation {
            text: "Shows an object with its status.",
            query: &[CONSISTENCY],
            output: Output::Json(200, "StoredObject"),
            errors: &[404],
            ..operation(
                Method::GET,
                "/v1/objects/{kind}/{namespace}/{name}",
                "getObject",
                Read,
                get(objects::one),
            )
        },
        Operation {
            text: "Removes an object that nothing refers to.",
            query: WRITE,
            output: Output::Json(200, "WriteResponse"),
            errors: &[404, 409, 422, 504],
            ..operation(
                Method::DELETE,
                "/v1/objects/{kind}/{namespace}/{name}",
                "deleteObject",
                Admin,
                delete(writes::remove),
            )
        },
        Operation {
            text: "Lists the newest revisions, newest first.",
            query: HISTORY,
            output: Output::Json(200, "HistoryResponse"),
            ..operation(Method::GET, "/v1/history", "listHistory", Read, get(history::list))
        },
        Operation {
            text: "Shows what a kept revision changed, field by field.",
            output: Output::Json(200, "RevisionDetail"),
            errors: &[404],
            ..operation(
                Method::GET,
                "/v1/history/{revision}",
                "getRevision",
                Read,
                get(history::one),
            )
        },
        Operation {
            text: "Lists all certificates: who issued them, for which hosts, until when. Never a key.",
            output: Output::Json(200, "CertificatesResponse"),
            ..operation(
                Method::GET,
                "/v1/certificates",
                "listCertificates",
                Read,
                get(certificates::list),
            )
        },
        Operation {
            text: "Shows the authority of an internal issuer, which clients are to trust; it is made with \
                   the issuer's first certificate.",
            output: Output::Json(200, "IssuerAuthority"),
            errors: &[404],
            ..operation(
                Method::GET,
                "/v1/issuers/{namespace}/{name}/authority",
                "getIssuerAuthority",
                Read,
                get(certificates::authority),
            )
        },
        Operation {
            text: "Lists the modules that filters are made of, and the objects that run each.",
            output: Output::Json(200, "ModuleList"),
            ..operation(Method::GET, "/v1/modules", "listModules", Read, get(modules::list))
        },
        Operation {
            text: "Shows a module.",
            output: Output::Json(200, "ModuleInfo"),
            errors: &[404],
            ..operation(Method::GET, "/v1/modules/{sha256}", "getModule", Read, get(modules::one))
        },
        Operation {
            text: "Keeps a module, a WebAssembly filter for proxy-wasm, under its SHA-256. What is there \
                   already stays as it is; an upload that broke off is taken up again.",
            input: Input::Bytes("application/wasm"),
            output: Output::Json(200, "ModuleInfo"),
            errors: &[408, 409, 413, 422],
            ..operation(Method::PUT, "/v1/modules/{sha256}", "putModule", Admin, put(modules::push))
        },
        Operation {
            text: "Removes a module that no object runs.",
            errors: &[404, 409],
            ..operation(
                Method::DELETE,
                "/v1/modules/{sha256}",
                "deleteModule",
                Admin,
                delete(modules::remove),
            )
        },
        Operation {
            text: "Shows the newest rollout.",
            output: Output::Json(200, "RolloutResponse"),
            ..operation(Method::GET, "/v1/rollout", "getRollout", Read, get(rollout::show))
        },
        Operation {
            text: "Stops the rollout under way at its step; its gates still count.",
            output: Output::Json(200, "RolloutResponse"),
            errors: &[409, 504],
            ..operation(
                Method::POST,
                "/v1/rollout/pause",
                "pauseRollout",
                Admin,
                post(rollout::pause),
            )
        },
        Operation {
            text: "Lets a stopped rollout go on; the time of its step begins anew.",
            output: Output::Json(200, "RolloutResponse"),
            errors: &[409, 504],
            ..operation(
                Method::POST,
                "/v1/rollout/resume",
                "resumeRollout",
                Admin,
                post(rollout::resume),
            )
        },
        Operation {
            text: "Takes the rollout under way back: what was before it is the configuration of all \
                   nodes again, as a new revision.",
            query: ABORT,
            output: Output::Json(200, "WriteResponse"),
            errors: &[404, 409, 504],
            ..operation(
                Method::POST,
                "/v1/rollout/abort",
                "abortRollout",
                Admin,
                post(rollout::abort),
            )
        },
        Operation {
            text: "Shows what the engines of all nodes answered to a revision.",
            query: ACKS,
            output: Output::Json(200, "AcksResponse"),
            ..operation(Method::GET, "/v1/acks", "getAcks", Read, get(acks::acks))
        },
        Operation {
            text: "Follows revisions, acknowledgements, health, membership and rollouts as server-sent \
                   events. With `Last-Event-ID: REVISION` it begins with the revisions after that.",
            output: Output::Text("text/event-stream"),
            ..operation(Method::GET, "/v1/events", "followEvents", Read, get(events::follow))
        },
        Operation {
            text: "What this node's data plane tells of single packets, as server-sent events: those \
                   that are kept and, with `follow`, those that come.",
            query: FLOWS,
            output: Output::Text("text/event-stream"),
            errors: &[502],
            ..operation(Method::GET, "/v1/flows", "listFlows", Read, get(flows::flows))
        },
        Operation {
            text: "Lists the endpoints to which this node's XDP program forwards, with the packets, bytes \
                   and connections of each.",
            query: ENDPOINTS,
            output: Output::Json(200, "EndpointList"),
            errors: &[502],
            ..operation(
                Method::GET,
                "/v1/endpoints",
                "listEndpoints",
                Read,
                get(endpoints::endpoints),
            )
        },
        Operation {
            text: "Tells of the listeners under a QoS policy that this node's XDP program carries: rates \
                   allowed and measured, what waits and how long, what was dropped and why.",
            output: Output::Json(200, "QosReport"),
            errors: &[502],
            ..operation(Method::GET, "/v1/qos", "getQos", Read, get(qos::qos))
        },
        Operation {
            text: "Tells what would become of a packet on this node, now or with a kept revision, and \
                   which objects decide it. It changes nothing.",
            input: Input::Json("ExplainRequest"),
            output: Output::Json(200, "Explanation"),
            errors: &[404, 408, 413, 422, 502],
            ..operation(Method::POST, "/v1/explain", "explain", Read, post(explain::explain))
        },
        Operation {
            text: "Tells what would become of an HTTP request on this node, now or with a kept revision, \
                   and which objects and fields decide it. It sends nothing.",
            input: Input::Json("RequestQuestion"),
            output: Output::Json(200, "RequestExplanation"),
            errors: &[404, 408, 413, 422],
            ..operation(
                Method::POST,
                "/v1/explain/request",
                "explainRequest",
                Read,
                post(explain::request::explain),
            )
        },
        Operation {
            text: "Shows the cluster as this node sees it.",
            output: Output::Json(200, "StatusResponse"),
            ..operation(Method::GET, "/v1/status", "getStatus", Read, get(cluster::status))
        },
        Operation {
            text: "Replaces this node's Envoy by another one that takes over; no request fails. Answers \
                   when that takes traffic.",
            query: RESTART,
            errors: &[409, 502],
            ..operation(
                Method::POST,
                "/v1/dataplane/envoy/restart",
                "restartEnvoy",
                Admin,
                post(dataplane::restart_envoy),
            )
        },
        Operation {
            text: "Replaces the process of this node's data plane by the program that is on disk; Envoy \
                   and XDP go on. Answers when it has begun.",
            errors: &[502],
            ..operation(
                Method::POST,
                "/v1/dataplane/restart",
                "restartDataplane",
                Admin,
                post(dataplane::restart),
            )
        },
        Operation {
            text: "Lists the nodes.",
            output: Output::Json(200, "NodeList"),
            ..operation(Method::GET, "/v1/nodes", "listNodes", Read, get(cluster::nodes))
        },
        Operation {
            text: "Takes a node out for good.",
            errors: &[404, 409],
            ..operation(
                Method::DELETE,
                "/v1/nodes/{id}",
                "removeNode",
                Admin,
                delete(cluster::remove),
            )
        },
        Operation {
            text: "Lists the tokens, without their secrets.",
            output: Output::Json(200, "TokenList"),
            ..operation(Method::GET, "/v1/tokens", "listTokens", Admin, get(tokens::list))
        },
        Operation {
            text: "Makes a token. Its secret is in this answer and nowhere else.",
            input: Input::Json("TokenRequest"),
            output: Output::Json(201, "TokenCreated"),
            errors: &[422],
            ..operation(Method::POST, "/v1/tokens", "createToken", Admin, post(tokens::create))
        },
        Operation {
            text: "Makes a token useless; not the last of the role admin.",
            errors: &[404, 409],
            ..operation(
                Method::DELETE,
                "/v1/tokens/{name}",
                "deleteToken",
                Admin,
                delete(tokens::remove),
            )
        },
        Operation {
            text: "Makes a join line for one more node. Its secret is in this answer and nowhere else.",
            input: Input::Json("JoinLineRequest"),
            output: Output::Json(201, "JoinLineResponse"),
            errors: &[422],
            ..operation(
                Method::POST,
                "/v1/join-lines",
                "createJoinLine",
                Admin,
                post(tokens::join_line),
            )
        },
        Operation {
            text: "Lets a node in. The bearer token is the join line's secret.",
            input: Input::Json("JoinRequest"),
            output: Output::Json(200, "JoinGrant"),
            errors: &[408, 409, 410, 413, 422],
            ..operation(Method::POST, "/v1/join", "join", JoinSecret, post(joining::join))
        },
    ]
}

/// The router of all operations, with the access check before and the metrics around them.
pub(super) fn router(shared: Shared) -> Router {
    let operations = operations();
    let table = operations
        .iter()
        .map(|operation| (operation.method.clone(), operation.path, operation.access));
    let guard = Arc::new(Guard::new(shared.clone(), table));
    let mut router = Router::new();
    for operation in operations {
        router = router.route(operation.path, operation.handler);
    }
    router
        .fallback(|| async {
            ApiError::not_found("there is no such path; see GET /v1/openapi.json")
        })
        .method_not_allowed_fallback(|| async { ApiError::method_not_allowed() })
        .layer(middleware::from_fn(move |request, next| {
            access::check(Arc::clone(&guard), request, next)
        }))
        .layer(middleware::from_fn(metrics::measure))
        .with_state(shared)
}
