//! Explains a packet: the real program is run on it, apart from the one that runs, and what it
//! decided is said with the objects that decided.
//!
//! ```text
//! what runs ──────── copied ─┐
//!                            ├─▶ apart: maps and programs of its own ─▶ event ─▶ decisions
//! a kept revision ── made ───┘
//! ```
//! Nothing of what runs is written to: the program apart has maps of its own, which nobody pins, and
//! goes when the answer is there. Routes and neighbours are those of the kernel now.

pub mod apart;
pub mod decisions;

use std::sync::{Arc, PoisonError};

use model::{
    Revision, Snapshot,
    cluster::NodeId,
    explain::{ExplainRequest, Explanation, InvalidPacket, hex},
};

use self::{
    apart::{Apart, ApartError},
    decisions::Grounds,
};
use super::{
    actor::SharedEngine,
    engine::{Engine, EngineError},
    flows::{
        reader::interface,
        resolve::{Place, resolve},
    },
};
use crate::desired::{Changed, Desired};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// About which packet.
    pub request: ExplainRequest,
    /// The configuration of a kept revision; what runs when absent.
    pub kept: Option<Snapshot>,
    /// The node.
    pub node: NodeId,
}

/// Tells why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// There is no such packet.
    #[error(transparent)]
    Packet(#[from] InvalidPacket),
    /// There is no such interface.
    #[error("interface: {name:?} is not an interface of this node")]
    Interface {
        /// Its name.
        name: String,
    },
    /// XDP runs nothing here.
    #[error("XDP runs nothing on this node: see `marchproxy status`")]
    NotRunning,
    /// The program could not be made ready apart from the one that runs.
    #[error("the program apart from the one that runs")]
    Apart(#[from] ApartError),
    /// The configuration of the kept revision was not taken.
    #[error("the program apart from the one that runs")]
    Engine(#[from] EngineError),
}

/// Who lends the engine that runs, for moments.
pub trait Lender {
    /// Lends it; `None` when there is none.
    fn lend<T>(&mut self, borrow: impl FnOnce(&mut Engine) -> T) -> Option<T>;
}

impl Lender for Engine {
    fn lend<T>(&mut self, borrow: impl FnOnce(&mut Engine) -> T) -> Option<T> {
        Some(borrow(self))
    }
}

impl Lender for SharedEngine {
    fn lend<T>(&mut self, borrow: impl FnOnce(&mut Engine) -> T) -> Option<T> {
        self.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(borrow)
    }
}

/// Answers a question. Blocks for a second or two, in which the kernel verifies the program; the
/// engine that runs is borrowed before and after that.
///
/// # Errors
/// Returns why there is no answer.
pub fn explain(
    live: &mut impl Lender,
    desired: &Desired,
    question: &Question,
) -> Result<Explanation, ExplainError> {
    let Question { request, kept, node } = question;
    let frame = request.to_frame()?;
    let likeness = live.lend(|live| live.likeness()).ok_or(ExplainError::NotRunning)?;
    let name = match &request.interface {
        Some(name) => name.clone(),
        None => likeness.settings.interfaces.first().cloned().ok_or(ExplainError::NotRunning)?,
    };
    let ifindex = nix::net::if_::if_nametoindex(name.as_str())
        .map_err(|_| ExplainError::Interface { name: name.clone() })?;
    let running = likeness.running.ok_or(ExplainError::NotRunning)?;
    let kept = kept.as_ref().filter(|kept| kept.revision() != running);
    let mut apart = match kept {
        None => {
            let mut apart = Apart::like(&likeness)?;
            live.lend(|live| apart.follow(live, &frame)).ok_or(ExplainError::NotRunning)??;
            apart
        }
        Some(config) => {
            let desired = Desired {
                unhealthy: Arc::clone(&desired.unhealthy),
                ..Desired::of(config.clone(), Changed::Snapshot)
            };
            Apart::of(&likeness, &desired)?
        }
    };
    let known = apart.knows(&frame);
    let run = apart.run(&frame, ifindex)?;
    let place = Place { node: *node, clock_offset_us: 0, interface: &interface };
    let event = resolve(&run.event, apart.names(), &place);
    let revision = kept.map_or(running, Snapshot::revision);
    Ok(answer(&frame, &run, event, apart.names(), (*node, revision, kept.is_none()), known))
}

fn answer(
    frame: &[u8],
    run: &apart::Run,
    event: model::flow::FlowEvent,
    names: &super::flows::FlowNames,
    (node, revision, live): (NodeId, Revision, bool),
    known: bool,
) -> Explanation {
    let grounds = Grounds { event: &event, run, names, known, live, frame };
    Explanation {
        node,
        revision,
        live,
        verdict: event.verdict,
        decisions: decisions::decisions(&grounds),
        reason: event.reason,
        endpoint: event.endpoint,
        frame: hex(frame),
        sent: run.sent().map(hex),
    }
}
