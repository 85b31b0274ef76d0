//! Network namespaces that end with the test.

use std::{
    fs::File,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use nix::sched::{CloneFlags, setns};

/// Runs a command line and panics with its words when it fails.
pub(crate) fn run(line: &str) {
    let mut words = line.split_whitespace();
    let program = words.next().expect("a program");
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| {
        panic!("`{line}` did not start ({error}): run `cargo xtask setup`")
    });
    assert!(
        output.status.success(),
        "`{line}` failed: {} (these tests need root and network namespaces, see `cargo xtask setup`)",
        String::from_utf8_lossy(&output.stderr).trim()
    );
}

/// A network namespace; removed on drop.
pub(crate) struct Namespace(pub(crate) String);

impl Namespace {
    pub(crate) fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mpx{}n{number}{role}", std::process::id());
        run(&format!("ip netns add {name}"));
        let namespace = Self(name);
        namespace.run("ip link set lo up");
        namespace
    }

    /// Runs a command line inside.
    pub(crate) fn run(&self, line: &str) {
        run(&format!("ip netns exec {} {line}", self.0));
    }

    /// Moves the calling thread inside.
    pub(crate) fn enter(&self) {
        let file = File::open(format!("/var/run/netns/{}", self.0)).expect("the namespace's file");
        setns(file, CloneFlags::CLONE_NEWNET).expect("entering a namespace needs root");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}
