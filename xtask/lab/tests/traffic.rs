//! Servers and generators against each other, on loopback: what is counted is what happened.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lab::Place;
use lab::load::{Download, Plan, WebSocket};
use lab::serve::{Protocol, Server};

const ANY: &str = "127.0.0.1:0";
const LIMIT: Duration = Duration::from_secs(10);

fn server(protocol: Protocol) -> Server {
    Server::start(&Place::Here, "b1", protocol, ANY.parse().unwrap()).unwrap()
}

fn plan(target: SocketAddr) -> Plan {
    Plan {
        interval: Duration::from_millis(2),
        timeout: Duration::from_millis(300),
        ..Plan::new(&Place::Here, &[target])
    }
}

#[test]
fn every_http_request_is_answered_and_counted() {
    let server = server(Protocol::Http);
    let load = plan(server.address()).http("shop", "/").unwrap();
    load.wait_answered(100, LIMIT).unwrap();
    let report = load.stop();
    assert_eq!((report.faults(), report.opened, report.broken), (0, 4, 0), "{report}");
    assert_eq!(report.by_status[&200], report.answered);
    assert_eq!(report.by_server["b1"], server.requests());
}

#[test]
fn a_dying_http_server_is_seen_as_failures() {
    let mut server = server(Protocol::Http);
    let load = plan(server.address()).http("shop", "/").unwrap();
    load.wait_answered(20, LIMIT).unwrap();
    server.stop();
    lab::waiting::wait_for("failures", LIMIT, || load.report().failed >= 8).unwrap();
    let report = load.stop();
    assert_eq!(report.broken, 4, "{report}");
    assert!(report.failures.keys().any(|kind| kind.starts_with("connect")), "{report}");
}

#[test]
fn a_bad_status_is_a_fault_and_health_can_be_switched() {
    let server = server(Protocol::Http);
    let load = plan(server.address()).http("shop", "/status/503").unwrap();
    load.wait_answered(4, LIMIT).unwrap();
    let report = load.stop();
    assert_eq!(report.faults(), report.answered, "{report}");
    server.set_healthy(false);
    let load = plan(server.address()).http("shop", "/healthz").unwrap();
    load.wait_answered(4, LIMIT).unwrap();
    assert_eq!(load.stop().with_status(&[200]), 0);
}

#[test]
fn tcp_flows_stay_and_a_cut_one_is_counted_as_broken() {
    let mut server = server(Protocol::Tcp);
    let load = plan(server.address()).tcp().unwrap();
    load.wait_answered(100, LIMIT).unwrap();
    let before = load.report();
    assert_eq!((before.opened, before.broken, before.failed), (4, 0, 0), "{before}");
    server.stop();
    lab::waiting::wait_for("broken flows", LIMIT, || load.report().broken == 4).unwrap();
}

#[test]
fn udp_loss_is_counted() {
    let mut server = server(Protocol::Udp);
    let load = plan(server.address()).udp().unwrap();
    load.wait_answered(100, LIMIT).unwrap();
    assert_eq!(load.report().failed, 0, "{}", load.report());
    server.stop();
    lab::waiting::wait_for("loss", LIMIT, || load.report().failed >= 4).unwrap();
}

#[test]
fn a_silent_udp_peer_is_loss() {
    let silent = UdpSocket::bind(ANY).unwrap();
    let load = plan(silent.local_addr().unwrap()).udp().unwrap();
    lab::waiting::wait_for("loss", LIMIT, || load.report().failures.contains_key("lost")).unwrap();
    assert_eq!(load.stop().answered, 0);
}

#[test]
fn a_websocket_echoes_until_it_is_cut() {
    let mut server = server(Protocol::Http);
    let mut socket = WebSocket::open(&Place::Here, server.address(), "shop").unwrap();
    for _ in 0..50 {
        socket.exchange().unwrap();
    }
    server.stop();
    let error = format!("{:#}", socket.exchange().and_then(|()| socket.exchange()).unwrap_err());
    assert!(error.contains("cut after"), "{error}");
}

#[test]
fn a_download_is_whole_or_says_that_it_was_cut() {
    let mut server = server(Protocol::Http);
    let whole = Download::start(&Place::Here, server.address(), "shop", 1).unwrap();
    assert_eq!(whole.finish().unwrap(), 20 * 1024);
    let cut = Download::start(&Place::Here, server.address(), "shop", 60).unwrap();
    server.stop();
    let error = format!("{:#}", cut.finish().unwrap_err());
    assert!(error.contains("cut at"), "{error}");
}
