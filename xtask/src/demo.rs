//! `cargo xtask demo`: the main job in front of your eyes. Three nodes, four backends in two
//! made-up clouds, one applied file, real traffic, and the leader killed in the middle; every step
//! says what was measured, and anything that falls short makes the command fail.

mod scene;
mod story;
mod verdict;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::progress::step;
use crate::{build, setup};
use scene::Scene;

/// How to run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ends after the last step, with a failing exit status when anything fell short
    #[arg(long)]
    once: bool,
    /// Uses the release build (some minutes more the first time)
    #[arg(long)]
    release: bool,
    /// Runs on loopback even as root
    #[arg(long)]
    loopback: bool,
}

/// Runs the command.
///
/// # Errors
/// When the scene cannot be built.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::install(&setup::Arguments::without_tests());
    let envoy = setup::envoy_binary();
    ensure!(envoy.is_file(), "there is no Envoy at {}: see above", envoy.display());
    let profile = if arguments.release { build::Profile::Release } else { build::Profile::Dev };
    let programs = lab::Programs { marchproxy: build::marchproxy(profile)?, envoy };
    let root = nix::unistd::geteuid().is_root() && !arguments.loopback;
    if !root {
        eprintln!(
            "left out: XDP and network namespaces, which need root; three nodes run on loopback, \
             and Envoy carries TCP and UDP as well"
        );
    }
    let mut scene = step("hosts, clouds and backends", |_| Scene::build(&programs, root))?;
    let verdict = match story::tell(&mut scene) {
        Ok(verdict) => verdict,
        Err(error) => {
            eprintln!("{}", scene.instance.log_tails(25));
            return Err(error);
        }
    };
    verdict.print();
    if arguments.once {
        return Ok(if verdict.held() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    scene.print_use();
    loop {
        // Ctrl-C ends the laboratory and then this process.
        std::thread::park();
    }
}
