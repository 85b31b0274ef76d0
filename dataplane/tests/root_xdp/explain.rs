//! What is explained is what happens: the program apart against the one that runs. Needs root.

use std::mem::offset_of;

use crate::support::bench::{Bench, DROP, PASS, TX};
use crate::support::objects::{self, Balanced, addresses, desired_with};
use crate::support::packets::{ACK, FIN, Frame, RST, SYN, TCP, UDP};
use dataplane::xdp::explain::{Question, apart::Apart, explain};
use ebpf_common::{
    layout::{CLAIMS_MAP, CONFIG_MAP, CONNECTIONS_MAP, ENDPOINTS_MAP},
    qos::{SPENT_MAP, Spent},
};
use model::{
    Revision,
    cluster::NodeId,
    explain::{Decision, ExplainRequest, Explanation},
    flow::Verdict,
    listener::{Forwarding, Protocol},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// Packets of the property, over as many configurations.
const PACKETS: usize = 10_000;
const CONFIGURATIONS: usize = 20;
const SEED: u64 = 0x0065_7870_6c61_696e;
/// XDP verdict (include/uapi/linux/bpf.h).
const REDIRECT: u32 = 4;

const FILTERS: [&str; 3] = [
    "",
    "
kind: PacketFilter
metadata: { name: edge }
spec:
  rules:
    - { action: Allow, sources: [10.0.0.100], protocol: TCP, ports: [80-81] }
    - { action: Deny, sources: [10.0.0.100, 'fd00::100'], ports: [82, 53] }
",
    "
kind: PrefixList
metadata: { name: some }
spec: { prefixes: [10.0.1.0/24, 'fd00:1::/64'] }
---
kind: PacketFilter
metadata: { name: lists }
spec: { rules: [{ action: Deny, sourceLists: [{ name: some }] }] }
",
];

/// Marks what it limits, and lets nothing that is larger than a kilobyte through.
const POLICY: &str = "
kind: QoSPolicy
metadata: { name: gold }
spec:
  listeners: [{ name: s0 }, { name: s1 }]
  ingress: { bandwidthMbps: 100000 }
  dscp: AF41
  excess: Drop
";

const NAMES: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];
const PORTS: [u16; 5] = [80, 81, 82, 53, 443];

fn configuration(random: &mut StdRng) -> (Vec<Balanced>, String) {
    let all = NAMES.into_iter().zip(PORTS).map(|(name, port)| {
        let forwarding =
            [Forwarding::Nat, Forwarding::Nat, Forwarding::L2, Forwarding::Ipip, Forwarding::Gue];
        let forwarding = *forwarding.choose(random).unwrap();
        let v6 = random.random_bool(0.3);
        let count = random.random_range(1..=4);
        let to = if forwarding == Forwarding::Nat { 8_000 } else { port };
        let endpoints = (21..21 + count).map(|n| {
            // The last one has no neighbour.
            let n = if random.random_bool(0.1) { 29 } else { n };
            if v6 { format!("[fd00::{n}]:{to}") } else { format!("10.0.0.{n}:{to}") }
        });
        let endpoints: Vec<String> = endpoints.collect();
        Balanced {
            name,
            protocol: if random.random_bool(0.3) { Protocol::Udp } else { Protocol::Tcp },
            address: Some(if v6 { "fd00:9::9" } else { "192.0.2.10" }),
            port,
            forwarding,
            endpoints: addresses(&endpoints.iter().map(String::as_str).collect::<Vec<_>>()),
        }
    });
    let all = all.collect();
    let filter = *FILTERS.choose(random).unwrap();
    let policy = if random.random_bool(0.5) { POLICY } else { "" };
    let documents = [filter, policy].into_iter().filter(|text| !text.is_empty());
    (all, documents.collect::<Vec<_>>().join("---\n"))
}

/// Returns a frame, and whether it is whole.
fn frame(random: &mut StdRng, answers: &[Frame]) -> (Vec<u8>, bool) {
    if random.random_bool(0.2) && !answers.is_empty() {
        let mut answer = answers.choose(random).unwrap().clone();
        if answer.protocol == TCP {
            answer.tcp_flags = *[ACK, ACK, ACK | SYN, ACK | FIN, RST].choose(random).unwrap();
        }
        return (answer.bytes(), false);
    }
    let v6 = random.random_bool(0.3);
    let protocol = if random.random_bool(0.3) { UDP } else { TCP };
    let host = *[100u16, 100, 101, 102].choose(random).unwrap();
    let from = 40_000 + random.random_range(0..20u16);
    let to = *[80, 81, 82, 53, 443, 9, 61_500].choose(random).unwrap();
    let (source, destination) = if v6 {
        (format!("[fd00::{host}]:{from}"), format!("[fd00:9::9]:{to}"))
    } else {
        let net = random.random_range(0..2);
        (format!("10.0.{net}.{host}:{from}"), format!("192.0.2.10:{to}"))
    };
    let mut frame = Frame::new(protocol, &source, &destination);
    if protocol == TCP {
        frame.tcp_flags = *[SYN, ACK, ACK, ACK | FIN, RST].choose(random).unwrap();
    }
    if random.random_bool(0.05) {
        frame.hop_limit = 1;
    }
    if random.random_bool(0.05) {
        // Too large for a tunnel.
        frame.payload = vec![7; if v6 { 1_430 } else { 1_450 }];
    }
    let mut bytes = frame.bytes();
    let whole = bytes.clone();
    if random.random_bool(0.1) {
        // Ethertype, version, protocol, fragment, ports: whatever it hits.
        let at = random.random_range(12..54.min(bytes.len()));
        bytes[at] = random.random();
    }
    if random.random_bool(0.03) {
        bytes.truncate(random.random_range(14..bytes.len()));
    }
    let is_whole = bytes == whole;
    (bytes, is_whole)
}

/// The answer of the endpoint to a frame that was translated for it, of IPv4.
fn answer_to(bytes: &[u8], whole: bool, verdict: u32, after: &[u8]) -> Option<Frame> {
    let is_error = after.get(12..14) == Some(&[8, 0]) && after.get(23) == Some(&1);
    let translated = after.get(26..30) == Some(&[10, 0, 0, 1]) && !is_error;
    let answers = whole && verdict == TX && translated && after.len() == bytes.len();
    answers.then(|| Frame::read(after).answer(b"an answer"))
}

/// The endpoint of a frame that was sent on, by the frame alone: of the neighbour that has it.
fn endpoint_of(sent: &[u8]) -> u8 {
    sent[5]
}

#[test]
fn root_ten_thousand_random_packets_become_what_is_explained() {
    pin_to_this_cpu();
    let mut random = StdRng::seed_from_u64(SEED);
    let mut bench = Bench::with(&[], |settings| {
        settings.flows = 1 << 10;
        settings.connections = 1 << 10;
    });
    let mut apart = Apart::like(&bench.engine.likeness()).unwrap();
    let ifindex = bench.ifindex;
    let mut seen = std::collections::BTreeMap::<(u32, Option<String>), u32>::new();
    let mut answers = Vec::new();
    for revision in 0..CONFIGURATIONS {
        let (all, documents) = configuration(&mut random);
        let desired = desired_with(revision as u64 + 2, &all, &documents);
        bench.engine.reconcile(&desired).unwrap();
        for _ in 0..PACKETS / CONFIGURATIONS {
            // What only the program that runs has seen, and what is explained must be copied of.
            for _ in 0..2 {
                let (bytes, whole) = frame(&mut random, &answers);
                let (verdict, after) = bench.run(&bytes);
                answers.extend(answer_to(&bytes, whole, verdict, &after));
            }
            let (bytes, whole) = frame(&mut random, &answers);
            apart.follow(&mut bench.engine, &bytes).unwrap();
            let run = apart.run(&bytes, ifindex).unwrap();
            let before = bench.engine.statistics().unwrap();
            let (verdict, after) = bench.run(&bytes);
            let now = bench.engine.statistics().unwrap();
            let told = dataplane::xdp::flows::resolve::reason(run.event.reason);
            // The namespace's kernel sends packets of its own, which are counted too.
            if let Some(told) = told {
                assert!(now.count(told) > before.count(told), "{told:?} of {bytes:02x?}");
            }
            assert_eq!(u32::from(run.event.verdict), verdict, "of {bytes:02x?}");
            assert_eq!(run.frame, after, "of {bytes:02x?}");
            let is_error = after.get(12..14) == Some(&[8, 0]) && after.get(23) == Some(&1);
            if run.event.to.is_v4() && run.event.reply == 0 && verdict == TX && !is_error {
                let last = run.event.to.words[3].to_ne_bytes()[3];
                assert_eq!(last, endpoint_of(&after), "the endpoint of {bytes:02x?}");
            }
            *seen.entry((verdict, told.map(|it| it.name().to_owned()))).or_default() += 1;
            answers.extend(answer_to(&bytes, whole, verdict, &after));
        }
    }
    println!("{seen:?}");
    // What is compared is no monotony.
    let found = |verdict, reason: Option<&str>| {
        seen.get(&(verdict, reason.map(str::to_owned))).copied().unwrap_or_default()
    };
    for (verdict, reason, least) in [
        (TX, None, 2_000),
        (DROP, Some("filtered"), 50),
        (DROP, Some("hop_limit"), 20),
        (DROP, Some("no_neighbour"), 20),
        (PASS, Some("not_service"), 500),
        (PASS, Some("malformed"), 20),
    ] {
        assert!(found(verdict, reason) >= least, "{reason:?} of {seen:?}");
    }
    assert_eq!(found(REDIRECT, None), 0, "one interface");
    assert!(answers.len() > 100, "{} connections were answered", answers.len());
}

/// Keeps the thread on one CPU, whose statistics and credit both programs then use.
fn pin_to_this_cpu() {
    let mut set = nix::sched::CpuSet::new();
    set.set(0).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).unwrap();
}

fn services() -> Vec<Balanced> {
    vec![Balanced {
        name: "web",
        protocol: Protocol::Tcp,
        address: Some("192.0.2.10"),
        port: 80,
        forwarding: Forwarding::Nat,
        endpoints: addresses(&["10.0.0.21:8000", "10.0.0.22:8000"]),
    }]
}

fn ask(bench: &mut Bench, request: &str, kept: Option<model::Snapshot>) -> Explanation {
    let request: ExplainRequest = serde_json::from_str(request).unwrap();
    let question = Question { request, kept, node: NodeId(7) };
    let desired = objects::desired(9, &[]);
    explain(&mut bench.engine, &desired, &question).unwrap()
}

fn said<'a>(answer: &'a Explanation, step: &str) -> &'a Decision {
    let found = answer.decisions.iter().find(|it| it.step == step);
    found.unwrap_or_else(|| panic!("no {step} in {answer:#?}"))
}

#[test]
fn root_each_decision_is_said_with_its_object_now_and_at_a_kept_revision() {
    let mut bench = Bench::new(&services());
    let filter = "
kind: PacketFilter
metadata: { name: edge }
spec: { rules: [{ action: Deny, sources: [10.0.0.101] }, { action: Allow, ports: [80], protocol: TCP }] }
";
    bench.engine.reconcile(&desired_with(2, &services(), filter)).unwrap();
    let request = Frame::new(TCP, "10.0.0.100:40000", "192.0.2.10:80");
    let (verdict, sent) = bench.run(&request.bytes());
    assert_eq!(verdict, TX);
    let endpoint = Frame::read(&sent).destination;

    let text = r#"{"from": "10.0.0.100:40000", "to": "192.0.2.10:80", "tcpFlags": ["ACK"]}"#;
    let answer = ask(&mut bench, text, None);
    assert_eq!((answer.node, answer.revision, answer.live), (NodeId(7), Revision(2), true));
    assert_eq!((answer.verdict, answer.endpoint), (Verdict::Forwarded, Some(endpoint)));
    let filter = said(&answer, "filter");
    assert_eq!(filter.object, Some("PacketFilter/default/edge".parse().unwrap()));
    assert!(filter.said.starts_with("rules[1]") && filter.said.contains("allows"), "{filter:?}");
    let listener = said(&answer, "listener").object.clone();
    assert_eq!(listener, Some("Listener/default/web".parse().unwrap()));
    let service = said(&answer, "endpoint").object.clone();
    assert_eq!(service, Some("Service/default/web".parse().unwrap()));
    assert!(said(&answer, "connection").said.contains("known"), "{answer:#?}");
    assert!(said(&answer, "forwarding").said.contains(&endpoint.to_string()), "{answer:#?}");
    assert_eq!(said(&answer, "verdict").said, "forwarded");

    // Another port begins one, and a kept revision knows no connection at all.
    let other = text.replace("40000", "40001").replace("ACK", "SYN");
    let answer = ask(&mut bench, &other, None);
    assert!(said(&answer, "connection").said.contains("a new one begins"), "{answer:#?}");
    let kept = objects::desired(1, &services()).config;
    let answer = ask(&mut bench, text, Some(kept));
    assert_eq!((answer.revision, answer.live), (Revision(1), false));
    assert!(answer.decisions.iter().all(|it| it.step != "filter"), "there was none: {answer:#?}");
    assert!(said(&answer, "connection").said.contains("none is known"), "{answer:#?}");

    let answer = ask(&mut bench, &text.replace(".100:", ".101:"), None);
    assert_eq!((answer.verdict, answer.reason.as_deref()), (Verdict::Dropped, Some("filtered")));
    assert!(said(&answer, "filter").said.contains("denies"), "{answer:#?}");
    assert_eq!(answer.sent, None);
    let answer = ask(&mut bench, &text.replace(":80", ":81"), None);
    assert_eq!((answer.verdict, answer.reason.as_deref()), (Verdict::Passed, Some("not_service")));
    assert_eq!(said(&answer, "listener").object, None);
}

#[test]
fn root_nothing_of_what_runs_changes_by_a_question() {
    let mut bench = Bench::new(&services());
    let all = |bench: &mut Bench| {
        let names = [CONFIG_MAP, CLAIMS_MAP, CONNECTIONS_MAP, ENDPOINTS_MAP, SPENT_MAP];
        let maps = names.map(|name| {
            let records = bench.engine.program().mapping(name).unwrap();
            records.records().to_vec()
        });
        let statistics = bench.engine.statistics().unwrap();
        // What the kernel of the namespace sends by itself is passed, and counted.
        let (forwarded, listeners) = (statistics.forwarded(), statistics.listeners);
        (maps, forwarded, listeners, bench.engine.generation())
    };
    bench.run(&Frame::new(TCP, "10.0.0.100:40000", "192.0.2.10:80").bytes());
    let before = all(&mut bench);
    let pins = std::fs::read_dir(bench.pins.path()).unwrap().count();
    let text = r#"{"from": "10.0.0.100:40001", "to": "192.0.2.10:80"}"#;
    ask(&mut bench, text, None);
    ask(&mut bench, text, Some(objects::desired(7, &[]).config));
    assert!(all(&mut bench) == before, "something has changed");
    assert_eq!(std::fs::read_dir(bench.pins.path()).unwrap().count(), pins);
}

#[test]
fn root_a_packet_that_would_wait_is_said_to() {
    let mut bench = Bench::new(&services());
    let policy = "
kind: QoSPolicy
metadata: { name: gold }
spec: { listeners: [{ name: web }], ingress: { bandwidthMbps: 1 } }
";
    bench.engine.reconcile(&desired_with(2, &services(), policy)).unwrap();
    let text = r#"{"from": "10.0.0.100:40000", "to": "192.0.2.10:80"}"#;
    let answer = ask(&mut bench, text, None);
    assert_eq!(said(&answer, "policy").said, "is within the limits");
    // As if another one waited.
    let mut spent = bench.engine.program().spent().unwrap();
    for entry in 0..spent.len() {
        spent.store_word(entry, offset_of!(Spent, pending) / size_of::<u32>(), 1);
    }
    let answer = ask(&mut bench, text, None);
    let policy = said(&answer, "policy");
    assert!(policy.said.contains("it waits in a worker"), "{answer:#?}");
    assert_eq!(policy.object, Some("QoSPolicy/default/gold".parse().unwrap()));
    assert_eq!(answer.reason.as_deref(), Some("over_limit"));
}
