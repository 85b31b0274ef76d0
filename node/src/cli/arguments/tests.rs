//! What the command line accepts, and what it refuses with exit status 2.

use clap::{CommandFactory, Parser};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("marchproxy").chain(line.split_whitespace()))
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn command_lines_are_accepted_or_refused() {
    let check = |line: &str, accepted: bool| {
        assert_eq!(parse(line).is_ok(), accepted, "{line}: {:?}", parse(line).err());
    };
    for line in [
        "up",
        "up --address 10.0.0.1 --zone a --log json",
        "up --envoy-memory 512",
        "up --expect 3 --peers 10.0.0.1,10.0.0.2 --cluster-secret-file f",
        "join mp1.abc --data-dir /tmp/d",
        "apply -f a.yaml -f dir --wait --timeout 5s -m why",
        "apply -f - --dry-run --expect-revision 7 -o json",
        "get services",
        "get httproute shop -n prod -o yaml",
        "get LISTENER -A",
        "delete service cart --wait",
        "diff -f x",
        "history",
        "history 42 -o json",
        "rollback 42 --dry-run --all-at-once",
        "rollout",
        "rollout -o json",
        "rollout status",
        "rollout pause",
        "rollout resume -o yaml",
        "rollout abort -m why",
        "certificates",
        "certificates -o json",
        "certificates list -o yaml",
        "certificates authority own -n shops",
        "status --server 10.0.0.1 --context-file c",
        "doctor",
        "doctor --interface eth0 --interface eth0.5 --to 10.0.0.2 --to fd00::2 -o json",
        "doctor --data-dir /tmp/d --run-dir /tmp/r --envoy /usr/bin/envoy",
        "dataplane --data-dir d --run-dir r",
        "dataplane restart --node 1 --node 2",
        "dataplane restart-envoy --node 1 --drain",
        "dataplane detach",
        "nodes",
        "nodes list -o json",
        "nodes -o yaml",
        "nodes remove 3",
        "token create ci --role read",
        "token join --ttl 10m",
        "explain --from 10.0.0.1:1 --to 10.0.0.2:80",
        "explain request GET https://shop.example/cart -H x:1 -H y:2 --revision 3 --node 2 -o json",
        "explain request POST http://a/ --to 10.0.0.2:80 --client ::1",
        "events --follow --after 3",
        "watch --count 1",
        "context show",
        "context refresh",
        "context set --server 10.0.0.1 --token-file -",
        "context set --ca-pin -LAmG0P-5kFBdXm8uJ0sbFHLgL5HCkJcJqse7E0cU9s",
        "completions fish",
        "version",
    ] {
        check(line, true);
    }
    for line in [
        "",
        "up --envoy-memory 64",
        "dataplane",
        "dataplane restart",
        "dataplane restart-envoy",
        "apply",
        "apply -f a --wait --dry-run",
        "apply -f a --wait --timeout soon",
        "apply -f a --expect-revision -1",
        "get nonsense",
        "get services cart -A",
        "delete service",
        "rollback",
        "rollback now",
        "history --limit 0",
        "token create ci",
        "token create ci --role root",
        "up --expect 3",
        "up --expect 9 --peers a --cluster-secret-file f",
        "up --peers 10.0.0.1",
        "up --address nowhere",
        "up --api-port 70000",
        "nodes -o json remove 3",
        "join",
        "status --server http://10.0.0.1",
        "context set --ca-pin short",
        "doctor eth0",
        "doctor --interface ../x",
        "doctor --interface a-name-of-16-let",
        "doctor --to example.org",
        "doctor -o xml",
        "explain",
        "explain --from 10.0.0.1:1 request GET http://a/",
        "explain request GET",
        "explain request GET http://a/ -H nothing",
        "explain request GET http://a/ --listener web --to 10.0.0.2:80",
        "frobnicate",
    ] {
        check(line, false);
    }
}

#[test]
fn a_wrong_kind_is_answered_with_the_right_ones() {
    let error = parse("get pods").unwrap_err().to_string();
    assert!(error.contains("HTTPRoute"), "{error}");
}

#[test]
fn times_have_a_unit() {
    let check = |text: &str, ms: Option<u128>| {
        assert_eq!(parse_time(text).ok().map(|time| time.as_millis()), ms, "{text}");
    };
    check("30s", Some(30_000));
    check("500ms", Some(500));
    check("2h", Some(7_200_000));
    check("5m", Some(300_000));
    check("5", None);
    check("s", None);
    check("-5s", None);
    check("99999999999999999999s", None);
    check("18446744073709551615h", None);
}
