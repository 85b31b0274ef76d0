//! The long-running processes: `up`, `join` and `dataplane`.

use std::{ffi::OsString, process::ExitCode};

use runtime::{
    process::{Keep, Keeper},
    telemetry::{self, Metrics},
};

use super::{
    arguments::{
        Connection, DataplaneArgs, DataplaneCommand, DetachArgs, JoinArgs, LogArgs, LogFormat,
        UpArgs,
    },
    exit::Failure,
    plane::{self, mebibytes},
    welcome,
};
use crate::{
    api,
    control::{self, Running, Start},
    settings::{Flags, Settings},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn up(arguments: UpArgs, connection: &Connection) -> Result<(), Failure> {
    let UpArgs { flags, expect, peers, cluster_secret_file, log } = arguments;
    let start = match (expect, cluster_secret_file) {
        (Some(expect), Some(secret_file)) => {
            Start::Expect { expect: usize::from(expect), peers, secret_file }
        }
        _ => Start::Up,
    };
    control(flags, start, &log, connection)
}

pub(super) fn join(arguments: JoinArgs, connection: &Connection) -> Result<(), Failure> {
    let JoinArgs { line, flags, log } = arguments;
    let line = line.parse().map_err(|error| Failure::process("cannot join", error))?;
    control(flags, Start::Join { line }, &log, connection)
}

fn control(
    flags: Flags,
    start: Start,
    log: &LogArgs,
    connection: &Connection,
) -> Result<(), Failure> {
    let settings = Settings::resolve(flags)
        .map_err(|error| Failure::process("the settings are not usable", error))?;
    let metrics = telemetry("control", log)?;
    api::describe();
    let api = api::server(api::Options {
        run_dir: settings.run_dir.clone(),
        metrics: std::sync::Arc::new(move || metrics.render()),
    });
    block_on(async {
        let welcome = async |running: &Running| welcome::welcome(running, connection).await;
        Box::pin(control::run(settings, start, api, welcome))
            .await
            .map_err(|error| Failure::process("the control process ended", error))
    })
}

/// Runs a data plane. What is not given is taken from the settings that the control process kept
/// beside it, so that a data plane can be started with no control process alive.
pub(super) fn dataplane(arguments: DataplaneArgs) -> Result<(), Failure> {
    let DataplaneArgs {
        command,
        data_dir,
        run_dir,
        push,
        envoy,
        envoy_memory,
        xdp,
        xdp_flows,
        xdp_connections,
        flow_sampling,
        worker_priority,
        listen_address,
        log,
    } = arguments;
    if let Some(DataplaneCommand::Detach(arguments)) = command {
        return detach(arguments);
    }
    let (Some(data_dir), Some(run_dir)) = (data_dir, run_dir) else {
        unreachable!("both are required where there is no subcommand");
    };
    let metrics = telemetry("dataplane", &log)?;
    let kept = match data_dir.parent().map(Settings::load) {
        Some(Ok(kept)) => kept,
        Some(Err(error)) => {
            tracing::warn!(%error, "the settings of the control process are not readable");
            None
        }
        None => None,
    };
    let keeper = std::env::current_exe()
        .map_err(|error| Failure::process("this program does not know its own file", error))?;
    let mut config = plane::in_folder(data_dir, run_dir, kept.as_ref());
    let arguments = ["dataplane", "keep"].map(OsString::from).to_vec();
    config.keeper = Some(Keeper { program: keeper, arguments });
    config.control = push.map_or(config.control, |push| vec![push]);
    config.envoy = envoy.or(config.envoy);
    config.envoy_memory = envoy_memory.map(mebibytes).or(config.envoy_memory);
    config.listen_address = listen_address.or(config.listen_address);
    config.flows = xdp_flows.unwrap_or(config.flows);
    config.connections = xdp_connections.unwrap_or(config.connections);
    config.flow_sampling = flow_sampling.unwrap_or(config.flow_sampling);
    config.worker_priority = worker_priority.unwrap_or(config.worker_priority);
    if !xdp.is_empty() {
        config.interfaces = xdp;
    }
    block_on(async {
        Box::pin(dataplane::run(config, metrics))
            .await
            .map_err(|error| Failure::process("the data plane ended", error))
    })
}

/// Keeps Envoy, as the parent that the kernel ties it to. One thread, which starts it and waits.
pub(super) fn keep(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let failed = |error| Failure::process("Envoy is not kept", error);
    let keep = Keep::parse(arguments).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::process("cannot start the async runtime", error))?;
    // What Envoy ended with is what this ends with.
    runtime.block_on(keep.run()).map(ExitCode::from).map_err(failed)
}

/// Takes the XDP of this host's node off its interfaces.
fn detach(arguments: DetachArgs) -> Result<(), Failure> {
    let DetachArgs { data_dir, run_dir } = arguments;
    let failed = |error| Failure::process("XDP was not taken off", error);
    // Where the run directory is told, nothing that the node keeps is needed.
    let kept = match run_dir {
        Some(_) => None,
        None => Settings::load(&data_dir)
            .map_err(|error| Failure::process("the node's settings are not readable", error))?,
    };
    let config = plane::of_node(&data_dir, run_dir, kept.as_ref());
    let removed = dataplane::detach(&config).map_err(failed)?;
    if removed.is_empty() {
        println!("there was nothing of XDP to remove");
    }
    for name in removed {
        println!("removed {name}");
    }
    Ok(())
}

fn telemetry(process: &'static str, log: &LogArgs) -> Result<Metrics, Failure> {
    let format = match log.format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    let failed = |error| Failure::process("cannot set up logs and metrics", error);
    telemetry::start_logging(format, &log.log_level).map_err(failed)?;
    Metrics::install(process, VERSION).map_err(failed)
}

fn block_on(process: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::process("cannot start the async runtime", error))?
        .block_on(process)
}
