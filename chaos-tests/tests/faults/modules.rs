//! Filters in WebAssembly: uploaded to one node and run by every node, whoever is killed meanwhile, and
//! where all control is gone.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use chaos_tests::{Fixture, HOST, LIMIT, scenario};
use lab::http1::{Connection, Request, Response};
use lab::waiting::wait_until;
use nix::sys::signal::{Signal, kill};

/// Bytes of a module that takes a time to upload: fifteen entries of the log.
const LARGE: usize = 15 * 1024 * 1024;
/// How much of it has come when the node is killed that takes it.
const COME: f64 = 2.0 * 1024.0 * 1024.0;

#[test]
fn cluster_a_module_reaches_every_node_and_a_half_one_nobody() {
    scenario(Fixture::serving(3), |fixture| {
        let load = fixture.traffic()?;
        let directory = fixture.instance.directory().join("modules");
        fs::create_dir(&directory)?;
        fs::copy(sample()?, directory.join("filter.wasm"))?;
        let manifest = directory.join("shop.yaml");
        // The module is beside the document.
        fs::write(&manifest, module("file: ./filter.wasm", "first"))?;
        let words = ["apply", "-f", &manifest.display().to_string(), "--wait"];
        fixture.cluster.members[0].run(&words)?.ok()?;
        filtered(&fixture.web(), "first")?;

        let large = directory.join("large.wasm");
        fs::write(&large, padded(&fs::read(directory.join("filter.wasm"))?))?;
        killed_amid_an_upload(fixture, &large)?;
        let sha256 =
            fixture.cluster.members[2].run(&push(&large).each_ref().map(|it| &**it))?.ok()?;
        let document = module(&format!("sha256: {}", sha256.trim()), "second");
        fixture.cluster.apply(2, &document)?;
        filtered(&fixture.web(), "second")?;
        ensure!(modules(fixture, 1)? == 2, "not both are there");
        let report = load.stop();
        ensure!(report.faults() == 0, "requests failed: {report}");
        ensure!(report.with_status(&[200]) == report.sent, "not all passed: {report}");
        cold_and_alone(fixture)
    });
}

/// Where the sample filter is that xtask builds.
fn sample() -> Result<PathBuf> {
    let path = std::env::var_os("MARCHPROXY_WASM_FILTER").map_or_else(
        || {
            let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
            target.join("wasm-filter/wasm32-unknown-unknown/release/wasm_filter.wasm")
        },
        PathBuf::from,
    );
    ensure!(path.is_file(), "{} is not there: run `cargo xtask wasm`", path.display());
    Ok(path)
}

fn module(which: &str, value: &str) -> String {
    format!(
        "kind: FilterModule\nmetadata: {{ name: greets }}\nspec: {{ targetRefs: [{{ kind: HTTPRoute, \
         name: shop }}], {which}, configuration: {{ header: x-greeting, value: {value}, refuse: \
         [/private] }} }}\n"
    )
}

fn push(file: &Path) -> [String; 3] {
    ["modules".to_owned(), "push".to_owned(), file.display().to_string()]
}

/// The same module with a section that nobody reads (WebAssembly, 5.5.3).
fn padded(code: &[u8]) -> Vec<u8> {
    let number = |number: usize| -> Vec<u8> {
        // Of five bytes, whatever it is.
        (0..5).map(|at| (number >> (7 * at)) as u8 & 0x7f | if at < 4 { 0x80 } else { 0 }).collect()
    };
    let mut section = vec![3];
    section.extend_from_slice(b"pad");
    section.resize(LARGE, 0);
    [code, &[0], &number(section.len()), &section].concat()
}

/// Waits until each of the nodes runs it, and refuses what it is to refuse.
fn filtered(nodes: &[SocketAddr], value: &str) -> Result<()> {
    for node in nodes {
        wait_until("the filter to act", LIMIT, || {
            let answer = ask(*node, "/")?;
            let found = answer.head.header("x-greeting").unwrap_or_default();
            ensure!(answer.head.status == 200 && found == value, "{} {found}", answer.head.status);
            Ok(())
        })?;
        let refused = ask(*node, "/private/x")?;
        ensure!(refused.head.status == 403, "{node}: {}", refused.head.status);
    }
    Ok(())
}

fn ask(node: SocketAddr, path: &str) -> Result<Response> {
    let stream = TcpStream::connect(node)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(Connection::new(stream).send(&Request::get(HOST, path))?)
}

/// How many modules a node lists.
fn modules(fixture: &Fixture, node: usize) -> Result<usize> {
    let listed = fixture.cluster.api(node)?.get("/v1/modules")?;
    Ok(listed["modules"].as_array().context("no list")?.len())
}

/// What a node has written to its log.
fn written(fixture: &Fixture, node: usize) -> Result<f64> {
    let metrics = fixture.cluster.api(node)?.send("GET", "/metrics", "")?.text();
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix("marchproxy_wal_written_bytes_total "))
        .context("no such metric")?;
    Ok(value.parse()?)
}

fn killed_amid_an_upload(fixture: &mut Fixture, large: &Path) -> Result<()> {
    let before = written(fixture, 0)?;
    let client = fixture.cluster.members[1].client(&push(large).each_ref().map(|it| &**it));
    let mut pushing = client.start("push", &fixture.instance.logs())?;
    wait_until("the first parts", LIMIT, || {
        let come = written(fixture, 0)? - before;
        ensure!(come > COME, "{come} bytes have come");
        Ok(())
    })?;
    fixture.cluster.members[1].kill_control();
    pushing.kill();
    let listed = wait_until("a list", LIMIT, || modules(fixture, 0))?;
    ensure!(listed == 1, "half a module is listed: it was killed too late, or is taken for whole");
    fixture.cluster.members[1].restart()?;
    fixture.cluster.wait_voters(3, LIMIT)?;
    ensure!(modules(fixture, 1)? == 1, "half a module is listed");
    filtered(&fixture.web(), "first")
}

/// A data plane and its Envoy that start without any control run the module that was run last.
fn cold_and_alone(fixture: &mut Fixture) -> Result<()> {
    for member in &mut fixture.cluster.members {
        member.kill_control();
    }
    let member = &fixture.cluster.members[0];
    let (plane, envoy) = (member.dataplane_pid()?, member.envoy_pid()?);
    kill(plane, Signal::SIGKILL)?;
    kill(envoy, Signal::SIGKILL)?;
    wait_until("Envoy to end", LIMIT, || {
        ensure!(!lab::process::alive(envoy), "Envoy {envoy} lives");
        Ok(())
    })?;
    let _plane = member.spawn_dataplane()?;
    filtered(&fixture.web()[..1], "second")
}
