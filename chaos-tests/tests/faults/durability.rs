//! Everything is killed at once in the middle of writing; nothing acknowledged is lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos_tests::{Fixture, LIMIT, scenario};
use lab::api::Api;
use lab::waiting::{pause, wait_for, wait_until};
use serde_json::Value;

const APPLIES: usize = 200;
/// Everything is killed after so many acknowledged applies, and again after so many.
const KILLS: [usize; 2] = [70, 140];

/// What was acknowledged: the number of the apply and its revision.
type Acknowledged = Arc<Mutex<Vec<(usize, u64)>>>;

#[test]
fn cluster_every_acknowledged_apply_survives_the_death_of_all_processes() {
    scenario(Fixture::serving(3), |fixture| {
        let acknowledged: Acknowledged = Arc::default();
        let (next, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let apis = (0..3).map(|index| fixture.cluster.api(index)).collect::<Result<Vec<_>>>()?;
        let writer = {
            let (acknowledged, next, stop) =
                (Arc::clone(&acknowledged), Arc::clone(&next), Arc::clone(&stop));
            std::thread::spawn(move || write(apis, &acknowledged, &next, &stop))
        };
        let count = || acknowledged.lock().expect("no panic while held").len();
        for kill_at in KILLS {
            wait_for(format!("{kill_at} applies"), LIMIT * 2, || count() >= kill_at)?;
            for member in &mut fixture.cluster.members {
                member.kill_all();
            }
            for member in &mut fixture.cluster.members {
                member.spawn_again()?;
            }
            for member in &mut fixture.cluster.members {
                member.wait_serving()?;
            }
            wait_until("the acknowledged applies", LIMIT, || verify(fixture, &acknowledged))?;
        }
        wait_for("all applies", LIMIT * 4, || next.load(Ordering::SeqCst) >= APPLIES)?;
        stop.store(true, Ordering::SeqCst);
        writer.join().expect("the writer does not panic");
        ensure!(count() >= APPLIES / 2, "only {} of {APPLIES} were acknowledged", count());
        wait_until("the acknowledged applies", LIMIT, || verify(fixture, &acknowledged))
    });
}

/// Applies one object after the other, each through the next node. An apply without an answer may
/// have happened or not; the next number is taken.
fn write(mut apis: Vec<Api>, acknowledged: &Acknowledged, next: &AtomicUsize, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let number = next.fetch_add(1, Ordering::SeqCst);
        if number >= APPLIES {
            return;
        }
        let node = number % apis.len();
        match apis[node].apply(&document(number)) {
            Ok((revision, _)) => {
                acknowledged.lock().expect("no panic while held").push((number, revision));
            }
            // A dead cluster refuses at once: without a pause, all numbers would be used up on it.
            Err(_) => pause(Duration::from_millis(200)),
        }
    }
}

fn document(number: usize) -> String {
    format!(
        "kind: Service\nmetadata: {{ name: w{number}, labels: {{ marker: \"m-{number}\" }} }}\n\
         spec: {{ endpoints: [{{ address: 10.9.8.7, port: {} }}] }}\n",
        1000 + number
    )
}

/// Every acknowledged object is on every node as it was written, and no two revisions are equal.
fn verify(fixture: &Fixture, acknowledged: &Acknowledged) -> Result<()> {
    let acknowledged = acknowledged.lock().expect("no panic while held").clone();
    let mut revisions: Vec<u64> = acknowledged.iter().map(|(_, revision)| *revision).collect();
    revisions.sort_unstable();
    revisions.dedup();
    ensure!(revisions.len() == acknowledged.len(), "a revision was acknowledged twice");
    let mut bytes: Option<Vec<String>> = None;
    for index in 0..3 {
        let mut api = fixture.cluster.api(index)?;
        let mut seen = Vec::new();
        for (number, revision) in &acknowledged {
            let object = api
                .get(&format!("/v1/objects/Service/default/w{number}"))
                .with_context(|| format!("node {}, revision {revision}", index + 1))?;
            check(&object, *number)?;
            seen.push(format!("{}{}", object["metadata"], object["spec"]));
        }
        let first = bytes.get_or_insert_with(|| seen.clone());
        ensure!(*first == seen, "node {} holds other bytes than node 1", index + 1);
    }
    Ok(())
}

fn check(object: &Value, number: usize) -> Result<()> {
    let endpoint = &object["spec"]["endpoints"][0];
    let marker = format!("m-{number}");
    ensure!(
        endpoint["port"].as_u64() == Some(1000 + number as u64)
            && endpoint["address"] == "10.9.8.7"
            && object["metadata"]["labels"]["marker"] == marker.as_str(),
        "w{number} is {object}"
    );
    Ok(())
}
