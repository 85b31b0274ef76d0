//! Passes asks on to another control node.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    time::Duration,
};

use model::{
    cluster::NodeId,
    quotas::{Answer, Answers, Asks},
};
use quinn::{Connection, RecvStream, SendStream};
use runtime::push::{FrameError, FrameReader, FrameWriter};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{FORWARDED_MAX, Forward, Quotas};

/// Between two tries to open a stream on a connection that lasts.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long the other side may take to greet, and may leave asks unread.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Batches whose answers are awaited; what came before them is not answered any more.
const AWAITED_MAX: usize = 4 * FORWARDED_MAX;

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the other node closed the stream")]
    Closed,
    #[error("the other node says nothing within {ANSWER_WITHIN:?}")]
    Silent,
}

/// Keeps a stream to another node on a connection, for as long as this is polled.
pub(crate) async fn keep(connection: Connection, quotas: Quotas, peer: NodeId) -> Infallible {
    loop {
        let Err(error) = pass_on(&connection, &quotas, peer).await;
        tracing::debug!(%peer, %error, "limits that the peer owns are out of reach");
        sleep(OPEN_AGAIN_AFTER).await;
    }
}

async fn pass_on(
    connection: &Connection,
    quotas: &Quotas,
    peer: NodeId,
) -> Result<Infallible, LinkError> {
    let (send, receive) = connection.open_bi().await?;
    let mut reader = FrameReader::<_, Answers>::new(receive);
    let mut writer = FrameWriter::<_, Asks>::new(send);
    greet(quotas, &mut reader, &mut writer).await?;
    let (sender, mut forwards) = mpsc::channel(FORWARDED_MAX);
    let _link = Link::open(quotas.clone(), peer, sender);
    let mut awaited: HashMap<u64, oneshot::Sender<Vec<Answer>>> = HashMap::new();
    let mut order = VecDeque::new();
    let mut batch = 0;
    loop {
        tokio::select! {
            answers = reader.read() => {
                let Answers { batch, answers, .. } = answers?.ok_or(LinkError::Closed)?;
                if let Some(waiting) = awaited.remove(&batch) {
                    // Who asked may have given up.
                    let _ = waiting.send(answers);
                }
            }
            Some(Forward { node, asks, answers }) = forwards.recv() => {
                batch += 1;
                awaited.insert(batch, answers);
                order.push_back(batch);
                while order.len() > AWAITED_MAX {
                    order.pop_front().and_then(|batch| awaited.remove(&batch));
                }
                write(&mut writer, Asks { batch, node, asks }).await?;
            }
        }
    }
}

/// Waits until the other side answers: before, it is no owner.
async fn greet(
    quotas: &Quotas,
    reader: &mut FrameReader<RecvStream, Answers>,
    writer: &mut FrameWriter<SendStream, Asks>,
) -> Result<(), LinkError> {
    write(writer, Asks { batch: 0, node: quotas.0.node, asks: Vec::new() }).await?;
    let greeting = timeout(ANSWER_WITHIN, reader.read()).await.map_err(|_| LinkError::Silent)?;
    greeting?.map(|_| ()).ok_or(LinkError::Closed)
}

async fn write(writer: &mut FrameWriter<SendStream, Asks>, asks: Asks) -> Result<(), LinkError> {
    timeout(ANSWER_WITHIN, writer.write(&asks))
        .await
        .map_err(|_| LinkError::Silent)?
        .map_err(Into::into)
}

/// The other node is an owner while this lasts.
struct Link {
    quotas: Quotas,
    peer: NodeId,
    sender: mpsc::Sender<Forward>,
}

impl Link {
    fn open(quotas: Quotas, peer: NodeId, sender: mpsc::Sender<Forward>) -> Self {
        quotas.0.links.send_modify(|links| {
            links.insert(peer, sender.clone());
        });
        Self { quotas, peer, sender }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.quotas.0.links.send_modify(|links| {
            // The one to another address of the peer's may be there already.
            if links.get(&self.peer).is_some_and(|link| link.same_channel(&self.sender)) {
                links.remove(&self.peer);
            }
        });
    }
}
