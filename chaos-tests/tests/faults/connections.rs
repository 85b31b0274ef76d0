//! Long-lived connections across unrelated changes.

use anyhow::ensure;
use chaos_tests::{Fixture, HOST, LIMIT, WEB_PORT, scenario};
use lab::load::{Download, WebSocket};
use lab::waiting::wait_for;
use lab::{Place, documents};
use std::time::Instant;

const APPLIES: usize = 100;
/// Length of the download; `CHAOS_DOWNLOAD_SECONDS` changes it.
const DOWNLOAD_SECONDS: u64 = 60;
/// What the server sends in a second.
const BYTES_A_SECOND: u64 = 20 * 1024;

#[test]
fn cluster_a_websocket_and_a_download_live_through_unrelated_applies() {
    scenario(Fixture::serving(3), |fixture| {
        let seconds = std::env::var("CHAOS_DOWNLOAD_SECONDS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(DOWNLOAD_SECONDS);
        let target = fixture.cluster.members[0].listener(WEB_PORT);
        let websocket_target = fixture.cluster.members[2].listener(WEB_PORT);
        let mut websocket = WebSocket::open(&Place::Here, websocket_target, HOST)?;
        let download = Download::start(&Place::Here, target, HOST, seconds)?;
        let mut api = fixture.cluster.api(1)?;
        let since = Instant::now();
        let mut revision = 0;
        for number in 0..APPLIES {
            let name = format!("other-{number}");
            let text = documents::service(&name, &[fixture.backend.address()])
                + &documents::http_route(&name, "web", &format!("{name}.example"), &name)
                // A service that is there already gets another endpoint each time.
                + &documents::service("moving", &[fixture.net.at(101, 2000 + number as u16)]);
            revision = api.apply(&text)?.0;
            websocket.exchange()?;
        }
        fixture.cluster.wait_applied(revision, since, LIMIT)?;
        websocket.exchange()?;
        ensure!(!download.is_done() || seconds < 30, "the download ended before the applies did");
        wait_for("the end of the download", LIMIT * 3, || download.is_done())?;
        let length = download.finish()?;
        ensure!(length == seconds * BYTES_A_SECOND, "{length} bytes");
        websocket.exchange()
    });
}
