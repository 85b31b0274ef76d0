//! Changes of the host's network, as the kernel tells them.

use std::time::Duration;

use dataplane::xdp::ways;
use tokio::{sync::mpsc, time::timeout};

use crate::support::namespaces::{Namespace, run};

/// How long the kernel may take to tell a change.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How late the kernel tells that a link is up: it does so once a second (net/core/link_watch.c).
const SETTLED: Duration = Duration::from_millis(1_500);
/// How long is waited for what must not be told.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn root_what_may_change_a_next_hop_is_told_and_nothing_else() {
    let namespace = Namespace::new("w");
    namespace.enter();
    // IPv6 makes routes by itself, some time after a link is up.
    run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    run("ip link add v0 address 02:00:00:00:00:01 type veth peer name v1");
    run("ip link set v1 up");
    run("ip link set v0 up");
    run("ip addr add 10.0.0.1/24 dev v0");
    // The runtime's only thread is this one, which is in the namespace.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (sender, mut told) = mpsc::unbounded_channel();
        let following = tokio::spawn(async move { ways::follow(|| sender.send(()).is_ok()).await });
        tokio::task::yield_now().await;
        let neighbour =
            |last: u8| format!("ip neigh replace 10.0.0.9 lladdr 02:00:00:00:00:{last:02x} dev v0");
        // What was there before is not told: the first word of a link is taken for a new one.
        run("ip link set v0 mtu 1400");
        timeout(TOLD_WITHIN, told.recv()).await.unwrap().unwrap();
        while timeout(SETTLED, told.recv()).await.is_ok() {}
        for (line, matters) in [
            (neighbour(9), false),
            (neighbour(9) + " nud stale", false),
            (neighbour(10), true),
            ("ip route add 10.9.0.0/16 via 10.0.0.9".to_owned(), true),
            ("ip route del 10.9.0.0/16".to_owned(), true),
            ("ip link add v2 type veth peer name v3".to_owned(), true),
            ("ip neigh del 10.0.0.9 dev v0".to_owned(), false),
        ] {
            run(&line);
            let heard = if matters {
                timeout(TOLD_WITHIN, told.recv()).await.is_ok_and(|told| told.is_some())
            } else {
                timeout(QUIET, told.recv()).await.is_ok()
            };
            assert_eq!(heard, matters, "{line}");
            // A change may be told in several parts.
            while timeout(QUIET, told.recv()).await.is_ok() {}
        }
        drop(told);
        run("ip link set v0 mtu 1450");
        timeout(TOLD_WITHIN, following).await.unwrap().unwrap().unwrap();
    });
}
