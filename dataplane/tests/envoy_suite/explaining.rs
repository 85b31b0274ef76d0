//! What `explain` says of random requests to random configurations, and what becomes of them.
//!
//! `MARCHPROXY_EXPLAIN_SEED` chooses others.

mod compare;
mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    sync::Arc,
};

use model::{
    EndpointId, Snapshot,
    cluster::NodeId,
    explain::request::{Grounds, Outcome, RequestHeader, RequestQuestion, explain},
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use self::{compare::compare, random::Request};
use crate::{
    backend::Backend,
    client::{Answer, Client},
    plane::{Plane, eventually},
    token::Issuer,
};

/// Chooses the configurations and requests.
const SEED_VARIABLE: &str = "MARCHPROXY_EXPLAIN_SEED";
const SEED: u64 = 1;
/// Configurations; each has a listener and a namespace of its own.
const WORLDS: usize = 25;
/// Requests to each of them.
const REQUESTS: usize = 400;
/// The year 2100, in Unix time.
const NEVER: u64 = 4_102_444_800;

/// What the test knows of the world outside of the configuration.
struct Setting {
    config: Snapshot,
    failing: BTreeSet<EndpointId>,
    /// Names of backends by port.
    backends: BTreeMap<u16, String>,
    /// What a header holds that shows a good token.
    token: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_explain_says_of_10_000_random_requests_what_becomes_of_them() {
    let seed = std::env::var(SEED_VARIABLE).map_or(SEED, |text| text.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let mut plane = Plane::start().await;
    let log = plane.directory.path().join("requests.log");
    let users = plane.directory.path().join("users");
    std::fs::write(&users, random::USERS).unwrap();
    let (services, running, failing) = services().await;
    let backends = running.iter().map(|(name, it)| (it.port, name.clone())).collect();
    let mut objects = services;
    objects.push(json!({
        "kind": "AuthPolicy",
        "metadata": { "namespace": "s", "name": "staff" },
        "spec": { "basic": { "usersFile": users } },
    }));
    let issuer = Issuer::new();
    objects.push(json!({
        "kind": "AuthPolicy",
        "metadata": { "namespace": "s", "name": "tokens" },
        "spec": { "jwt": {
            "providers": [{
                "name": "idp",
                "issuer": "idp",
                "jwks": { "inline": issuer.jwks() },
                "from": [{ "header": { "name": "x-token", "prefix": "T " } }],
            }],
            "claimHeaders": [{ "name": "x-b", "claim": "none" }],
        } },
    }));
    let worlds = free_ports();
    for (index, port) in worlds.iter().enumerate() {
        let namespace = format!("w{index}");
        objects.push(json!({
            "kind": "Listener",
            "metadata": { "namespace": namespace, "name": "web" },
            "spec": {
                "protocol": "HTTP",
                "port": port,
                "accessLogs": [{ "file": log, "headers": { "id": "x-id" } }],
                "http": match index % 4 {
                    0 => json!({ "trustedHops": 1 }),
                    1 => json!({ "trustedHops": 2 }),
                    _ => json!({}),
                },
            },
        }));
        objects.extend(random::routes(&mut random, &namespace));
    }
    plane.apply(&Value::Array(objects).to_string()).await;
    plane.unhealthy(failing.iter().cloned());
    settled(&plane).await;
    let config = plane.config.clone();
    let token = format!("T {}", issuer.token(&json!({ "iss": "idp", "exp": NEVER })));
    let setting = Arc::new(Setting { config, failing, backends, token });

    let asking: Vec<_> = worlds
        .into_iter()
        .enumerate()
        .map(|(index, port)| {
            let random = StdRng::seed_from_u64(seed ^ (index as u64 + 1) << 32);
            tokio::spawn(ask(Arc::clone(&setting), random, index, port))
        })
        .collect();
    let mut tally = Tally::default();
    for world in asking {
        tally.take(world.await.unwrap());
    }
    tally.check_log(&log).await;
    let Tally { outcomes, wrong, .. } = &tally;
    let mut report = format!("seed {seed}: {outcomes:?}");
    // One of each kind.
    let kinds: BTreeMap<&str, &String> =
        wrong.iter().rev().map(|text| (text.split(':').next().unwrap_or(text), text)).collect();
    for text in kinds.values() {
        let _ = write!(report, "\n\n{text}");
    }
    assert!(wrong.is_empty(), "{} differ. {report}", wrong.len());
    // Or the alphabets do not meet, and nothing is shown.
    for least in ["Forwarded", "NoRoute", "Redirected", "Answered", "NoEndpoint", "NoService"] {
        assert!(outcomes.get(least).is_some_and(|count| *count >= 50), "{least}: {report}");
    }
    println!("{report}");
    plane.stop().await;
}

/// Finds a port for each configuration.
fn free_ports() -> Vec<u16> {
    // All are held until all are known, so that none is given twice.
    let held: Vec<TcpListener> =
        (0..WORLDS).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Makes the services, what stands behind them, and the endpoints that fail.
async fn services() -> (Vec<Value>, Vec<(String, Backend)>, BTreeSet<EndpointId>) {
    // Endpoints by name: priority, and whether it fails.
    let wanted: [(&str, &[(u32, bool)]); 8] = [
        ("one", &[(0, false)]),
        ("two", &[(0, false), (0, false)]),
        ("three", &[(0, false), (0, false), (0, false)]),
        ("none", &[]),
        ("half", &[(0, true), (0, false)]),
        ("second", &[(0, true), (1, false)]),
        ("down", &[(0, true), (0, true)]),
        ("never", &[(0, true), (0, true)]),
    ];
    let (mut objects, mut running, mut failing) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (service, endpoints) in wanted {
        let mut members = Vec::new();
        for (index, (priority, fails)) in endpoints.iter().enumerate() {
            let name = format!("{service}-{index}");
            let backend = Backend::start(&name).await;
            members.push(json!({
                "address": "127.0.0.1", "port": backend.port, "priority": priority
            }));
            if *fails {
                failing.insert(EndpointId {
                    service: format!("Service/s/{service}").parse().unwrap(),
                    address: ([127, 0, 0, 1], backend.port).into(),
                });
            }
            running.push((name, backend));
        }
        let mut spec = json!({ "endpoints": members });
        if service == "never" {
            spec["failover"] = json!({ "panicThresholdPercent": 0 });
        }
        let metadata = json!({ "namespace": "s", "name": service });
        objects.push(json!({ "kind": "Service", "metadata": metadata, "spec": spec }));
    }
    (objects, running, failing)
}

/// Waits until Envoy knows which endpoints fail.
async fn settled(plane: &Plane) {
    for (service, healthy) in [("half", 1), ("second", 1), ("down", 2), ("never", 0)] {
        let name = format!("cluster.s/{service}.membership_healthy");
        eventually(&name, async || (plane.statistic(&name).await == Some(healthy)).then_some(()))
            .await;
    }
}

/// What one request was said to do, and whether it did.
struct Asked {
    id: String,
    outcome: Outcome,
    route: Option<String>,
    services: BTreeSet<String>,
    told: String,
    wrong: Option<String>,
}

async fn ask(setting: Arc<Setting>, mut random: StdRng, world: usize, port: u16) -> Vec<Asked> {
    let mut client = Client::connect(port).await.unwrap();
    let mut asked = Vec::with_capacity(REQUESTS);
    let grounds =
        Grounds { node: NodeId(1), config: &setting.config, live: true, failing: &setting.failing };
    for number in 0..REQUESTS {
        let id = format!("{world}-{number}");
        let request = random::request(&mut random, port, id.clone(), &setting.token);
        let said = explain(&question(&request, world), &grounds).unwrap();
        let answer = send(&mut client, port, &request).await;
        let decisions = said.decisions.iter().map(ToString::to_string).collect::<Vec<_>>();
        let told =
            format!("{request:?}\n{}\n{:?}\n{answer:?}", decisions.join("\n"), said.upstream);
        asked.push(Asked {
            id,
            outcome: said.outcome,
            route: said.route.clone(),
            services: said.services.iter().map(|it| it.service.to_string()).collect(),
            wrong: compare(&said, &answer, &setting.backends).err(),
            told,
        });
    }
    asked
}

fn question(request: &Request, world: usize) -> RequestQuestion {
    let header = |(name, value): &(&str, String)| RequestHeader {
        name: (*name).to_owned(),
        value: value.clone(),
    };
    RequestQuestion {
        url: format!("http://{}{}", request.host, request.target),
        method: Some(request.method.clone()),
        headers: request.headers.iter().map(header).collect(),
        client: Some([127, 0, 0, 1].into()),
        listener: Some(format!("w{world}/web")),
        to: None,
        revision: None,
    }
}

async fn send(client: &mut Client, port: u16, request: &Request) -> Answer {
    let Request { method, host, target, headers } = request;
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if let Some(answer) = client.send(method, host, target, &headers).await {
        return answer;
    }
    // Some answers end the connection.
    *client = Client::connect(port).await.unwrap();
    client.send(method, host, target, &headers).await.expect("an answer")
}

/// All requests and what is wrong with what was said of them.
#[derive(Default)]
struct Tally {
    asked: BTreeMap<String, Asked>,
    outcomes: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn take(&mut self, world: Vec<Asked>) {
        for asked in world {
            *self.outcomes.entry(format!("{:?}", asked.outcome)).or_default() += 1;
            if let Some(wrong) = &asked.wrong {
                self.wrong.push(format!("{wrong}\n{}", asked.told));
            }
            self.asked.insert(asked.id.clone(), asked);
        }
    }

    /// Compares route and service with those that Envoy's access log names.
    async fn check_log(&mut self, log: &Path) {
        let lines = eventually("the access log", async || {
            let text = std::fs::read_to_string(log).ok()?;
            (text.lines().count() >= self.asked.len()).then_some(text)
        })
        .await;
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let asked = &self.asked[line["id"].as_str().unwrap()];
            // The table of a host ends with a route of its own, which has no name.
            let route = line["route"].as_str().filter(|name| *name != "-");
            let service = line["service"].as_str();
            // What is answered before has a service too, which no request reaches.
            let is_service = asked.services.is_empty()
                || service.is_none_or(|name| asked.services.contains(&format!("Service/{name}")));
            if route != asked.route.as_deref() || !is_service {
                self.wrong.push(format!("route or service: the log has {line}\n{}", asked.told));
            }
        }
    }
}
