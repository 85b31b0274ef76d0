//! The messages of the format, and their way from and to what they stand for.
//!
//! **Invariant.** Tags and types never change; what is new gets a tag of its own.

use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use model::{ObjectKey, Refusal};
use prost::Message;

use super::format::InvalidStanding;
use crate::{
    l7::{Origin, Resource, ResourceId, ResourceType},
    xds::{Kept, RefusedVersion},
};

/// The whole.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Body {
    #[prost(string, tag = "1")]
    pub(super) cluster: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) entries: Vec<Entry>,
}

/// A resource that is refused or needed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(message, required, tag = "1")]
    pub(super) id: Id,
    #[prost(message, repeated, tag = "2")]
    pub(super) refused: Vec<Refused>,
    #[prost(message, optional, tag = "3")]
    accepted: Option<Accepted>,
}

/// What identifies a resource.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Id {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(string, tag = "2")]
    name: String,
}

/// A version that was refused, and why.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Refused {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, optional, tag = "2")]
    pub(super) object: Option<String>,
    #[prost(string, tag = "3")]
    field: String,
    #[prost(string, tag = "4")]
    resource: String,
    #[prost(string, tag = "5")]
    message: String,
}

/// The version that was accepted last.
#[derive(Clone, PartialEq, Message)]
struct Accepted {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, required, tag = "2")]
    body: Any,
    #[prost(string, repeated, tag = "3")]
    clusters: Vec<String>,
    #[prost(message, repeated, tag = "4")]
    wants: Vec<Id>,
    #[prost(string, tag = "5")]
    object: String,
    #[prost(message, repeated, tag = "6")]
    origins: Vec<AcceptedOrigin>,
}

/// Where a part of it came from.
#[derive(Clone, PartialEq, Message)]
struct AcceptedOrigin {
    #[prost(string, tag = "1")]
    object: String,
    #[prost(string, tag = "2")]
    field: String,
    #[prost(string, tag = "3")]
    text: String,
    #[prost(uint64, optional, tag = "4")]
    route: Option<u64>,
}

impl Entry {
    pub(super) fn of(id: &ResourceId, kept: &Kept) -> Self {
        Self {
            id: Id::of(id),
            refused: kept.refused.iter().map(Refused::of).collect(),
            accepted: kept.accepted.as_deref().map(Accepted::of),
        }
    }

    pub(super) fn into_kept(self) -> Result<(ResourceId, Kept), InvalidStanding> {
        let id = self.id.into_id()?;
        let refused = self.refused.into_iter().map(Refused::into_version);
        let refused = refused.collect::<Result<_, _>>()?;
        let accepted = self.accepted.map(|accepted| accepted.into_resource(&id.name));
        let accepted = accepted.transpose()?.map(Arc::new);
        Ok((id, Kept { refused, accepted }))
    }
}

impl Id {
    fn of(id: &ResourceId) -> Self {
        Self { type_url: id.kind.type_url().to_owned(), name: id.name.to_string() }
    }

    fn into_id(self) -> Result<ResourceId, InvalidStanding> {
        match ResourceType::of_type_url(&self.type_url) {
            Some(kind) => Ok(ResourceId::new(kind, self.name)),
            None => Err(InvalidStanding::Type { type_url: self.type_url }),
        }
    }
}

impl Refused {
    fn of(refused: &RefusedVersion) -> Self {
        let Refusal { object, field, resource, message } = refused.refusal.clone();
        let version = refused.version.to_string();
        Self { version, object: object.map(|object| object.to_string()), field, resource, message }
    }

    fn into_version(self) -> Result<RefusedVersion, InvalidStanding> {
        let Self { version, object, field, resource, message } = self;
        let object = object.map(|object| object.parse()).transpose()?;
        let refusal = Refusal { object, field, resource, message };
        Ok(RefusedVersion { version: version.into(), refusal })
    }
}

impl Accepted {
    fn of(resource: &Resource) -> Self {
        Self {
            version: resource.version.to_string(),
            body: resource.body.clone(),
            clusters: resource.clusters.iter().map(|cluster| cluster.to_string()).collect(),
            wants: resource.wants.iter().map(Id::of).collect(),
            object: resource.object.to_string(),
            origins: resource.origins.iter().map(AcceptedOrigin::of).collect(),
        }
    }

    fn into_resource(self, name: &Arc<str>) -> Result<Resource, InvalidStanding> {
        Ok(Resource {
            name: name.clone(),
            version: self.version.into(),
            body: self.body,
            clusters: self.clusters.into_iter().map(Into::into).collect(),
            wants: self.wants.into_iter().map(Id::into_id).collect::<Result<_, _>>()?,
            object: self.object.parse::<ObjectKey>()?,
            origins: self
                .origins
                .into_iter()
                .map(AcceptedOrigin::into_origin)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl AcceptedOrigin {
    fn of(origin: &Origin) -> Self {
        Self {
            object: origin.object.to_string(),
            field: origin.field.clone(),
            text: origin.text.clone(),
            route: origin.route.map(|route| route as u64),
        }
    }

    fn into_origin(self) -> Result<Origin, InvalidStanding> {
        let Self { object, field, text, route } = self;
        let route = route.and_then(|route| usize::try_from(route).ok());
        Ok(Origin { object: object.parse()?, field, text, route })
    }
}
