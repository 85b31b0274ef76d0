//! Children that panic, fail, are killed or will not stop, through the public handle.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::supervision::{Backoff, Current, RestartBudget, SupervisorHandle};

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum Order {
    Panic,
    Fail,
    Stop,
}

type Death = (&'static str, fn(&ActorRef<Order>));

type Journal = Arc<Mutex<Vec<String>>>;

/// A child that notes its starts and stops, and dies as told.
struct Mortal {
    name: &'static str,
    journal: Journal,
}

impl Mortal {
    fn note(&self, what: &str) {
        self.journal.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

impl Actor for Mortal {
    type Msg = Order;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Order>, (): ()) -> Result<(), ActorProcessingErr> {
        self.note("start");
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Order>,
        order: Order,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Panic => panic!("told to panic"),
            Order::Fail => Err("told to fail".into()),
            Order::Stop => {
                myself.stop(None);
                Ok(())
            }
        }
    }

    async fn post_stop(&self, _: ActorRef<Order>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.note("stop");
        Ok(())
    }
}

fn quick() -> Backoff {
    Backoff { first: Duration::from_millis(1), most: Duration::from_millis(2) }
}

fn mortal(name: &'static str, journal: &Journal) -> (ChildSpec, Current<Order>) {
    let (current, journal) = (Current::new(), Arc::clone(journal));
    let place = current.clone();
    let spec = ChildSpec::observed_actor(
        name,
        move || (Mortal { name, journal: Arc::clone(&journal) }, ()),
        move |actor| place.set(actor),
    );
    (spec.backoff(quick()), current)
}

fn status_of(handle: &SupervisorHandle, name: &str) -> Option<ChildStatus> {
    handle.status().borrow().iter().find(|child| child.name == name).cloned()
}

async fn until(handle: &SupervisorHandle, name: &str, wanted: impl Fn(&ChildStatus) -> bool) {
    let mut status = handle.status();
    let seen = status.wait_for(|all| all.iter().any(|child| child.name == name && wanted(child)));
    tokio::time::timeout(DEADLINE, seen).await.expect("in time").expect("supervisor lives");
}

#[tokio::test]
async fn a_panic_an_error_a_kill_and_a_stop_are_each_repaired() {
    let journal = Journal::default();
    let (spec, current) = mortal("a", &journal);
    let (other, untouched) = mortal("b", &journal);
    let (handle, _join) = SupervisorHandle::start(vec![spec, other]).await.unwrap();
    let sibling = untouched.get().unwrap().get_id();
    let deaths: [Death; 4] = [
        ("told to panic", |actor| actor.cast(Order::Panic).unwrap()),
        ("told to fail", |actor| actor.cast(Order::Fail).unwrap()),
        ("killed", |actor| actor.kill()),
        ("stopped", |actor| actor.cast(Order::Stop).unwrap()),
    ];
    for (nth, (reason, kill)) in deaths.into_iter().enumerate() {
        let before = current.get().unwrap();
        kill(&before);
        until(&handle, "a", |child| {
            child.restarts == nth as u64 + 1 && child.state == ChildState::Running
        })
        .await;
        assert_ne!(current.get().unwrap().get_id(), before.get_id());
        let last_error = status_of(&handle, "a").unwrap().last_error.unwrap();
        assert!(last_error.contains(reason), "{last_error}");
    }
    assert_eq!(untouched.get().unwrap().get_id(), sibling);
    assert_eq!(status_of(&handle, "b").unwrap().restarts, 0);
    handle.stop("test over").await;
}

#[tokio::test]
async fn policies_decide_what_is_restarted() {
    let check = async |policy: Policy, order: Order, restarted: bool| {
        let (spec, current) = mortal("a", &Journal::default());
        let (handle, _join) = SupervisorHandle::start(vec![spec.policy(policy)]).await.unwrap();
        current.get().unwrap().cast(order).unwrap();
        until(&handle, "a", |child| {
            child.state == ChildState::Ended
                || (child.restarts == 1 && child.state == ChildState::Running)
        })
        .await;
        assert_eq!(status_of(&handle, "a").unwrap().restarts == 1, restarted, "{policy:?}");
        handle.stop("test over").await;
    };
    check(Policy::Permanent, Order::Stop, true).await;
    check(Policy::Permanent, Order::Panic, true).await;
    check(Policy::Transient, Order::Stop, false).await;
    check(Policy::Transient, Order::Fail, true).await;
    check(Policy::Temporary, Order::Panic, false).await;
    check(Policy::Temporary, Order::Stop, false).await;
}

#[tokio::test]
async fn children_start_in_order_and_stop_in_reverse() {
    let journal = Journal::default();
    let specs = ["a", "b", "c"].map(|name| mortal(name, &journal).0).into();
    let (handle, join) = SupervisorHandle::start(specs).await.unwrap();
    handle.stop("test over").await;
    join.await.unwrap();
    let expected = ["start a", "start b", "start c", "stop c", "stop b", "stop a"];
    assert_eq!(*journal.lock().unwrap(), expected);
}

#[tokio::test]
async fn an_exhausted_budget_stops_the_siblings_and_goes_up_with_its_reason() {
    let journal = Journal::default();
    let (sibling, _) = mortal("sibling", &journal);
    let (spec, current) = mortal("mortal", &journal);
    let budget = RestartBudget { max_restarts: 2, window: Duration::from_secs(600) };
    let inner_children = vec![sibling, spec.budget(budget)];
    let none = RestartBudget { max_restarts: 0, window: Duration::from_secs(1) };
    let inner = ChildSpec::new("inner", move |parent| {
        let children = inner_children.clone();
        async move { SupervisorHandle::start_linked(children, parent).await.map(|h| h.cell()) }
    })
    .budget(none);
    let (outer, join) = SupervisorHandle::start(vec![inner]).await.unwrap();
    let mut status = outer.status();
    for _ in 0..3 {
        let actor = {
            let deadline = tokio::time::Instant::now() + DEADLINE;
            loop {
                if let Some(actor) = current.get() {
                    break actor;
                }
                assert!(tokio::time::Instant::now() < deadline);
                tokio::task::yield_now().await;
            }
        };
        actor.cast(Order::Panic).unwrap();
        // A dead actor's place is empty until the next incarnation fills it.
        let _ = actor.get_cell().wait(Some(DEADLINE)).await;
    }
    tokio::time::timeout(DEADLINE, join).await.expect("the outer one ends too").unwrap();
    let last = status.borrow_and_update()[0].clone();
    let reason = last.last_error.unwrap();
    assert!(reason.contains("mortal is given up, 2 restarts within 600s"), "{reason}");
    assert!(reason.contains("told to panic"), "{reason}");
    assert!(outer.failure().unwrap().contains("inner is given up, 0 restarts"));
    assert_eq!(journal.lock().unwrap().last().unwrap(), "stop sibling");
}

#[tokio::test]
async fn a_failed_first_start_names_the_child_and_stops_the_earlier_ones() {
    let journal = Journal::default();
    let (first, _) = mortal("first", &journal);
    let broken = ChildSpec::new("broken", |_| async { Err::<ActorCell, _>("no such device") });
    let error = SupervisorHandle::start(vec![first, broken]).await.unwrap_err();
    assert!(error.to_string().contains("broken does not start: no such device"), "{error}");
    assert_eq!(*journal.lock().unwrap(), ["start first", "stop first"]);
}

#[tokio::test]
async fn a_restart_that_fails_is_tried_again_until_the_budget_ends() {
    let starts = Arc::new(AtomicUsize::new(0));
    let (journal, counter) = (Journal::default(), Arc::clone(&starts));
    let spec = ChildSpec::new("flaky", move |supervisor| {
        let (nth, journal) = (counter.fetch_add(1, Ordering::SeqCst), Arc::clone(&journal));
        async move {
            if (1..4).contains(&nth) {
                return Err(SpawnErr::StartupFailed("port in use".into()));
            }
            let mortal = Mortal { name: "flaky", journal };
            Actor::spawn_linked(None, mortal, (), supervisor).await.map(|(a, _)| {
                if nth == 0 {
                    a.kill();
                }
                a.get_cell()
            })
        }
    });
    let (handle, _join) = SupervisorHandle::start(vec![spec.backoff(quick())]).await.unwrap();
    until(&handle, "flaky", |child| child.restarts == 1).await;
    assert_eq!(starts.load(Ordering::SeqCst), 5);
    assert_eq!(status_of(&handle, "flaky").unwrap().last_error.unwrap(), "port in use");
    handle.stop("test over").await;
}

#[tokio::test]
async fn a_child_that_will_not_stop_is_killed_after_its_limit() {
    struct Stubborn;
    impl Actor for Stubborn {
        type Msg = Order;
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ActorRef<Order>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
        async fn post_stop(
            &self,
            _: ActorRef<Order>,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            std::future::pending().await
        }
    }
    let journal = Journal::default();
    let (first, _) = mortal("first", &journal);
    let stubborn =
        ChildSpec::actor("stubborn", || (Stubborn, ())).stop_within(Duration::from_millis(20));
    let (handle, join) = SupervisorHandle::start(vec![first, stubborn]).await.unwrap();
    tokio::time::timeout(DEADLINE, handle.stop("test over")).await.expect("in time");
    tokio::time::timeout(DEADLINE, join).await.expect("in time").unwrap();
    assert_eq!(journal.lock().unwrap().last().unwrap(), "stop first");
}

#[tokio::test]
async fn children_come_and_go_while_the_supervisor_runs() {
    let journal = Journal::default();
    let (handle, _join) = SupervisorHandle::start(vec![]).await.unwrap();
    let (spec, current) = mortal("late", &journal);
    handle.add(spec.clone()).await.unwrap();
    assert!(matches!(handle.add(spec).await, Err(AddError::Taken { .. })));
    current.get().unwrap().kill();
    until(&handle, "late", |child| child.restarts == 1).await;
    assert!(handle.remove("late").await);
    assert!(!handle.remove("late").await);
    assert!(current.get().is_none());
    assert!(handle.status().borrow().is_empty());
    let broken = ChildSpec::new("broken", |_| async { Err::<ActorCell, _>("no") });
    assert!(matches!(handle.add(broken).await, Err(AddError::Start(_))));
    handle.stop("test over").await;
    let (spec, _) = mortal("after", &journal);
    assert!(matches!(handle.add(spec).await, Err(AddError::NoAnswer)));
}
