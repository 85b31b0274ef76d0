//! The tree of actors of a control process, and the policy of each in one table.
//!
//! | child | what it is | restarts | its death means |
//! |---|---|---|---|
//! | consensus | watches for a fatal error of the store, and for this node's removal | none | the process exits and starts again |
//! | removals | follows who was taken out of the cluster | default | a pause in refusals |
//! | configuration | follows the store, publishes snapshots and events | default | a pause in events |
//! | membership | autopilot, this node's record | default | a pause in promotions |
//! | ledger | tells listeners of acks | default | a pause in events |
//! | warning | says when this node has no Envoy | default | it is said again |
//! | peers | streams of other nodes' ledgers | default | their acks arrive later |
//! | owners | decides, on the leader, who announces which address | default | moves come later |
//! | lease | renews this node's hold on its addresses | default | they are lost if it lasts |
//! | shares | lends, on the leader, shares of the limits that nodes share | default | loans end if it lasts |
//! | rollouts | leads rollouts, on the leader | default | they stand still meanwhile |
//! | rollout events | tells listeners of rollouts | default | a pause in events |
//! | issuing | issues certificates, on the leader | default | they come later |
//! | probes | health of endpoints | default | every endpoint counts as healthy again |
//! | publisher | push sessions | default | data planes reconnect and resume |
//! | certificates | renewal | default | renewal is looked at later |
//! | formation | invites declared peers (then ends) | default | invitations come later |
//! | api | REST, events, metrics | default | a pause; the port stays bound |
//! | dataplane | the data plane's process | patient | its packets go on; it is started again |
//!
//! Default: ten in a minute. A child that uses up its budget ends the process with the reason. The
//! data plane is another process with troubles of its own (a binary that is missing): it is started
//! again for ever, every five seconds at most, and never takes the control process down.

use std::{net::TcpListener, sync::Arc, time::Duration};

use futures::FutureExt;
use quinn::Endpoint;
use runtime::supervision::{ChildSpec, Policy, RestartBudget};

use super::{
    Control, ServeApi, dataplane,
    task::{parting_task, task},
};
use crate::{
    announce,
    formation::founder,
    issuing,
    ledger::warning,
    probes::{Probes, ProbesArguments},
    publisher::{Publisher, Sessions, peers},
    rollout, shares,
};

/// Nothing is restarted in place.
const NONE: RestartBudget = RestartBudget { max_restarts: 0, window: Duration::from_secs(1) };
/// More than the backoff lets through: never used up.
const PATIENT: RestartBudget =
    RestartBudget { max_restarts: 1_000, window: Duration::from_secs(60) };

/// What the tree is built of.
pub(super) struct Materials {
    pub(super) control: Control,
    pub(super) api: ServeApi,
    pub(super) listener: TcpListener,
    pub(super) push: Endpoint,
    pub(super) invitation: Option<Invitation>,
}

/// The founder's duty to invite.
#[derive(Clone)]
pub(super) struct Invitation {
    pub(super) genesis: crate::formation::promise::Genesis,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

/// The children in the order of their start.
pub(super) fn children(materials: Materials) -> Vec<ChildSpec> {
    let Materials { control, api, listener, push, invitation } = materials;
    let mut children = vec![
        consensus(&control).budget(NONE),
        removals(&control),
        configuration(&control),
        membership(&control),
        ledger(&control),
        warning(&control),
        peers(&control),
        owners(&control),
        lease(&control),
        shares(&control),
        rollouts(&control),
        rollout_events(&control),
        issuing(&control),
        probes(&control),
        publisher(&control, push),
        certificates(&control),
    ];
    children.extend(invitation.map(|invitation| formation(&control, invitation)));
    children.push(serve(&control, api, listener));
    if control.settings().dataplane {
        children.push(dataplane::child(control.settings(), &control.node().1).budget(PATIENT));
    }
    children
}

fn consensus(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("consensus", move || {
        let mut failed = control.consensus().failed();
        let control = control.clone();
        async move {
            tokio::select! {
                fatal = failed.wait_for(Option::is_some) => {
                    let fatal = fatal?.clone();
                    Err(fatal.expect("waited for").into())
                }
                () = control.removed().wait_for(control.node().0) => Err(control.removal().into()),
            }
        }
        .boxed()
    })
}

fn removals(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("removals", move || control.removed().clone().follow(control.consensus().clone()).boxed())
}

fn configuration(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("configuration", move || {
        control.configuration().clone().follow(control.event_sender().clone()).boxed()
    })
}

fn membership(control: &Control) -> ChildSpec {
    let membership = control.membership();
    task("membership", move || membership.clone().run().boxed())
}

fn ledger(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("ledger", move || {
        control.ledger().clone().announce(control.event_sender().clone()).boxed()
    })
}

fn warning(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("warning", move || warning::run(control.ledger().clone(), control.node().0).boxed())
}

fn peers(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("peers", move || {
        let identity = control.certificates().live().clone();
        let (ledger, removed) = (control.ledger().clone(), control.removed().clone());
        let (shares, traffic) = (control.shares().clone(), control.traffic().clone());
        let quotas = control.quotas().clone();
        let told = peers::Told { ledger, shares, traffic, quotas, removed };
        peers::run(control.consensus().clone(), identity, told).boxed()
    })
}

fn owners(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("owners", move || {
        let (consensus, ledger) = (control.consensus().clone(), control.ledger().clone());
        announce::decide(consensus, control.configuration().clone(), ledger).boxed()
    })
}

fn lease(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("lease", move || {
        let (consensus, lease) = (control.consensus().clone(), control.lease().clone());
        announce::hold(consensus, control.configuration().clone(), control.node().0, lease).boxed()
    })
}

fn shares(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("shares", move || {
        let (consensus, shares) = (control.consensus().clone(), control.shares().clone());
        shares::run(consensus, control.configuration().clone(), control.node().0, shares).boxed()
    })
}

fn rollouts(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("rollouts", move || rollout::lead(control.clone()).boxed())
}

fn rollout_events(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("rollout events", move || {
        let (consensus, events) = (control.consensus().clone(), control.event_sender().clone());
        rollout::events::tell(consensus, events).boxed()
    })
}

fn issuing(control: &Control) -> ChildSpec {
    let control = control.clone();
    task("issuing", move || {
        issuing::lead(control.clone(), control.configuration().subscribe()).boxed()
    })
}

fn probes(control: &Control) -> ChildSpec {
    let arguments = ProbesArguments {
        configuration: control.configuration().subscribe(),
        results: control.probes().clone(),
        events: control.event_sender().clone(),
    };
    ChildSpec::actor("probes", move || (Probes, arguments.clone()))
}

fn publisher(control: &Control, endpoint: Endpoint) -> ChildSpec {
    let (node, _) = control.node();
    let publisher = Publisher {
        consensus: control.consensus().clone(),
        configuration: control.configuration().clone(),
        ledger: control.ledger().clone(),
        health: control.probes().subscribe(),
        lease: control.lease().subscribe(),
        shares: control.shares().clone(),
        traffic: control.traffic().clone(),
        quotas: control.quotas().clone(),
        certificates: control.certificates().clone(),
        removed: control.removed().clone(),
        cluster: control.identity().cluster().clone(),
        node,
        sessions: Sessions::default(),
    };
    parting_task("publisher", move |stop| publisher.clone().run(endpoint.clone(), stop).boxed())
}

fn certificates(control: &Control) -> ChildSpec {
    let certificates = control.certificates().clone();
    task("certificates", move || certificates.clone().keep_fresh().boxed())
}

fn formation(control: &Control, invitation: Invitation) -> ChildSpec {
    let control = control.clone();
    task("formation", move || {
        let Invitation { genesis, tls } = invitation.clone();
        let identity = control.settings().identity_dir();
        let admissions = control.admissions().clone();
        founder::invite(genesis, tls, control.consensus().clone(), admissions, identity).boxed()
    })
    .policy(Policy::Transient)
}

fn serve(control: &Control, api: ServeApi, listener: TcpListener) -> ChildSpec {
    let control = control.clone();
    let listener = Arc::new(listener);
    parting_task("api", move |stop| {
        let (api, control, listener) = (api.clone(), control.clone(), listener.clone());
        async move {
            let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
            api(control, listener, stop).await
        }
        .boxed()
    })
}
