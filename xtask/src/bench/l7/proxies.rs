//! Starts the backend and the proxies, each on its core, and waits until they answer.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::waiting::wait_until;
use lab::{Certificate, Cluster, Instance, Launch, Loopback, Place, Process, Programs, documents};
use nix::unistd::Pid;

use super::{OURS, STATIC, config, cores, wrk};

const PLAIN_PORT: u16 = 8080;
const SECURE_PORT: u16 = 8443;
const READY_MAX: Duration = Duration::from_secs(30);

/// What is measured.
pub(super) struct Proxies {
    pub(super) all: Vec<Proxy>,
    _cluster: Cluster,
    _processes: Vec<Process>,
}

/// One proxy.
pub(super) struct Proxy {
    pub(super) name: &'static str,
    pub(super) plain: SocketAddr,
    pub(super) secure: SocketAddr,
    /// Its processes that handle requests.
    pub(super) pids: Vec<Pid>,
}

pub(super) fn start(instance: &Instance, programs: &Programs, hosts: usize) -> Result<Proxies> {
    let net = Loopback::own();
    let folder = instance.directory().to_owned();
    let pair = Certificate::write(&folder, "bench", &config::host(0))?;
    let both = folder.join("bench.pem");
    fs::write(&both, fs::read_to_string(&pair.certificate)? + &fs::read_to_string(&pair.key)?)?;
    let backend = net.at(100, 9000);
    let common = |host: u8| config::Common {
        plain: net.at(host, PLAIN_PORT),
        secure: net.at(host, SECURE_PORT),
        backend,
        certificate: &pair,
        hosts,
    };
    let starter = Starter { instance, folder: &folder };
    let mut processes =
        vec![starter.nginx("backend", cores::REST, |folder| config::backend(backend, folder))?];

    let (fixed, nginx, haproxy) = (common(21), common(22), common(23));
    let bootstrap = folder.join("static.json");
    let text = config::envoy(&fixed, &folder.join("static-admin.sock")).to_string();
    fs::write(&bootstrap, text)?;
    let envoy = starter.start(
        "envoy-static",
        cores::PROXY,
        &programs.envoy,
        &[
            "--config-path",
            &bootstrap.display().to_string(),
            "--concurrency",
            "1",
            "--disable-hot-restart",
        ],
    )?;
    let web = starter.nginx("nginx", cores::PROXY, |folder| config::nginx(&nginx, folder))?;
    let file = folder.join("haproxy.cfg");
    fs::write(&file, config::haproxy(&haproxy, &both))?;
    let ha = starter.start(
        "haproxy",
        cores::PROXY,
        Path::new("/usr/sbin/haproxy"),
        &["-db", "-f", &file.display().to_string()],
    )?;
    let cluster = ours(instance, programs, net, &common(11))?;

    let proxy = |name, common: &config::Common<'_>, pids| Proxy {
        name,
        plain: common.plain,
        secure: common.secure,
        pids,
    };
    let all = vec![
        proxy(OURS, &common(11), vec![cluster.members[0].envoy_pid()?]),
        proxy(STATIC, &fixed, vec![envoy.pid()]),
        proxy("nginx", &nginx, vec![web.pid()]),
        proxy("haproxy", &haproxy, vec![ha.pid()]),
    ];
    for proxy in &all {
        answers(instance, proxy)?;
    }
    processes.extend([envoy, web, ha]);
    Ok(Proxies { all, _cluster: cluster, _processes: processes })
}

/// A node whose Envoy alone has the core of proxies.
fn ours(
    instance: &Instance,
    programs: &Programs,
    net: Loopback,
    common: &config::Common<'_>,
) -> Result<Cluster> {
    let mut cluster = Cluster::on_loopback(instance, programs, net, 1);
    // Envoy has as many workers as its parent has cores.
    cores::on(cores::PROXY, || {
        cluster.form()?;
        cluster.settle()
    })?;
    let pid = cluster.members[0].control()?.pid();
    cores::pin(pid, cores::REST)?;
    cores::pin(cluster.members[0].dataplane_pid()?, cores::REST)?;
    let mut text = documents::http_listener("plain", PLAIN_PORT);
    text += &documents::https_listener("secure", SECURE_PORT, common.certificate);
    for index in 0..common.hosts {
        let name = format!("s{index}");
        text += &documents::service(&name, &[common.backend]);
        text += &format!(
            "---\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\nspec: {{ listeners: [{{ name: plain \
             }}, {{ name: secure }}], hosts: [{}], rules: [{{ backends: [{{ service: {{ name: {name} \
             }} }}] }}] }}\n",
            config::host(index)
        );
    }
    let since = Instant::now();
    let (revision, _) = cluster.api(0)?.apply(&text)?;
    cluster.wait_applied(revision, since, READY_MAX)?;
    Ok(cluster)
}

struct Starter<'a> {
    instance: &'a Instance,
    folder: &'a Path,
}

impl Starter<'_> {
    fn start(&self, name: &str, core: usize, program: &Path, words: &[&str]) -> Result<Process> {
        let launch =
            Launch::new(self.instance.name(), &Place::Here, program).args(words.iter().copied());
        cores::on(core, || launch.start(name, &self.instance.logs()))
    }

    fn nginx(
        &self,
        name: &str,
        core: usize,
        config: impl FnOnce(&Path) -> String,
    ) -> Result<Process> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        let file = folder.join("nginx.conf");
        fs::write(&file, config(&folder))?;
        let (file, folder) = (file.display().to_string(), folder.display().to_string());
        self.start(name, core, Path::new("/usr/sbin/nginx"), &["-p", &folder, "-c", &file])
    }
}

/// Waits until a proxy answers on both ports.
fn answers(instance: &Instance, proxy: &Proxy) -> Result<()> {
    for (address, tls) in [(proxy.plain, false), (proxy.secure, true)] {
        let load = wrk::Load { address, tls, host: &config::host(0), connections: 1 };
        wait_until(format!("{} on {address}", proxy.name), READY_MAX, || {
            let run = load.run(instance, 1)?;
            ensure!(run.errors == 0, "{} errors", run.errors);
            Ok(())
        })?;
    }
    Ok(())
}
