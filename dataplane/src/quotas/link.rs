//! Asks the owners, through the control node that this data plane follows.

use std::{convert::Infallible, time::Duration};

use model::{
    cluster::NodeId,
    quotas::{Answers, Asks},
};
use quinn::Connection;
use runtime::push::{FrameError, FrameReader, FrameWriter};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::Quotas;

/// Between two looks for leases that have ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two tries to open a stream on a connection that lasts.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a control node may leave what is asked unread.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The stream failed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The control node closed it.
    #[error("the control node closed the stream")]
    Closed,
    /// The control node is stuck.
    #[error("the control node reads nothing within {WRITE_WITHIN:?}")]
    Stuck,
}

/// Keeps a stream of asks on a connection, for as long as this is polled.
pub(crate) async fn keep(connection: Connection, quotas: Quotas, node: NodeId) -> Infallible {
    loop {
        let ended = match connection.open_bi().await {
            Ok((send, receive)) => {
                let (reader, writer) = (FrameReader::new(receive), FrameWriter::new(send));
                match exchange(reader, writer, &quotas, node).await {
                    Ok(never) => match never {},
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        tracing::debug!(error = %ended, "limits of all nodes together are counted alone");
        sleep(OPEN_AGAIN_AFTER).await;
    }
}

/// Asks on a stream until it fails or this is dropped.
///
/// # Errors
/// Why it ended.
pub async fn exchange<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    mut reader: FrameReader<R, Answers>,
    mut writer: FrameWriter<W, Asks>,
    quotas: &Quotas,
    node: NodeId,
) -> Result<Infallible, LinkError> {
    let _linked = Linked(quotas);
    // The other side hears of the stream by the first message.
    write(&mut writer, Asks { batch: 0, node, asks: Vec::new() }).await?;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = 0;
    loop {
        tokio::select! {
            answers = reader.read() => {
                let answers = answers?.ok_or(LinkError::Closed)?;
                quotas.answered(answers);
                metrics::gauge!("marchproxy_quota_linked").set(1.0);
                continue;
            }
            () = quotas.0.asks.notified() => {}
            _ = looks.tick() => {}
        }
        let asks = quotas.asks();
        if !asks.is_empty() {
            batch += 1;
            write(&mut writer, Asks { batch, node, asks }).await?;
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    writer: &mut FrameWriter<W, Asks>,
    asks: Asks,
) -> Result<(), LinkError> {
    timeout(WRITE_WITHIN, writer.write(&asks))
        .await
        .map_err(|_| LinkError::Stuck)?
        .map_err(Into::into)
}

/// Nobody is asked when this has ended.
struct Linked<'a>(&'a Quotas);

impl Drop for Linked<'_> {
    fn drop(&mut self) {
        self.0.unlinked();
        metrics::gauge!("marchproxy_quota_linked").set(0.0);
    }
}
