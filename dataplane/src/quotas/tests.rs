//! Decisions with an owner at the other end of a stream.

use model::{
    cluster::NodeId,
    quotas::{Answer, Asks, Bucket, Said},
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
        let (quotas, known) = (quotas.clone(), quotas.clone());
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
        until(&known, |state| state.linked).await;
        owner
    }

    async fn asks(&mut self) -> Asks {
        let asks = timeout(Duration::from_secs(5), self.reader.read()).await;
        asks.expect("it asks").unwrap().expect("it goes on")
    }

    async fn say(&mut self, nodes: u32, answers: Vec<Answer>) {
        self.writer.write(&Answers { batch: 0, nodes, answers }).await.unwrap();
    }

    /// Answers everything by a count of its own, for ever.
    async fn count(mut self) {
        let mut buckets = std::collections::HashMap::new();
        while let Ok(Some(asks)) = self.reader.read().await {
            let answers = asks.asks.into_iter().map(|ask| {
                let now = Duration::ZERO;
                let bucket = buckets.entry(ask.key).or_insert_with(|| Bucket::full(ask.limit, now));
                bucket.put_back(ask.returned);
                let granted = bucket.take(ask.want);
                let wait_ms = if granted < ask.want { 10_000 } else { 0 };
                let said = Said::Leased { granted, left: bucket.left(), wait_ms, office: 1 };
                Answer { key: ask.key, said }
            });
            let answers = answers.collect();
            self.say(3, answers).await;
        }
    }
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
    let quotas = Quotas::default();
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
    assert!(decisions.iter().all(|it| !it.alone));
    let refused = quotas.decide(&[counted(1)]).await;
    assert!(refused.limits[0].1.unwrap() > Duration::from_secs(9));
    assert!(quotas.state().slices.values_mut().all(|slice| slice.waiting() == 0));
}

#[tokio::test]
async fn what_one_limit_refuses_is_not_taken_from_the_others() {
    let quotas = Quotas::default();
    let owner = Owner::of(&quotas, 3).await;
    let _owner = Task::spawn(owner.count());
    assert_eq!(passed(&quotas, &[counted(1)], 60).await, 50);
    assert_eq!(passed(&quotas, &[counted(2), counted(1)], 20).await, 0);
    assert_eq!(passed(&quotas, &[counted(2)], 60).await, 50);
}

#[tokio::test]
async fn without_an_owner_a_node_lets_its_share_through_and_nobody_waits() {
    let quotas = Quotas::default();
    let start = Instant::now();
    // It knows of no other node: a tenth.
    assert_eq!(passed(&quotas, &[counted(1)], 20).await, 5);
    assert!(quotas.decide(&[counted(1)]).await.alone);
    drop(Owner::of(&quotas, 2).await);
    until(&quotas, |state| !state.linked).await;
    assert_eq!(passed(&quotas, &[counted(2)], 60).await, 25, "half, of two");
    assert!(start.elapsed() < ANSWER_WITHIN * 4, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_owner_that_is_silent_is_waited_for_once() {
    let quotas = Quotas::default();
    let mut owner = Owner::of(&quotas, 5).await;
    let start = Instant::now();
    assert_eq!(passed(&quotas, &[counted(1)], 20).await, 10, "a fifth");
    assert!((1..3).contains(&(start.elapsed().as_millis() / ANSWER_WITHIN.as_millis())));
    // It comes to itself, and is told of what passed.
    let asks = owner.asks().await.asks;
    let said = Said::Leased { granted: 1, left: 49, wait_ms: 0, office: 1 };
    let answers = asks.iter().map(|ask| Answer { key: ask.key, said }).collect();
    owner.say(5, answers).await;
    until(&quotas, |state| state.slow_until == Duration::ZERO).await;
    let decision = quotas.decide(&[counted(1)]).await;
    assert!(decision.passes() && !decision.alone);
    let spent: u32 = owner.asks().await.asks.iter().map(|ask| ask.spent).sum();
    assert_eq!(spent, 10);
}

#[tokio::test]
async fn what_is_not_used_goes_back() {
    let quotas = Quotas::default();
    let mut owner = Owner::of(&quotas, 3).await;
    let one = counted(1);
    let request = quotas.clone();
    let request = tokio::spawn(async move { request.decide(&[one]).await });
    let key = owner.asks().await.asks[0].key;
    let said = Said::Leased { granted: 8, left: 42, wait_ms: 0, office: 1 };
    owner.say(3, vec![Answer { key, said }]).await;
    assert!(request.await.unwrap().passes());
    let ask = owner.asks().await.asks.remove(0);
    assert_eq!((ask.want, ask.returned, ask.heard.unwrap().office), (0, 7, 1));
}

#[tokio::test]
async fn a_request_that_goes_away_waits_no_more() {
    let quotas = Quotas::default();
    let _owner = Owner::of(&quotas, 3).await;
    let limits = [counted(1)];
    let waited = timeout(ANSWER_WITHIN / 5, quotas.decide(&limits)).await;
    assert!(waited.is_err(), "it waits for the owner");
    assert!(quotas.state().slices.values_mut().all(|slice| slice.waiting() == 0));
}
