//! Decisions with an owner at the other end of a stream.

use model::{
    cluster::NodeId,
    quotas::{Answer, Asks, Owner as Counting, Said},
};
use runtime::push::{FrameReader, FrameWriter};
use tokio::{
    io::{DuplexStream, ReadHalf, WriteHalf, duplex, split},
    time::timeout,
};

use super::*;
use crate::tasks::Task;

const LIMIT: QuotaLimit = QuotaLimit { requests: 10, interval_ms: 3_600_000, burst: 50 };
const NODE: NodeId = NodeId(3);

fn counted(number: u8) -> Counted {
    Counted { key: QuotaKey([number; 16]), limit: LIMIT }
}

/// The other end.
struct Owner {
    reader: FrameReader<ReadHalf<DuplexStream>, Asks>,
    writer: FrameWriter<WriteHalf<DuplexStream>, Answers>,
    _asking: Task,
}

impl Owner {
    /// Is linked, and says that there are so many nodes.
    async fn of(quotas: &Quotas, nodes: u32) -> Self {
        let (own, other) = duplex(1 << 20);
        let known = quotas;
        let quotas = quotas.clone();
        let asking = Task::spawn(async move {
            let (read, write) = split(own);
            let _ = exchange(FrameReader::new(read), FrameWriter::new(write), &quotas, NODE).await;
        });
        let (read, write) = split(other);
        let (reader, writer) = (FrameReader::new(read), FrameWriter::new(write));
        let mut owner = Self { reader, writer, _asking: asking };
        let hello = owner.asks().await;
        assert_eq!((hello.node, hello.asks), (NODE, Vec::new()));
        owner.say(nodes, Vec::new()).await;
        until(known, |state| state.linked).await;
        owner
    }

    async fn asks(&mut self) -> Asks {
        let asks = timeout(Duration::from_secs(5), self.reader.read()).await;
        asks.expect("it asks").unwrap().expect("it goes on")
    }

    async fn say(&mut self, nodes: u32, answers: Vec<Answer>) {
        self.writer.write(&Answers { batch: 0, nodes, answers }).await.unwrap();
    }

    /// Counts, for ever.
    async fn count(mut self) {
        let mut counting = Counting::new(1);
        while let Ok(Some(asks)) = self.reader.read().await {
            // Nothing comes back with time.
            let answer = |ask| counting.answer(NODE, ask, Duration::ZERO);
            let answers = asks.asks.iter().map(answer).collect();
            self.say(3, answers).await;
        }
    }
}

/// Waits for an owner however busy the machine is.
fn patient() -> Quotas {
    Quotas::with_patience(Duration::from_secs(10))
}

async fn until(quotas: &Quotas, holds: impl Fn(&State) -> bool) {
    let wait = async {
        while !holds(&quotas.state()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), wait).await.expect("it comes");
}

async fn passed(quotas: &Quotas, limits: &[Counted], requests: usize) -> usize {
    let mut passed = 0;
    for _ in 0..requests {
        passed += usize::from(quotas.decide(limits).await.passes());
    }
    passed
}

#[tokio::test]
async fn exactly_what_the_owner_has_passes_however_many_come_at_once() {
    let quotas = patient();
    let owner = Owner::of(&quotas, 3).await;
    let _owner = Task::spawn(owner.count());
    let requests = (0..200).map(|_| {
        let quotas = quotas.clone();
        tokio::spawn(async move { quotas.decide(&[counted(1)]).await })
    });
    let mut decisions = Vec::new();
    for request in requests.collect::<Vec<_>>() {
        decisions.push(request.await.unwrap());
    }
    assert_eq!(decisions.iter().filter(|it| it.passes()).count(), 50);
    assert!(decisions.iter().all(|it| !it.limits[0].alone));
    let refused = quotas.decide(&[counted(1)]).await;
    assert!(refused.limits[0].refused.unwrap() > Duration::from_secs(300));
    assert!(quotas.state().slices.values_mut().all(|slice| slice.waiting() == 0));
}

#[tokio::test]
async fn what_one_limit_refuses_is_not_taken_from_the_others() {
    let quotas = patient();
    let owner = Owner::of(&quotas, 3).await;
    let _owner = Task::spawn(owner.count());
    assert_eq!(passed(&quotas, &[counted(1)], 60).await, 50);
    assert_eq!(passed(&quotas, &[counted(2), counted(1)], 20).await, 0);
    // Nor is more asked for.
    assert_eq!(quotas.state().leases.iter().filter(|(_, key)| *key == counted(2).key).count(), 0);
    assert_eq!(passed(&quotas, &[counted(2)], 60).await, 50);
}

#[tokio::test]
async fn without_an_owner_a_node_lets_its_share_through_and_nobody_waits() {
    let quotas = Quotas::with_patience(Duration::from_hours(1));
    // It knows of no other node: a tenth.
    assert_eq!(passed(&quotas, &[counted(1)], 20).await, 5);
    assert!(quotas.decide(&[counted(1)]).await.limits[0].alone);
    drop(Owner::of(&quotas, 2).await);
    until(&quotas, |state| !state.linked).await;
    assert_eq!(passed(&quotas, &[counted(2)], 60).await, 25, "half, of two");
}

#[tokio::test]
async fn an_owner_that_is_silent_is_waited_for_once_and_is_told_what_passed() {
    let quotas = Quotas::default();
    let mut owner = Owner::of(&quotas, 5).await;
    assert_eq!(passed(&quotas, &[counted(1)], 20).await, 10, "a fifth");
    let asks = owner.asks().await.asks;
    assert_eq!(asks.iter().map(|ask| (ask.want, ask.spent)).collect::<Vec<_>>(), [(1, 0)]);
    // It comes to itself.
    let said = Said::Leased { granted: 1, left: 49, wait_ms: 0, next_ms: 0, office: 1 };
    owner.say(5, vec![Answer { key: asks[0].key, said }]).await;
    until(&quotas, |state| !state.leases.is_empty()).await;
    let decision = quotas.decide(&[counted(1)]).await;
    assert!(decision.passes() && !decision.limits[0].alone);
    let spent: u32 = owner.asks().await.asks.iter().map(|ask| ask.spent).sum();
    assert_eq!(spent, 9, "of ten, since some time has passed");
}

#[tokio::test]
async fn what_is_not_used_goes_back() {
    let quotas = patient();
    let mut owner = Owner::of(&quotas, 3).await;
    let one = counted(1);
    let request = quotas.clone();
    let request = tokio::spawn(async move { request.decide(&[one]).await });
    let key = owner.asks().await.asks[0].key;
    let said = Said::Leased { granted: 8, left: 42, wait_ms: 0, next_ms: 0, office: 1 };
    owner.say(3, vec![Answer { key, said }]).await;
    assert!(request.await.unwrap().passes());
    let ask = owner.asks().await.asks.remove(0);
    assert_eq!((ask.want, ask.returned, ask.heard.unwrap().office), (0, 7, 1));
}

#[tokio::test]
async fn a_request_that_goes_away_waits_no_more() {
    let quotas = patient();
    let _owner = Owner::of(&quotas, 3).await;
    let limits = [counted(1)];
    let waited = timeout(Duration::from_millis(10), quotas.decide(&limits)).await;
    assert!(waited.is_err(), "it waits for the owner");
    assert!(quotas.state().slices.values_mut().all(|slice| slice.waiting() == 0));
}
