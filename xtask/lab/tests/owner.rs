//! Nothing is left of an instance whose owner is told to stop, or is killed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::waiting::wait_for;
use lab::{Instance, Launch, Place, instance};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_secs(10);
/// Set in the second process of this test, which owns the instance.
const ROLE: &str = "LAB_TEST_OWNER";

#[test]
fn nothing_outlives_an_owner_that_is_told_to_stop_or_is_killed() {
    if std::env::var_os(ROLE).is_some() {
        own();
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGKILL] {
        let (mut owner, name) = start_owner();
        // It is known by its environment, which it has once it runs its program.
        let started = || instance::processes(&name).len() == 1;
        wait_for(format!("the process of {name}"), LIMIT, started).unwrap();
        kill(Pid::from_raw(i32::try_from(owner.id()).unwrap()), signal).unwrap();
        owner.wait().unwrap();
        if signal == Signal::SIGKILL {
            // No one could clean up: the next instance does.
            drop(Instance::new().unwrap());
        }
        let gone = || instance::processes(&name).is_empty() && !instance::list().contains(&name);
        wait_for(format!("{signal}: {name} to be gone"), LIMIT, gone).unwrap();
    }
}

fn start_owner() -> (Child, String) {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_outlives_an_owner_that_is_told_to_stop_or_is_killed"])
        .arg("--nocapture")
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let name =
        lines.map_while(Result::ok).find_map(|line| Some(line.split_once("owns ")?.1.to_owned()));
    (owner, name.unwrap())
}

fn own() -> ! {
    let instance = Instance::new().unwrap();
    let sleep = Launch::new(instance.name(), &Place::Here, "/bin/sleep").args(["300"]);
    let _process = sleep.start("sleep", &instance.logs()).unwrap();
    println!("owns {}", instance.name());
    loop {
        std::thread::park();
    }
}
