//! `cargo xtask lab`: the laboratory by hand. `up` leaves it standing; `down` removes it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::load::{Plan as LoadPlan, Report};
use lab::serve::{Protocol, Server};
use lab::{Instance, Launch, Network, Place, Plan, instance, waiting};

const DEFAULT_NAME: &str = "mplab";

/// What to do with the laboratory.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Builds it: a client, three nodes and four backends in two clouds (needs root)
    Up {
        /// Its name: the prefix of its namespaces
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Removes it, with every process that was started in it
    Down {
        /// Its name
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Shows the laboratories that stand, their hosts and processes
    Status,
    /// Runs a command on a host: `cargo xtask lab exec client -- ping 10.77.1.101`
    Exec {
        /// The laboratory
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
        /// The host
        host: String,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Cuts the path between two hosts
    Cut {
        /// The laboratory
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
        /// One host
        one: String,
        /// The other one
        other: String,
    },
    /// Mends all cuts
    Heal {
        /// The laboratory
        #[arg(long, default_value = DEFAULT_NAME)]
        name: String,
    },
    /// Runs test servers until Ctrl-C
    #[command(hide = true)]
    Serve {
        /// What they answer with
        #[arg(long)]
        name: String,
        /// HTTP with /healthz, /status/CODE, /slow?seconds=N and a WebSocket echo at /ws
        #[arg(long)]
        http: Option<SocketAddr>,
        /// TCP line echo
        #[arg(long)]
        tcp: Option<SocketAddr>,
        /// UDP echo
        #[arg(long)]
        udp: Option<SocketAddr>,
    },
    /// Sends load for some seconds and prints the counts as JSON
    #[command(hide = true)]
    Load {
        /// http, tcp or udp
        protocol: String,
        /// Whom to send to
        #[arg(required = true)]
        targets: Vec<SocketAddr>,
        /// Value of the host header
        #[arg(long, default_value = "shop.example")]
        host: String,
        /// Path of the requests
        #[arg(long, default_value = "/")]
        path: String,
        /// For how long
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Connections, flows or sockets for each target
        #[arg(long, default_value_t = 4)]
        senders: usize,
        /// Pause of one sender between two sends
        #[arg(long, default_value_t = 10)]
        interval_ms: u64,
    },
}

/// Runs the command.
///
/// # Errors
/// When not root, or the laboratory is not there.
pub(crate) fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { name } => up(&name)?,
        Command::Down { name } => {
            Instance::open(&name)?.destroy();
            println!("{name} is gone");
        }
        Command::Status => status(),
        Command::Exec { name, host, command } => {
            let network = open(&name)?;
            let status = Launch::new(&name, &network.place(&host)?, &command[0])
                .args(command[1..].iter().cloned())
                .interactive()?;
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Ok(ExitCode::from(code));
        }
        Command::Cut { name, one, other } => open(&name)?.cut(&one, &other)?,
        Command::Heal { name } => open(&name)?.heal()?,
        Command::Serve { name, http, tcp, udp } => serve(&name, http, tcp, udp)?,
        Command::Load { protocol, targets, host, path, seconds, senders, interval_ms } => {
            let plan = LoadPlan {
                senders,
                interval: Duration::from_millis(interval_ms),
                ..LoadPlan::new(&Place::Here, &targets)
            };
            let report = load(&plan, &protocol, &host, &path, Duration::from_secs(seconds))?;
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(name: &str) -> Result<()> {
    // Linux cuts interface names at 15 characters; namespaces are for people.
    ensure!(name.len() <= 12, "{name:?} is longer than 12 characters");
    let instance = Instance::persistent(name)?;
    match Network::build(&instance, Plan::two_clouds()) {
        Ok(network) => {
            for host in network.plan().hosts() {
                println!("{:<12} {:<14} {}", host.name, host.v4, host.v6);
            }
            println!("\ncargo xtask lab exec client -- COMMAND\ncargo xtask lab down");
            Ok(())
        }
        Err(error) => {
            instance.destroy();
            Err(error)
        }
    }
}

fn open(name: &str) -> Result<Network> {
    Ok(Network::attach(&Instance::open(name)?, Plan::two_clouds()))
}

fn status() {
    for name in instance::list() {
        println!("{name}: {} processes", instance::processes(&name).len());
        for namespace in instance::namespaces(&name) {
            println!("  {namespace}");
        }
    }
}

fn serve(
    name: &str,
    http: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    udp: Option<SocketAddr>,
) -> Result<()> {
    let mut servers = Vec::new();
    for (protocol, address) in [(Protocol::Http, http), (Protocol::Tcp, tcp), (Protocol::Udp, udp)]
    {
        if let Some(address) = address {
            let server = Server::start(&Place::Here, name, protocol, address)?;
            println!("{name}: {protocol:?} on {}", server.address());
            servers.push(server);
        }
    }
    ensure!(!servers.is_empty(), "give at least one of --http, --tcp and --udp");
    loop {
        std::thread::park();
    }
}

fn load(plan: &LoadPlan, protocol: &str, host: &str, path: &str, time: Duration) -> Result<Report> {
    let load = match protocol {
        "http" => plan.http(host, path)?,
        "tcp" => plan.tcp()?,
        "udp" => plan.udp()?,
        other => anyhow::bail!("{other:?} is none of http, tcp and udp"),
    };
    waiting::pause(time);
    Ok(load.stop())
}
