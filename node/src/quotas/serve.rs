//! Answers on a stream of asks: those of a data plane, which may be for other owners, or those that
//! another control node passes on.

use std::{collections::HashMap, time::Duration};

use consensus::Consensus;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use model::{
    cluster::NodeId,
    quotas::{Answer, Answers, Ask, Asks, QuotaKey},
};
use quinn::{RecvStream, SendStream};
use runtime::{
    identity::Role,
    push::{FrameError, FrameReader, FrameWriter},
};
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{Forward, Owned, Quotas, alone, members};

/// How long an owner may take. No request waits for it so long, but what it leased is for those that come.
const OWNER_WITHIN: Duration = Duration::from_secs(1);
/// Asks of a message.
const ASKS_MAX: usize = 10_000;
/// Batches that wait for other owners; of more, these are out of reach.
const WAITING_MAX: usize = 4_096;
/// How long the other side may leave answers unread.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks at how many members there are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the other side reads nothing within {WRITE_WITHIN:?}")]
    Stuck,
    #[error("{0}")]
    Invalid(&'static str),
}

/// Who asks on a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) role: Role,
}

/// Answers until the stream ends.
pub(crate) async fn serve(
    quotas: Quotas,
    consensus: Consensus,
    peer: Peer,
    send: SendStream,
    receive: RecvStream,
) -> Result<(), ServeError> {
    let mut reader = FrameReader::<_, Asks>::new(receive);
    let mut writer = FrameWriter::<_, Answers>::new(send);
    let mut waiting: FuturesUnordered<BoxFuture<'_, (u64, Vec<Answer>)>> = FuturesUnordered::new();
    let mut told = 0;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let members = members(&consensus);
        // At most some hundreds.
        let nodes = u32::try_from(members).unwrap_or(u32::MAX);
        tokio::select! {
            asks = reader.read() => {
                let Some(asks) = asks? else { return Ok(()) };
                check(&asks)?;
                let batch = asks.batch;
                let answers = if peer.role == Role::Control {
                    quotas.as_owner(asks.node, asks.asks, members)
                } else {
                    let room = WAITING_MAX - waiting.len();
                    let (answers, others) = quotas.sort(peer.node, asks.asks, members, room);
                    waiting.extend(others.into_iter().map(|it| it.map(move |it| (batch, it)).boxed()));
                    answers
                };
                // The first message says how many nodes there are, and to a control node each is answered.
                if !answers.is_empty() || batch == 0 || peer.role == Role::Control {
                    told = nodes;
                    write(&mut writer, Answers { batch, nodes, answers }).await?;
                }
            }
            Some((batch, answers)) = waiting.next() => {
                write(&mut writer, Answers { batch, nodes, answers }).await?;
            }
            _ = looks.tick(), if told != 0 && told != nodes && peer.role != Role::Control => {
                told = nodes;
                write(&mut writer, Answers { batch: 0, nodes, answers: Vec::new() }).await?;
            }
        }
    }
}

fn check(asks: &Asks) -> Result<(), ServeError> {
    if asks.asks.len() > ASKS_MAX {
        return Err(ServeError::Invalid("too many asks in a message"));
    }
    if asks.asks.iter().any(|ask| !ask.limit.is_valid()) {
        return Err(ServeError::Invalid("a limit that no policy can have"));
    }
    Ok(())
}

async fn write(
    writer: &mut FrameWriter<SendStream, Answers>,
    answers: Answers,
) -> Result<(), ServeError> {
    let written = timeout(WRITE_WITHIN, writer.write(&answers)).await;
    written.map_err(|_| ServeError::Stuck)?.map_err(Into::into)
}

impl Quotas {
    /// Answers what another control node asks of this one, if it owns it in its own eyes too.
    fn as_owner(&self, node: NodeId, asks: Vec<Ask>, members: usize) -> Vec<Answer> {
        let owned = |ask: &Ask| matches!(self.owned(ask.key, members), Owned::Here);
        if asks.iter().all(owned) {
            return self.answer(node, &asks);
        }
        let one = |ask: Ask| match owned(&ask) {
            true => self.answer(node, &[ask]),
            false => alone(vec![ask.key]),
        };
        asks.into_iter().flat_map(one).collect()
    }

    /// Answers what this node owns and what nobody does, and passes the rest on, in so many batches at most.
    fn sort(
        &self,
        node: NodeId,
        asks: Vec<Ask>,
        members: usize,
        room: usize,
    ) -> (Vec<Answer>, Vec<BoxFuture<'static, Vec<Answer>>>) {
        let (mut own, mut nobodys) = (Vec::new(), Vec::new());
        let mut others: HashMap<NodeId, (_, Vec<Ask>)> = HashMap::new();
        for ask in asks {
            match self.owned(ask.key, members) {
                Owned::Here => own.push(ask),
                Owned::By(owner, link) => {
                    others.entry(owner).or_insert_with(|| (link, Vec::new())).1.push(ask);
                }
                Owned::Nobody => nobodys.push(ask.key),
            }
        }
        let mut answers = if own.is_empty() { Vec::new() } else { self.answer(node, &own) };
        answers.extend(if nobodys.is_empty() { Vec::new() } else { alone(nobodys) });
        let mut passed_on = Vec::new();
        for (link, asks) in others.into_values() {
            if passed_on.len() < room {
                passed_on.push(forward(link, node, asks).boxed());
            } else {
                answers.extend(alone(asks.into_iter().map(|ask| ask.key).collect()));
            }
        }
        (answers, passed_on)
    }
}

/// Asks another owner.
async fn forward(
    link: tokio::sync::mpsc::Sender<Forward>,
    node: NodeId,
    asks: Vec<Ask>,
) -> Vec<Answer> {
    let keys: Vec<QuotaKey> = asks.iter().map(|ask| ask.key).collect();
    let (answers, answered) = oneshot::channel();
    if link.try_send(Forward { node, asks, answers }).is_err() {
        return alone(keys);
    }
    match timeout(OWNER_WITHIN, answered).await {
        Ok(Ok(answers)) if answers.iter().map(|it| it.key).eq(keys.iter().copied()) => answers,
        _ => alone(keys),
    }
}
