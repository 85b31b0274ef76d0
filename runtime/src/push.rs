//! The push protocol between control nodes and data planes: messages, frames, QUIC endpoints, and
//! the client's state machine.
//!
//! The client opens one bidirectional stream and says [`FromPlane::Hello`]; the server answers with
//! [`ToPlane::Welcome`] and a whole snapshot, or the deltas since the client's revision, and then
//! follows with a delta for each revision. Control nodes use the same server to stream each other's
//! ledger of reports ([`FromPlane::PeerHello`]). Server logic is in `node`, client logic in
//! `dataplane`.

pub mod endpoint;
pub mod frame;
pub mod messages;
pub mod sm;

pub use endpoint::{
    ConnectError, EndpointError, client_endpoint, connect, connected_peer, serve_on,
    server_endpoint,
};
pub use frame::{FrameError, FrameReader, FrameWriter, MAX_FRAME};
pub use messages::{
    ChallengeAnswer, FromPlane, Grant, HealthUpdate, Material, ModulePart, PlaneInfo, PrivateKey,
    Resume, ShareGrant, ToPlane, snapshot_messages,
};
pub use sm::{Command, Follower, ProtocolError};
