//! The command `doctor` as it is typed: what it prints, and its exit status. Needs root and network
//! namespaces.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

/// A network namespace with a veth pair `v0`, `v1`; removed on drop.
struct Host(String);

impl Host {
    fn new() -> Self {
        let host = Self(format!("mpdoc{}", std::process::id()));
        run(&["ip", "netns", "add", &host.0]);
        for line in ["link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"] {
            let words: Vec<&str> =
                ["ip", "-n", &host.0].into_iter().chain(line.split(' ')).collect();
            run(&words);
        }
        host
    }

    fn doctor(&self, arguments: &[&str]) -> Output {
        Command::new("ip")
            .args(["netns", "exec", &self.0, env!("CARGO_BIN_EXE_marchproxy"), "doctor"])
            .args(["--data-dir", "/nonexistent", "--run-dir", "/nonexistent"])
            .args(arguments)
            .output()
            .unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{words:?}: {said} (this needs root and network namespaces, see `cargo xtask setup`)"
    );
}

#[test]
fn root_the_exit_status_tells_of_problems_and_the_answer_is_the_documented_one() {
    let host = Host::new();
    let sound = host.doctor(&["--interface", "v0", "-o", "json"]);
    let said = String::from_utf8_lossy(&sound.stderr);
    assert_eq!(sound.status.code(), Some(0), "{said}");
    let answer: Value = serde_json::from_slice(&sound.stdout).unwrap();
    assert_eq!(answer["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(answer["worst"], "warning");
    let findings = answer["findings"].as_array().unwrap();
    let peer = findings.iter().find(|finding| finding["check"] == "veth-peer").unwrap();
    assert_eq!((&peer["subject"], &peer["level"]), (&"v0".into(), &"warning".into()));
    let remedy = peer["remedy"].as_str().unwrap();
    assert_eq!(remedy, "ethtool -K v1 tx off tso off gso off");

    let ill = host.doctor(&["--interface", "v0", "--interface", "gone"]);
    assert_eq!(ill.status.code(), Some(1));
    let table = String::from_utf8_lossy(&ill.stdout);
    let words: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words, ["problem", "link", "gone", "no", "such", "interface"]);
    assert!(table.contains(&format!("; run: {remedy}\n")), "{table}");
    assert!(table.lines().last().unwrap().starts_with("1 problem, "), "{table}");
    assert_eq!(String::from_utf8_lossy(&ill.stderr), "error: problems found: 1\n");

    let wrong = host.doctor(&["--interface", "no/name"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stdout.is_empty());
}
