//! The actor: what it carries, what it reports, and how it lives without what it needs. Needs root.

use std::{sync::Arc, time::Duration};

use crate::support::namespaces::{self, Namespace};
use crate::support::objects::{Balanced, addresses, desired};
use dataplane::{
    Desired,
    xdp::{L4Placement, NotCarried, PinFolder, Settings, XdpActor, XdpArguments, detach},
};
use model::{
    AckState, EngineReport, Kind, ObjectKey, Revision,
    listener::{Forwarding, Protocol},
};
use ractor::{Actor as _, ActorRef};
use tokio::sync::{mpsc, watch};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    actor: ActorRef<dataplane::xdp::XdpMessage>,
    desired: watch::Sender<Arc<Desired>>,
    placement: watch::Receiver<Arc<L4Placement>>,
    reports: mpsc::Receiver<EngineReport>,
    arguments: XdpArguments,
}

impl Running {
    async fn start(interfaces: &[&str], pins: &PinFolder) -> Self {
        let (desired, receiver) = watch::channel(Arc::new(Desired::default()));
        let (placement_sender, placement) = watch::channel(Arc::new(L4Placement::undecided()));
        let (report_sender, reports) = mpsc::channel(8);
        let arguments = XdpArguments {
            settings: Settings::new(
                interfaces.iter().map(|name| (*name).to_owned()).collect(),
                pins.clone(),
            ),
            desired: receiver,
            reports: report_sender,
            placement: placement_sender,
            names: watch::Sender::default(),
            loan: watch::Sender::default().subscribe(),
            uses: watch::Sender::default(),
            series: watch::Sender::default(),
            counting: watch::channel(true).1,
            traffic: watch::Sender::default(),
            engine: Arc::default(),
        };
        let (actor, _ended) = XdpActor::spawn(None, XdpActor, arguments.clone()).await.unwrap();
        Self { actor, desired, placement, reports, arguments }
    }

    async fn any_report(&mut self) -> EngineReport {
        tokio::time::timeout(PATIENCE, self.reports.recv()).await.expect("in time").expect("open")
    }

    /// The next answer.
    async fn report(&mut self) -> EngineReport {
        loop {
            let report = self.any_report().await;
            if report.ack != AckState::Pending {
                return report;
            }
        }
    }

    async fn placement(&mut self, revision: u64) -> Arc<L4Placement> {
        let wanted = Some(Revision(revision));
        let waited = self.placement.wait_for(|placement| placement.revision == wanted);
        tokio::time::timeout(PATIENCE, waited).await.expect("in time").expect("open").clone()
    }
}

fn web(endpoint: &str) -> Vec<Balanced> {
    vec![Balanced {
        name: "web",
        protocol: Protocol::Tcp,
        address: None,
        port: 80,
        forwarding: Forwarding::Nat,
        endpoints: addresses(&[endpoint]),
    }]
}

fn key() -> ObjectKey {
    ObjectKey::new(Kind::Listener, "default", "web")
}

/// Runs a test in a namespace with an interface `v0`; the runtime's threads inherit it.
fn in_lab<F: Future<Output = ()>>(test: impl FnOnce(PinFolder) -> F) {
    let namespace = Namespace::new("a");
    namespace.enter();
    for line in [
        "ip link add v0 type veth peer name v1",
        "ip link set v0 up",
        "ip link set v1 up",
        "ip addr add 10.0.0.1/24 dev v0",
    ] {
        namespaces::run(line);
    }
    let pins = PinFolder::new("/sys/fs/bpf", &format!("test-act-{}", std::process::id())).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(pins.clone()));
    drop(runtime);
    detach(&pins).unwrap();
    assert!(!pins.path().exists());
}

#[test]
fn root_a_listener_is_carried_reported_and_taken_over_by_the_next_actor() {
    in_lab(|pins| async move {
        let mut running = Running::start(&["v0"], &pins).await;
        let report = running.any_report().await;
        assert_eq!((report.revision, report.ack), (Revision::ZERO, AckState::Pending));
        running.desired.send_replace(Arc::new(desired(7, &web("10.0.0.2:80"))));
        let report = running.any_report().await;
        assert_eq!((report.revision, report.ack), (Revision(7), AckState::Pending));
        let placement = running.placement(7).await;
        assert!(placement.carries(&key()), "{placement:?}");
        assert_eq!(placement.summary, "v0: native");
        let report = running.report().await;
        assert_eq!((report.revision, &report.ack), (Revision(7), &AckState::Applied), "{report:?}");

        // What XDP cannot do is refused by name, and goes to Envoy.
        running.desired.send_replace(Arc::new(desired(8, &web("10.0.0.1:80"))));
        let placement = running.placement(8).await;
        let address = "10.0.0.1".parse().unwrap();
        assert_eq!(placement.reason(&key()), Some(&NotCarried::EndpointOnNode { address }));
        let report = running.report().await;
        let AckState::Refused { refusals } = &report.ack else { panic!("{report:?}") };
        assert_eq!(refusals[0].object, Some(key()));
        assert_eq!(refusals[0].field, "spec.engine");
        assert_eq!(refusals[0].message, "endpoint 10.0.0.1 is an address of this node");

        // An actor that dies without a word is followed by one with the same arguments.
        running.actor.kill();
        let (next, _ended) =
            XdpActor::spawn(None, XdpActor, running.arguments.clone()).await.unwrap();
        running.desired.send_replace(Arc::new(desired(9, &web("10.0.0.2:80"))));
        assert!(running.placement(9).await.carries(&key()));
        next.stop(None);
    });
}

#[test]
fn root_without_interfaces_what_an_earlier_process_left_is_removed() {
    in_lab(|pins| async move {
        let mut running = Running::start(&["v0"], &pins).await;
        running.desired.send_replace(Arc::new(desired(7, &web("10.0.0.2:80"))));
        running.placement(7).await;
        running.actor.stop_and_wait(None, None).await.unwrap();
        assert!(pins.path().exists());

        let mut bare = Running::start(&[], &pins).await;
        bare.desired.send_replace(Arc::new(desired(8, &web("10.0.0.2:80"))));
        let reason = "XDP is not asked for: no --xdp interface is given";
        assert_eq!(bare.placement(8).await.summary, reason);
        assert!(!pins.path().exists());
        bare.actor.stop(None);
    });
}

#[test]
fn root_a_missing_interface_leaves_the_listener_to_envoy_until_it_comes() {
    in_lab(|pins| async move {
        let mut running = Running::start(&["v0", "late"], &pins).await;
        running.desired.send_replace(Arc::new(desired(3, &web("10.0.0.2:80"))));
        let placement = running.placement(3).await;
        let reason = placement.reason(&key()).expect("not carried").to_string();
        assert_eq!(reason, "interface late: no such interface");
        let report = running.report().await;
        assert!(matches!(report.ack, AckState::Refused { .. }), "{report:?}");

        namespaces::run("ip link add late type veth peer name late1");
        let carried = running.placement.wait_for(|placement| placement.carries(&key()));
        tokio::time::timeout(PATIENCE, carried).await.expect("in time").expect("open");
        assert_eq!(running.report().await.ack, AckState::Applied);
        running.actor.stop(None);
    });
}

#[test]
fn root_without_the_capability_the_reason_is_said_and_the_actor_lives() {
    in_lab(|pins| async move {
        // CAP_BPF, CAP_SYS_ADMIN and CAP_NET_ADMIN are dropped on a thread of its own.
        let outcome = std::thread::spawn(move || {
            drop_capabilities();
            let settings = Settings::new(vec!["v0".to_owned()], pins);
            dataplane::xdp::Engine::open(settings).map(drop)
        })
        .join()
        .unwrap();
        let error = outcome.expect_err("nothing is loaded without capabilities");
        println!("{error}");
    });
}

/// Empties the calling thread's effective capabilities (`capset(2)`).
fn drop_capabilities() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    // `_LINUX_CAPABILITY_VERSION_3` (include/uapi/linux/capability.h).
    let header = Header { version: 0x2008_0522, pid: 0 };
    let nothing = [0u32; 6];
    // SAFETY: both live through the call and have the sizes of version 3.
    let failed = unsafe { libc::syscall(libc::SYS_capset, &raw const header, nothing.as_ptr()) };
    assert_eq!(failed, 0);
}
