//! What readers are given: the past, what follows, and what they have missed.

use std::sync::LazyLock;

use model::flow::Verdict;

use super::*;
use crate::xdp::flows::resolve::{
    resolve,
    tests::{names, place, raw},
};

static EVENT: LazyLock<FlowEvent> = LazyLock::new(|| resolve(&raw(), &names(), &place()));

fn event(length: u16) -> FlowEvent {
    FlowEvent { length, ..EVENT.clone() }
}

async fn lengths(stream: impl Stream<Item = Arc<FlowMessage>>, count: usize) -> Vec<u16> {
    let flows = stream.filter_map(|message| async move {
        match &*message {
            FlowMessage::Flow(event) => Some(event.length),
            FlowMessage::Lost(_) => None,
        }
    });
    flows.take(count).collect().await
}

#[tokio::test]
async fn what_is_kept_comes_first_and_what_comes_follows_once() {
    let hub = FlowHub::new(NodeId(3));
    hub.publish(event(1));
    hub.publish(event(2));
    let followed = hub.read(FlowQuery { follow: true, ..FlowQuery::default() }).unwrap();
    hub.publish(event(3));
    assert_eq!(lengths(followed, 3).await, [1, 2, 3]);
    let kept = hub.read(FlowQuery::default()).unwrap();
    assert_eq!(lengths(kept, 9).await, [1, 2, 3], "what is not followed ends");
}

#[tokio::test]
async fn only_what_is_wanted_comes_and_no_more_than_the_newest_are_kept() {
    let hub = FlowHub::new(NodeId(3));
    for length in 0..KEPT as u16 + 10 {
        hub.publish(event(length));
    }
    let all = hub.read(FlowQuery::default()).unwrap();
    assert_eq!(lengths(all, 2).await, [10, 11]);
    let query = FlowQuery { verdict: Some(Verdict::Dropped), ..FlowQuery::default() };
    assert_eq!(lengths(hub.read(query).unwrap(), 1).await, [] as [u16; 0]);
}

#[tokio::test]
async fn a_slow_follower_is_told_how_many_it_has_missed() {
    let hub = FlowHub::new(NodeId(3));
    let followed = hub.read(FlowQuery { follow: true, ..FlowQuery::default() }).unwrap();
    for length in 0..BEHIND_MAX as u16 + 7 {
        hub.publish(event(length));
    }
    let first: Vec<_> = followed.take(2).collect().await;
    let lost = LostEvents { node: NodeId(3), slow: 7, ..LostEvents::default() };
    assert_eq!(*first[0], FlowMessage::Lost(lost));
    let FlowMessage::Flow(event) = &*first[1] else { panic!("{:?}", first[1]) };
    assert_eq!(event.length, 7);
}

#[tokio::test]
async fn a_follower_that_goes_makes_room_for_another() {
    let hub = FlowHub::new(NodeId(3));
    let follow = || hub.read(FlowQuery { follow: true, ..FlowQuery::default() });
    let mut all: Vec<_> = (0..FOLLOWERS_MAX).map(|_| follow().unwrap()).collect();
    assert!(follow().is_err());
    assert!(hub.read(FlowQuery::default()).is_ok(), "who does not follow takes no place");
    all.pop();
    assert!(follow().is_ok());
}
