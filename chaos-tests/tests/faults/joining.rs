//! Who may not join, and that he is told why.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use chaos_tests::{Fixture, LIMIT, edit_line, scenario};
use lab::waiting::{pause, wait_until};
use lab::{Cluster, Loopback, Member};

/// The shortest time that a line can be made for.
const TTL: Duration = Duration::from_secs(60);

#[test]
fn cluster_who_has_no_right_to_join_is_refused_with_a_reason() {
    scenario(Fixture::new(3), |fixture| {
        fixture.cluster.members[0].up(&[])?;
        let first = fixture.cluster.members[0].join_line()?;
        let short = fixture.cluster.members[0].run(&["token", "join", "--ttl", "1m"])?.ok()?;
        let short = lab::member::join_line_in(&short).expect("a join line");
        let made = Instant::now();
        fixture.cluster.members[1].join(&first)?;

        let good = fixture.cluster.new_join_line()?;
        let spoilt = |field: &str| {
            edit_line(&good, |line| {
                let text = line[field].as_str().unwrap_or_default().to_owned();
                line[field] = flip(&text).into();
            })
        };
        let joiner = &mut fixture.cluster.members[2];
        refused(joiner, &first, &["used"])?;
        refused(joiner, &spoilt("secret")?, &["secret"])?;
        refused(joiner, &spoilt("pin")?, &["pin", "CA"])?;
        refused(joiner, "mp1.AAAA", &["join line"])?;
        refused(joiner, &good[..good.len() - 9], &["damaged", "join line"])?;

        // A member of another cluster.
        let net = Loopback::own();
        let other = Cluster::on_loopback(&fixture.instance, &fixture.programs, net, 5);
        let mut foreign: Member = other.members.into_iter().last().expect("five nodes");
        foreign.up(&[
            "--context-file",
            &fixture.instance.directory().join("other.json").display().to_string(),
        ])?;
        foreign.kill_all();
        refused(&mut foreign, &good, &["cluster"])?;

        while made.elapsed() <= TTL {
            pause(Duration::from_millis(200));
        }
        let joiner = &mut fixture.cluster.members[2];
        refused(joiner, &short, &["expired"])?;

        // All that left nothing behind: the good line still works, from the same directory.
        fixture.cluster.members[2].join(&good)?;
        fixture.cluster.wait_voters(3, LIMIT)
    });
}

/// The joiner ends by itself, with a status other than 0 and with one of the words.
fn refused(joiner: &mut Member, line: &str, words: &[&str]) -> Result<()> {
    joiner.spawn(&["join", line], &[])?;
    let status = wait_until(format!("a refusal with {words:?}"), LIMIT, || {
        let log = joiner.log();
        joiner.control()?.ended().ok_or_else(|| anyhow::anyhow!("it still runs:\n{log}"))
    })?;
    let said = joiner.control()?.stderr();
    let last = said.lines().rev().take(8).collect::<Vec<_>>().join("\n");
    ensure!(status.code().is_some_and(|code| code != 0), "it ended with {status}:\n{last}");
    ensure!(words.iter().any(|word| last.contains(word)), "none of {words:?} in:\n{last}");
    ensure!(!last.contains("panicked"), "{last}");
    Ok(())
}

/// Another text of the same form.
fn flip(text: &str) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    // Not the last one: it may carry bits that the encoding does not use.
    let middle = characters.len() / 2;
    if let Some(character) = characters.get_mut(middle) {
        *character = if *character == 'A' { 'B' } else { 'A' };
    }
    characters.into_iter().collect()
}
