//! What the server has: resources by type and name, at the versions that the harness sets.
//!
//! Versions are numbers here, because the server's system version is the revision of its
//! configuration; the harness's own are. All nodes see the same resources.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use dataplane::l7::{Resource, ResourceType, World};
use envoy_types::pb::{
    envoy::config::{
        cluster::v3::Cluster, endpoint::v3::ClusterLoadAssignment, listener::v3::Listener,
        route::v3::RouteConfiguration,
    },
    google::protobuf::Any,
};
use model::{Kind, ObjectKey, Revision};
use prost::{Message, Name};
use tokio::sync::watch;
use tonic::Status;

use super::messages::{ResourceRequest, SetStateRequest};

/// The resources, with where they are published.
pub(crate) struct State {
    worlds: watch::Sender<Option<World>>,
    resources: Mutex<BTreeMap<(ResourceType, String), Resource>>,
}

impl State {
    pub(crate) fn new(worlds: watch::Sender<Option<World>>) -> Self {
        Self { worlds, resources: Mutex::default() }
    }

    pub(crate) fn set(&self, request: SetStateRequest) -> Result<(), Status> {
        let revision = revision(&request.version)?;
        let mut new = BTreeMap::new();
        for body in request.resources {
            let kind = kind(&body.type_url)?;
            let name = name(kind, &body)?;
            new.insert((kind, name.clone()), resource(&name, &request.version, body));
        }
        let mut resources = self.lock();
        *resources = new;
        self.publish(revision, &resources);
        Ok(())
    }

    pub(crate) fn clear(&self) {
        let mut resources = self.lock();
        resources.clear();
        self.publish(Revision::ZERO, &resources);
    }

    /// Adds a resource, or gives it another version.
    pub(crate) fn put(&self, request: &ResourceRequest) -> Result<(), Status> {
        let (kind, revision) = (kind(&request.type_url)?, revision(&request.version)?);
        let body = body(kind, &request.resource_name)?;
        let resource = resource(&request.resource_name, &request.version, body);
        let mut resources = self.lock();
        resources.insert((kind, request.resource_name.clone()), resource);
        self.publish(revision, &resources);
        Ok(())
    }

    pub(crate) fn remove(&self, request: &ResourceRequest) -> Result<(), Status> {
        let (kind, revision) = (kind(&request.type_url)?, revision(&request.version)?);
        let mut resources = self.lock();
        if resources.remove(&(kind, request.resource_name.clone())).is_none() {
            return Err(Status::not_found(format!("{kind} {}", request.resource_name)));
        }
        self.publish(revision, &resources);
        Ok(())
    }

    fn publish(&self, revision: Revision, resources: &BTreeMap<(ResourceType, String), Resource>) {
        let all = resources.iter().map(|((kind, _), resource)| (*kind, resource.clone()));
        self.worlds.send_replace(Some(World::of_resources(revision, all)));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(ResourceType, String), Resource>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn resource(name: &str, version: &str, body: Any) -> Resource {
    Resource {
        name: name.into(),
        version: version.into(),
        body,
        clusters: Vec::new(),
        wants: Vec::new(),
        object: ObjectKey::new(Kind::Service, "default", "harness"),
        origins: Vec::new(),
    }
}

fn revision(version: &str) -> Result<Revision, Status> {
    let number = version.parse();
    number.map(Revision).map_err(|_| {
        Status::invalid_argument(format!("version {version:?}: here versions are whole numbers"))
    })
}

fn kind(type_url: &str) -> Result<ResourceType, Status> {
    ResourceType::of_type_url(type_url)
        .ok_or_else(|| Status::invalid_argument(format!("type {type_url:?} is not known here")))
}

/// Makes an empty resource, for the types that the harness has.
fn body(kind: ResourceType, name: &str) -> Result<Any, Status> {
    let name = name.to_owned();
    match kind {
        ResourceType::Cluster => Ok(any(&Cluster { name, ..Default::default() })),
        ResourceType::Endpoints => {
            Ok(any(&ClusterLoadAssignment { cluster_name: name, ..Default::default() }))
        }
        ResourceType::Listener => Ok(any(&Listener { name, ..Default::default() })),
        ResourceType::Route => Ok(any(&RouteConfiguration { name, ..Default::default() })),
        ResourceType::Secret | ResourceType::ExtensionConfig | ResourceType::ScopedRoute => {
            Err(Status::unimplemented(format!("the harness has no {kind}")))
        }
    }
}

fn name(kind: ResourceType, body: &Any) -> Result<String, Status> {
    let value = body.value.as_slice();
    let name = match kind {
        ResourceType::Cluster => Cluster::decode(value).map(|one| one.name),
        ResourceType::Endpoints => ClusterLoadAssignment::decode(value).map(|one| one.cluster_name),
        ResourceType::Listener => Listener::decode(value).map(|one| one.name),
        ResourceType::Route => RouteConfiguration::decode(value).map(|one| one.name),
        ResourceType::Secret | ResourceType::ExtensionConfig | ResourceType::ScopedRoute => {
            return Err(Status::unimplemented(format!("the harness has no {kind}")));
        }
    };
    name.map_err(|error| Status::invalid_argument(format!("{kind}: {error}")))
}

fn any<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}
