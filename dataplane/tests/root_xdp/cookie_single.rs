//! SYN cookies, on single segments run by the kernel: a client's handshake with the node and the node's
//! with the backend, segment by segment. Needs root.

use ebpf_common::{layout::stat, verdict::Reason};

use crate::support::{
    bench::{Bench, DROP, TX},
    icmp,
    objects::desired_with,
    packets::{ACK, FIN, RST, SYN},
    segments::Segment,
};

const LISTENERS: &str = "
kind: Listener
metadata: { name: shop }
spec: { protocol: TCP, port: 80, engine: xdp, synCookies: Always }
---
kind: TCPRoute
metadata: { name: shop }
spec: { listeners: [{ name: shop }], backends: [{ service: { name: shop } }] }
---
kind: Service
metadata: { name: shop }
spec:
  endpoints: [{ address: 10.0.0.21, port: 8000 }, { address: 'fd00::21', port: 8000 }]
";

/// Client and listener, by family.
const ENDS: [(&str, &str); 2] =
    [("10.0.0.100:40000", "10.0.0.1:80"), ("[fd00::100]:40000", "[fd00::1]:80")];
/// The client's and the backend's first numbers: such that all that follow wrap.
const CLIENT: u32 = u32::MAX - 3;
const BACKEND: u32 = u32::MAX - 1;

fn bench() -> Bench {
    let mut bench = Bench::new(&[]);
    bench.engine.reconcile(&desired_with(1, &[], LISTENERS)).unwrap();
    bench
}

fn word(bench: &mut Bench, word: usize) -> u64 {
    bench.engine.statistics().unwrap().words[word]
}

fn count(bench: &mut Bench, reason: Reason) -> u64 {
    bench.engine.statistics().unwrap().count(reason)
}

#[track_caller]
fn send(bench: &mut Bench, segment: &Segment) -> Segment {
    let (verdict, bytes) = bench.run(&segment.bytes());
    assert_eq!(verdict, TX, "{segment:?}");
    Segment::read(&bytes)
}

#[track_caller]
fn refuse(bench: &mut Bench, segment: &Segment, reason: Reason) {
    let before = count(bench, reason);
    assert_eq!(bench.run(&segment.bytes()).0, DROP, "{segment:?}");
    assert_eq!(count(bench, reason), before + 1, "{segment:?}");
}

/// Sends a SYN; returns it and the answer.
fn ask(bench: &mut Bench, (client, listener): (&str, &str)) -> (Segment, Segment) {
    let syn = Segment::syn(client, listener, CLIENT, 1_460);
    let answer = send(bench, &syn);
    (syn, answer)
}

/// Does both handshakes; returns the client's last segment, and the SYN to the backend.
fn open(bench: &mut Bench, ends: (&str, &str)) -> (Segment, Segment) {
    let (_, answer) = ask(bench, ends);
    let ack = answer.answer(CLIENT.wrapping_add(1), ACK, b"");
    let syn = send(bench, &ack);
    send(bench, &syn.answer(BACKEND, SYN, b""));
    (ack, syn)
}

#[test]
fn root_a_syn_is_answered_by_a_cookie_and_nothing_is_kept_of_it() {
    let mut bench = bench();
    let mut seen = Vec::new();
    for (v6, ends) in ENDS.into_iter().enumerate() {
        let (syn, answer) = ask(&mut bench, ends);
        assert_eq!(answer.ethernet, (syn.ethernet.1, syn.ethernet.0));
        assert_eq!((answer.source, answer.destination), (syn.destination, syn.source));
        assert_eq!((answer.flags, answer.window), (SYN | ACK, 0));
        assert_eq!(answer.acknowledgement, CLIENT.wrapping_add(1));
        let size = [1_460u16, 1_440][v6];
        assert_eq!(answer.options, [&[2, 4][..], &size.to_be_bytes()].concat());
        assert!(answer.payload.is_empty());
        // A SYN that comes again has the same answer, another another.
        assert_eq!(send(&mut bench, &syn).sequence, answer.sequence);
        for other in [
            Segment { sequence: 7, ..syn.clone() },
            Segment::syn(&ends.0.replace("40000", "40001"), ends.1, CLIENT, 1_460),
            Segment::syn(ends.0, ends.1, CLIENT, 1_300),
        ] {
            assert_ne!(send(&mut bench, &other).sequence, answer.sequence, "{other:?}");
        }
        seen.push(answer.sequence);
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(word(&mut bench, stat::COOKIES_SENT), 2 * 5);
    let statistics = bench.engine.statistics().unwrap();
    assert_eq!(statistics.listeners[0].words, [0; 5]);
}

#[test]
fn root_the_largest_segment_of_a_client_reaches_the_backend() {
    let mut bench = bench();
    for (n, said, known) in
        [(0u16, 1_460u16, 1_460u16), (1, 1_400, 1_380), (2, 536, 536), (3, 8_960, 8_940)]
    {
        let client = format!("10.0.0.100:{}", 40_000 + n);
        let answer = send(&mut bench, &Segment::syn(&client, ENDS[0].1, 9, said));
        assert_eq!(answer.options, [&[2, 4][..], &known.min(1_460).to_be_bytes()].concat());
        let syn = send(&mut bench, &answer.answer(10, ACK, b""));
        assert_eq!(syn.options, [&[2, 4][..], &known.to_be_bytes()].concat());
    }
    // None is said: what RFC 9293 takes for granted.
    let bare = Segment { options: Vec::new(), ..Segment::syn("10.0.0.100:41000", ENDS[0].1, 9, 0) };
    assert_eq!(send(&mut bench, &bare).options, [2, 4, 2, 24]);
}

#[test]
fn root_both_sides_of_a_spliced_connection_see_their_own_numbers() {
    let mut bench = bench();
    for ends in ENDS {
        let (_, answer) = ask(&mut bench, ends);
        let cookie = answer.sequence;
        let next = CLIENT.wrapping_add(1);
        let ack = Segment { window: 777, ..answer.answer(next, ACK, b"") };
        let syn = send(&mut bench, &ack);
        let node = if ends.0.starts_with('[') { "fd00::1" } else { "10.0.0.1" };
        assert_eq!(syn.source.ip(), node.parse::<std::net::IpAddr>().unwrap());
        assert!(syn.source.port() >= 61_000 && syn.destination.port() == 8_000, "{syn:?}");
        assert_eq!(syn.ethernet, ([2, 0, 0, 0, 0, 21], [2, 0, 0, 0, 0, 1]));
        assert_eq!((syn.sequence, syn.acknowledgement, syn.flags), (CLIENT, 0, SYN));
        assert_eq!((syn.window, syn.payload.len()), (777, 0));

        let opened = Segment { window: 1_234, ..syn.answer(BACKEND, SYN, b"") };
        let poke = send(&mut bench, &opened);
        assert_eq!((poke.source, poke.destination), (ack.destination, ack.source));
        assert_eq!(poke.ethernet, (ack.ethernet.1, ack.ethernet.0));
        assert_eq!((poke.sequence, poke.acknowledgement, poke.flags), (cookie, next, ACK));
        assert_eq!((poke.window, poke.payload.as_slice()), (1_234, &[0][..]));
        // A SYN-ACK that comes again becomes the same.
        assert_eq!(send(&mut bench, &opened), poke);

        let request = Segment { payload: b"request".to_vec(), ..ack.clone() };
        let there = send(&mut bench, &request);
        assert_eq!((there.source, there.destination), (syn.source, syn.destination));
        assert_eq!((there.sequence, there.acknowledgement), (next, BACKEND.wrapping_add(1)));
        assert_eq!((there.payload.as_slice(), there.hop_limit), (&b"request"[..], 63));

        let reply = there.answer(BACKEND.wrapping_add(1), ACK, b"a reply");
        let back = send(&mut bench, &reply);
        assert_eq!((back.source, back.destination), (ack.destination, ack.source));
        assert_eq!(back.sequence, cookie.wrapping_add(1));
        assert_eq!(back.acknowledgement, next.wrapping_add(7));
        assert_eq!(back.payload, b"a reply");

        let close = back.answer(next.wrapping_add(7), FIN, b"");
        let there = send(&mut bench, &close);
        assert_eq!(there.acknowledgement, BACKEND.wrapping_add(8));
        // One without an acknowledgement has none to change.
        let reset = Segment { flags: RST, acknowledgement: 0, ..close };
        assert_eq!(send(&mut bench, &reset).acknowledgement, 0);
    }
    assert_eq!(word(&mut bench, stat::COOKIES_ACCEPTED), 2);
    assert_eq!(bench.engine.statistics().unwrap().listeners[0].words[4], 2);
}

#[test]
fn root_only_who_got_the_cookie_begins_a_connection() {
    let mut bench = bench();
    for ends in ENDS {
        let (_, answer) = ask(&mut bench, ends);
        let ack = answer.answer(CLIENT.wrapping_add(1), ACK, b"");
        let mut other_client = ack.clone();
        other_client.source.set_port(40_001);
        for made_up in [
            other_client,
            Segment { acknowledgement: ack.acknowledgement ^ 1 << 20, ..ack.clone() },
            Segment { acknowledgement: ack.acknowledgement ^ 1 << 31, ..ack.clone() },
            Segment { sequence: ack.sequence.wrapping_add(9), ..ack.clone() },
            Segment { flags: RST | ACK, ..ack.clone() },
            Segment { flags: SYN | ACK, ..ack.clone() },
            Segment { flags: RST, ..ack.clone() },
            Segment { flags: FIN, ..ack.clone() },
        ] {
            refuse(&mut bench, &made_up, Reason::CookieRefused);
        }
        send(&mut bench, &ack);
    }
    assert_eq!(word(&mut bench, stat::COOKIES_ACCEPTED), 2);
}

#[test]
fn root_a_lost_syn_goes_out_again_when_the_client_probes_its_window() {
    let mut bench = bench();
    for ends in ENDS {
        let (_, answer) = ask(&mut bench, ends);
        // The first answer was lost, and the probe is what is seen of it.
        let ack = answer.answer(CLIENT.wrapping_add(1), ACK, b"");
        let probe = Segment { sequence: CLIENT, ..ack.clone() };
        let syn = send(&mut bench, &probe);
        assert_eq!(syn.sequence, CLIENT);
        for again in [&probe, &ack, &Segment { payload: b"early".to_vec(), ..ack.clone() }] {
            assert_eq!(send(&mut bench, again), syn);
        }
        let other = Segment { acknowledgement: 5, ..ack.clone() };
        refuse(&mut bench, &other, Reason::BackendPending);
        let fin = Segment { flags: RST, ..ack };
        refuse(&mut bench, &fin, Reason::BackendPending);
    }
    assert_eq!(word(&mut bench, stat::COOKIES_ACCEPTED), 2);
}

#[test]
fn root_a_backend_that_refuses_ends_the_clients_connection() {
    let mut bench = bench();
    let (_, answer) = ask(&mut bench, ENDS[0]);
    let ack = answer.answer(CLIENT.wrapping_add(1), ACK, b"");
    let syn = send(&mut bench, &ack);
    let refusal = syn.answer(0, RST, b"");
    let reset = send(&mut bench, &refusal);
    assert_eq!(reset.flags, RST | ACK);
    assert_eq!((reset.source, reset.destination), (ack.destination, ack.source));
    assert_eq!(reset.sequence, answer.sequence.wrapping_add(1));
    assert_eq!(reset.acknowledgement, CLIENT.wrapping_add(1));
}

#[test]
fn root_a_backend_that_takes_the_port_for_an_older_connection_is_put_right() {
    let mut bench = bench();
    for ends in ENDS {
        let (_, answer) = ask(&mut bench, ends);
        let ack = answer.answer(CLIENT.wrapping_add(1), ACK, b"");
        let syn = send(&mut bench, &ack);
        // RFC 9293 section 3.5.2: the acknowledgement of what the backend thinks is there.
        let stale = Segment { acknowledgement: 4_711, ..syn.answer(99, ACK, b"") };
        let reset = send(&mut bench, &stale);
        assert_eq!((reset.source, reset.destination), (syn.source, syn.destination));
        assert_eq!(reset.ethernet, (stale.ethernet.1, stale.ethernet.0));
        assert_eq!((reset.sequence, reset.flags), (4_711, RST));
        assert_eq!(send(&mut bench, &ack), syn);
    }
}

#[test]
fn root_an_icmp_error_quotes_the_number_that_its_receiver_has_sent() {
    let mut bench = bench();
    for ends in ENDS {
        let (ack, syn) = open(&mut bench, ends);
        let reply = syn.answer(BACKEND.wrapping_add(1), ACK, b"a reply");
        let sent = bench.run(&reply.bytes()).1;
        let router = if ends.0.starts_with('[') { "fd00::9" } else { "10.0.0.9" };
        assert_eq!(number_after_error(&mut bench, router, &sent), BACKEND.wrapping_add(1));
        // What the client has sent is quoted with its own number.
        let data = Segment { payload: b"data".to_vec(), ..ack };
        let sent = bench.run(&data.bytes()).1;
        assert_eq!(number_after_error(&mut bench, router, &sent), CLIENT.wrapping_add(1));
    }
}

/// Sends the error that a frame is too big for a router; returns the number that its receiver finds.
fn number_after_error(bench: &mut Bench, router: &str, frame: &[u8]) -> u32 {
    let sent = Segment::read(frame);
    let v6 = sent.source.is_ipv6();
    let (kind, code) = if v6 { (2, 0) } else { (3, 4) };
    let error = icmp::Error {
        source: router.parse().unwrap(),
        destination: sent.source.ip(),
        kind,
        code,
        detail: 1_300,
        quoted: frame[14..14 + if v6 { 60 } else { 40 }].to_vec(),
        ethernet_destination: [2, 0, 0, 0, 0, 1],
        ethernet_source: [2, 0, 0, 0, 0, 0x64],
    };
    let (verdict, bytes) = bench.run(&error.bytes());
    assert_eq!(verdict, TX);
    let quoted = icmp::Error::read(&bytes).quoted;
    let at = if v6 { 44 } else { 24 };
    u32::from_be_bytes(quoted[at..at + 4].try_into().unwrap())
}

#[test]
fn root_handshakes_and_spliced_connections_live_through_a_restart() {
    let mut bench = bench();
    let (ack, syn) = open(&mut bench, ENDS[1]);
    let (_, answer) = ask(&mut bench, ENDS[0]);
    bench.restart();
    bench.engine.reconcile(&desired_with(2, &[], LISTENERS)).unwrap();
    let data = Segment { payload: b"data".to_vec(), ..ack };
    let there = send(&mut bench, &data);
    assert_eq!((there.source, there.acknowledgement), (syn.source, BACKEND.wrapping_add(1)));
    let begun = send(&mut bench, &answer.answer(CLIENT.wrapping_add(1), ACK, b""));
    assert_eq!(begun.flags, SYN);
}

#[test]
fn root_a_client_that_begins_anew_with_its_port_is_asked_anew() {
    let mut bench = bench();
    let (ack, syn) = open(&mut bench, ENDS[0]);
    // While the connection goes on, a SYN is the backend's to judge.
    let again = Segment::syn(ENDS[0].0, ENDS[0].1, 5, 1_460);
    let there = send(&mut bench, &again);
    assert_eq!((there.source, there.flags, there.sequence), (syn.source, SYN, 5));
    send(&mut bench, &Segment { flags: RST | ACK, ..ack });
    let answer = send(&mut bench, &again);
    assert_eq!((answer.flags, answer.acknowledgement), (SYN | ACK, 6));
    let begun = send(&mut bench, &answer.answer(6, ACK, b""));
    assert_eq!((begun.flags, begun.sequence), (SYN, 5));
}
