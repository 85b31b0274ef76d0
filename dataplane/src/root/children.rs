//! The table of the root's children: what each is given, and how it is restarted.
//!
//! `xds` takes the whole L4 placement (`XdsArguments::placement`) and picks what XDP carries.

use std::{
    sync::{Arc, Mutex as Lock},
    time::Duration,
};

use ebpf_common::layout::CONFIG_RECORDS;
use model::{EngineReport, announce::AddressReport, shares::Uses};
use runtime::{
    push::PlaneInfo,
    supervision::{ChildSpec, Current, RestartBudget},
    tls::SavedIdentity,
};
use tokio::sync::{Mutex, mpsc, watch};

use super::{RunError, Status};
use crate::{
    acme::Challenges,
    admin::{AdminActor, AdminArguments, Pages},
    announce::{AnnounceActor, AnnounceArguments, Granted},
    certificates::Certificates,
    config::Config,
    desired::{Desired, DesiredReceiver},
    detach::pins_of,
    envoy::{self, EnvoyActor, EnvoyArguments, EnvoyMessage, Life},
    l7,
    lkg::{RecorderActor, RecorderArguments, RecorderStatus, RefusalStore, Store},
    modules::Modules,
    quotas::Quotas,
    shares::Loan,
    subscriber::{FORGET_AFTER, PushStatus, Reports, SubscriberActor, SubscriberArguments},
    xdp::{
        self, L4Placement, XdpActor, XdpArguments,
        actor::SharedEngine,
        flows::{FlowHub, FlowNames, FlowsActor, FlowsArguments},
        traffic::Series,
    },
    xds::{CrashLimits, Ledger, Standing, Transferred, XdsActor, XdsArguments},
};

/// More restarts in a minute than the growing waits let happen: an Envoy that dies over and over is
/// tried for ever, because ending the data plane with it would end L4 and the way in for the fix.
const ENVOY_BUDGET: RestartBudget =
    RestartBudget { max_restarts: 30, window: Duration::from_secs(60) };

/// Time for Envoy to end after its drain, with that of its actor.
const AFTER_DRAIN: Duration = Duration::from_secs(5);

/// What the children are made of.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) identity: SavedIdentity,
    pub(super) plane: PlaneInfo,
    pub(super) desired: Arc<watch::Sender<Arc<Desired>>>,
    pub(super) desired_receiver: DesiredReceiver,
    pub(super) certificates: Certificates,
    pub(super) modules: Modules,
    pub(super) push: Arc<watch::Sender<PushStatus>>,
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) refusals: Arc<Mutex<RefusalStore>>,
    pub(super) ledger: Arc<Lock<Ledger>>,
    pub(super) standing: watch::Sender<Arc<Standing>>,
    pub(super) recorder: watch::Sender<RecorderStatus>,
    pub(super) placement: watch::Sender<Arc<L4Placement>>,
    pub(super) placement_receiver: watch::Receiver<Arc<L4Placement>>,
    pub(super) names: watch::Sender<FlowNames>,
    pub(super) challenges: watch::Sender<Arc<Challenges>>,
    pub(super) quotas: Quotas,
    pub(super) loan: Arc<watch::Sender<Option<Loan>>>,
    pub(super) uses: watch::Sender<Arc<Uses>>,
    pub(super) series: watch::Sender<Series>,
    pub(super) flows: FlowHub,
    pub(super) engine: SharedEngine,
    pub(super) reports: mpsc::Sender<EngineReport>,
    pub(super) newest: watch::Receiver<Reports>,
    pub(super) granted: Arc<watch::Sender<Option<Granted>>>,
    pub(super) addresses: Arc<watch::Sender<Arc<Vec<AddressReport>>>>,
    pub(super) life: Life,
    pub(super) envoy: Current<EnvoyMessage>,
    pub(super) status: Arc<Status>,
}

/// The children in the order of their start: engines before the one that feeds them.
pub(super) fn specs(parts: Parts) -> Result<Vec<ChildSpec>, RunError> {
    Ok(vec![
        xdp(&parts)?,
        flows(&parts)?,
        xds(&parts),
        envoy_child(&parts),
        subscriber(&parts),
        announce_child(&parts),
        recorder(&parts),
        admin(&parts),
    ])
}

fn xdp(parts: &Parts) -> Result<ChildSpec, RunError> {
    let config = &parts.config;
    let identity = parts.identity.live().identity();
    let settings = xdp::Settings {
        interfaces: config.interfaces.clone(),
        pins: pins_of(&identity)?,
        addresses: xdp::addresses::Fixed {
            source_v4: config.source_v4.map(Into::into),
            source_v6: config.source_v6.map(Into::into),
            listen: config.listen_address,
        },
        flows: config.flows,
        connections: config.connections,
        sampling: config.flow_sampling,
        worker_priority: config.worker_priority,
        records: CONFIG_RECORDS as u32,
    };
    let arguments = XdpArguments {
        settings,
        desired: parts.desired_receiver.clone(),
        reports: parts.reports.clone(),
        placement: parts.placement.clone(),
        names: parts.names.clone(),
        loan: parts.loan.subscribe(),
        uses: parts.uses.clone(),
        series: parts.series.clone(),
        counting: parts.life.counting.subscribe(),
        traffic: parts.life.traffic.clone(),
        engine: Arc::clone(&parts.engine),
    };
    Ok(ChildSpec::actor("xdp", move || (XdpActor, arguments.clone())))
}

fn flows(parts: &Parts) -> Result<ChildSpec, RunError> {
    let arguments = FlowsArguments {
        pins: pins_of(&parts.identity.live().identity())?,
        names: parts.names.subscribe(),
        hub: parts.flows.clone(),
    };
    Ok(ChildSpec::actor("flows", move || (FlowsActor, arguments.clone())))
}

fn xds(parts: &Parts) -> ChildSpec {
    let desired = parts.desired_receiver.clone();
    let placement = parts.placement_receiver.clone();
    let reports = parts.reports.clone();
    let socket = parts.config.xds_socket();
    let envoy_admin = envoy::admin_socket(&parts.config.run_dir);
    let settings = l7_settings(&parts.config);
    let (challenges, quotas) = (parts.challenges.subscribe(), parts.quotas.clone());
    let (ledger, standing) = (Arc::clone(&parts.ledger), parts.standing.clone());
    let transferred = Arc::<Transferred>::default();
    let (leading, crashes) = (parts.life.leading.subscribe(), parts.life.crashes.subscribe());
    ChildSpec::actor("xds", move || {
        let arguments = XdsArguments {
            desired: desired.clone(),
            placement: placement.clone(),
            reports: reports.clone(),
            socket: socket.clone(),
            envoy_admin: envoy_admin.clone(),
            challenges: challenges.clone(),
            quotas: quotas.clone(),
            settings: settings.clone(),
            ledger: Arc::clone(&ledger),
            standing: standing.clone(),
            transferred: Arc::clone(&transferred),
            leading: leading.clone(),
            crashes: crashes.clone(),
            crash_limits: CrashLimits::default(),
        };
        (XdsActor, arguments)
    })
}

/// Returns what the translation for Envoy has to know of this node.
pub(super) fn l7_settings(config: &Config) -> l7::Settings {
    l7::Settings {
        certificates: config.certificates_dir(),
        modules: config.modules_dir(),
        ..l7::Settings::of_host(config.any_address())
    }
}

fn envoy_child(parts: &Parts) -> ChildSpec {
    let config = &parts.config;
    let identity = parts.identity.live().identity();
    let arguments = EnvoyArguments {
        binary: config.envoy.clone(),
        run_dir: config.run_dir.clone(),
        xds_socket: config.xds_socket(),
        node: format!("node-{}", identity.node()),
        cluster: identity.cluster().to_string(),
        concurrency: config.envoy_concurrency,
        memory: config.envoy_memory,
        drain: config.drain,
        reports: parts.reports.clone(),
        life: parts.life.clone(),
    };
    let current = parts.envoy.clone();
    let make = move || (EnvoyActor, arguments.clone());
    ChildSpec::observed_actor("envoy", make, move |actor| current.set(actor))
        .budget(ENVOY_BUDGET)
        .stop_within(config.drain + AFTER_DRAIN)
}

fn subscriber(parts: &Parts) -> ChildSpec {
    let arguments = SubscriberArguments {
        identity: parts.identity.clone(),
        control: parts.config.control.clone(),
        plane: parts.plane.clone(),
        certificates: parts.certificates.clone(),
        forget_after: FORGET_AFTER,
        modules: parts.modules.clone(),
        challenges: parts.challenges.clone(),
        quotas: parts.quotas.clone(),
        desired: Arc::clone(&parts.desired),
        reports: parts.newest.clone(),
        granted: Arc::clone(&parts.granted),
        addresses: parts.addresses.subscribe(),
        loan: Arc::clone(&parts.loan),
        uses: parts.uses.subscribe(),
        counting: parts.life.counting.clone(),
        traffic: parts.life.traffic.subscribe(),
        status: Arc::clone(&parts.push),
    };
    ChildSpec::actor("subscriber", move || (SubscriberActor, arguments.clone()))
}

/// Stops before the subscriber, by which it tells that it leaves.
fn announce_child(parts: &Parts) -> ChildSpec {
    let arguments = AnnounceArguments {
        interfaces: parts.config.interfaces.clone(),
        desired: parts.desired_receiver.clone(),
        placement: parts.placement_receiver.clone(),
        reports: parts.newest.clone(),
        granted: parts.granted.subscribe(),
        told: Arc::clone(&parts.addresses),
        hand_over: parts.life.hand_over.clone(),
    };
    ChildSpec::actor("announce", move || (AnnounceActor, arguments.clone()))
}

fn recorder(parts: &Parts) -> ChildSpec {
    let arguments = RecorderArguments {
        store: Arc::clone(&parts.store),
        refusals: Arc::clone(&parts.refusals),
        desired: parts.desired_receiver.clone(),
        standing: parts.standing.subscribe(),
        status: parts.recorder.clone(),
    };
    ChildSpec::actor("recorder", move || (RecorderActor, arguments.clone()))
}

fn admin(parts: &Parts) -> ChildSpec {
    let arguments = AdminArguments {
        socket: parts.config.admin_socket(),
        pages: Arc::clone(&parts.status) as Arc<dyn Pages>,
    };
    ChildSpec::actor("admin", move || (AdminActor, arguments.clone()))
}
