//! The OpenAPI 3.1 document: the operations of [`routes`] with the schemas of `schemas.yaml`.
//!
//! A test reads real answers against the schemas, which allow no field that they do not name.

use std::sync::LazyLock;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use super::{
    access::Access,
    routes::{self, Input, Operation, Output, Parameter},
};

const SCHEMAS: &str = include_str!("openapi/schemas.yaml");

static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| serde_json::to_vec(&document()).expect("it has string keys").into());

pub(super) async fn serve() -> Response {
    let mut response = Response::new(DOCUMENT.clone().into());
    *response.status_mut() = StatusCode::OK;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The whole document.
pub(super) fn document() -> Value {
    let schemas: Value =
        serde_saphyr::from_str(SCHEMAS).expect("a test reads the schemas of this build");
    let mut paths = Map::new();
    for operation in routes::operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = describe(&operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "MarchProxy",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "The API of a MarchProxy node. Any node answers; writes are forwarded \
                            to the leader. HTTPS only: the server's certificate is issued by the \
                            cluster's CA and names the node, not its address.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `marchproxy token create`, of the role read or admin.",
                },
                "joinSecret": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The secret of a join line.",
                },
            },
            "responses": {
                "Error": {
                    "description": "What went wrong.",
                    "content": {"application/json": {"schema": reference("ErrorResponse")}},
                },
            },
        },
    })
}

fn describe(operation: &Operation) -> Value {
    let mut out = json!({
        "operationId": operation.id,
        "summary": operation.text,
        "responses": responses(operation),
    });
    let parameters = parameters(operation);
    if !parameters.is_empty() {
        out["parameters"] = Value::Array(parameters);
    }
    match operation.access {
        Access::Anonymous => out["security"] = json!([]),
        Access::JoinSecret => out["security"] = json!([{"joinSecret": []}]),
        Access::Admin => out["description"] = json!("Needs the role admin."),
        Access::Read => {}
    }
    let body = |content: Value| json!({"required": true, "content": content});
    match operation.input {
        Input::Nothing => {}
        Input::Json(schema) => {
            out["requestBody"] = body(json!({"application/json": {"schema": reference(schema)}}));
        }
        Input::Bytes(media_type) => {
            out["requestBody"] = body(json!({media_type: {}}));
        }
        Input::Documents => {
            let documents = json!({"schema": reference("Documents")});
            out["requestBody"] =
                body(json!({"application/yaml": documents, "application/json": documents}));
        }
    }
    out
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let mut out = Vec::new();
    for name in path_parameters(operation.path) {
        let schema = match name {
            "kind" => "KindName",
            "namespace" => "Namespace",
            "revision" => "Revision",
            "id" => "NodeId",
            "sha256" => "Sha256",
            _ => "Name",
        };
        out.push(json!({
            "name": name, "in": "path", "required": true, "schema": reference(schema),
        }));
    }
    for Parameter { name, schema, text } in operation.query {
        out.push(json!({
            "name": name, "in": "query", "description": text, "schema": reference(schema),
        }));
    }
    if operation.query.iter().any(|parameter| parameter.name == "dryRun") {
        out.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128},
            "description": "The same key again, by the same caller, applies the write once.",
        }));
    }
    if operation.id == "followEvents" {
        out.push(json!({
            "name": "Last-Event-ID", "in": "header", "schema": reference("Revision"),
            "description": "Begin with the revisions after this one.",
        }));
    }
    out
}

/// The names between braces.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn responses(operation: &Operation) -> Value {
    let mut out = Map::new();
    match operation.output {
        Output::Json(status, schema) => {
            let content = json!({"application/json": {"schema": reference(schema)}});
            let answer = json!({"description": "Done.", "content": content});
            out.insert(status.to_string(), answer);
        }
        Output::Text(media_type) => {
            let content = json!({media_type: {"schema": {"type": "string"}}});
            out.insert("200".to_owned(), json!({"description": "Done.", "content": content}));
        }
        Output::Nothing => {
            out.insert("204".to_owned(), json!({"description": "Done."}));
        }
    }
    let usual: &[u16] = match operation.access {
        Access::Anonymous => &[],
        Access::Read | Access::JoinSecret => &[400, 401, 503],
        Access::Admin => &[400, 401, 403, 503],
    };
    for status in usual.iter().chain(operation.errors) {
        out.insert(status.to_string(), json!({"$ref": "#/components/responses/Error"}));
    }
    Value::Object(out)
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
