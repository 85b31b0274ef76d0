//! Inputs of [`super::run`] at which a session or the model failed once, by what they broke.

use super::{Action, run};

#[test]
fn what_envoy_has_counts_as_accepted_though_its_answer_was_lost() {
    run(vec![
        Action::Route(0, 2, 0),
        Action::Poison(2, false),
        Action::Service(2, 1, true),
        Action::Publish,
        Action::Steps(1),
        Action::Reconnect(false),
        Action::Service(2, 1, false),
    ]);
}

#[test]
fn what_stands_in_gets_clusters_that_a_new_envoy_never_had() {
    run(vec![
        Action::Route(3, 1, 0),
        Action::Publish,
        Action::Steps(7),
        Action::RemoveService(1),
        Action::Reconnect(true),
        Action::Route(3, 2, 0),
        Action::Poison(3, true),
    ]);
}

#[test]
fn a_route_whose_answer_was_lost_is_removed_all_the_same() {
    run(vec![
        Action::Route(0, 0, 0),
        Action::Publish,
        Action::Service(1, 1, false),
        Action::Steps(2),
        Action::Route(3, 0, 0),
        Action::Publish,
        Action::Steps(5),
        Action::Reconnect(false),
        Action::RemoveRoute(3),
    ]);
}

#[test]
fn a_cluster_that_lingers_keeps_its_endpoints() {
    run(vec![
        Action::Route(2, 0, 0),
        Action::Publish,
        Action::Route(2, 1, 0),
        Action::Steps(6),
        Action::Service(0, 1, true),
        Action::Publish,
        Action::Steps(1),
        Action::RemoveService(0),
    ]);
}

#[test]
fn a_cluster_stays_while_a_route_in_doubt_may_go_to_it() {
    run(vec![
        Action::Service(0, 1, false),
        Action::RemoveRoute(0),
        Action::Service(1, 3, true),
        Action::Route(0, 0, 0),
        Action::Publish,
        Action::Steps(8),
        Action::Reconnect(false),
        Action::RemoveService(0),
        Action::Route(0, 1, 0),
        Action::Service(1, 1, true),
        Action::Publish,
        Action::Steps(2),
        Action::Wait,
        Action::Service(1, 1, false),
    ]);
}

#[test]
fn a_cluster_stays_until_the_collections_of_before_were_asked_for() {
    run(vec![
        Action::Service(0, 1, false),
        Action::Service(1, 1, false),
        Action::Route(0, 0, 0),
        Action::Publish,
        Action::Steps(19),
        Action::Steps(19),
        Action::Reconnect(false),
        Action::RemoveService(0),
        Action::Route(0, 1, 0),
        Action::Publish,
        Action::Steps(3),
        Action::Wait,
    ]);
}

#[test]
fn what_was_sent_before_a_lost_refusal_is_settled() {
    run(vec![
        Action::Route(2, 2, 0),
        Action::Route(0, 0, 0),
        Action::Reconnect(true),
        Action::Publish,
        Action::Steps(4),
        Action::Reconnect(false),
        Action::Route(2, 0, 0),
        Action::Poison(2, true),
        Action::Steps(7),
        Action::Reconnect(false),
        Action::Publish,
    ]);
}

#[test]
fn what_a_refused_response_may_have_brought_stands_in() {
    run(vec![
        Action::Service(1, 1, false),
        Action::Poison(1, false),
        Action::Route(0, 3, 0),
        Action::Publish,
        Action::Service(3, 1, true),
        Action::Steps(1),
        Action::Poison(3, false),
        Action::Service(0, 1, false),
    ]);
}

#[test]
fn a_refusal_that_was_lost_behind_another_one_is_asked_for_again() {
    run(vec![
        Action::Route(0, 2, 0),
        Action::RemoveService(0),
        Action::Publish,
        Action::Route(2, 2, 0),
        Action::Service(0, 1, false),
        Action::Route(0, 3, 0),
        Action::Poison(2, true),
        Action::Steps(3),
        Action::Poison(3, false),
        Action::Publish,
        Action::Steps(7),
        Action::Reconnect(false),
    ]);
}

#[test]
fn a_refusal_heard_after_its_removal_is_over_when_it_is_put_back() {
    run(vec![
        Action::Service(3, 1, false),
        Action::Poison(3, false),
        Action::Route(0, 2, 0),
        Action::Reconnect(true),
        Action::Service(0, 1, false),
        Action::Publish,
        Action::Steps(12),
        Action::RemoveService(3),
        Action::Publish,
        Action::Service(3, 1, false),
        Action::Steps(6),
    ]);
}

#[test]
fn a_refusal_heard_after_its_removal_is_over_though_the_response_was_refused_whole() {
    run(vec![
        Action::Route(1, 3, 0),
        Action::Poison(3, false),
        Action::Service(3, 1, false),
        Action::Service(0, 1, false),
        Action::Publish,
        Action::Whole(true),
        Action::RemoveService(3),
        Action::Reconnect(false),
        Action::Route(1, 0, 0),
        Action::Steps(6),
        Action::Publish,
        Action::Steps(6),
        Action::Service(3, 1, false),
    ]);
}

#[test]
fn a_version_whose_answer_was_lost_over_a_restart_ends_a_refusal() {
    run(vec![
        Action::Route(0, 1, 0),
        Action::Publish,
        Action::Service(1, 1, true),
        Action::Steps(1),
        Action::Poison(1, false),
        Action::Reconnect(true),
        Action::Publish,
        Action::Steps(2),
        Action::Service(1, 1, false),
        Action::Publish,
        Action::Steps(4),
        Action::Service(1, 1, true),
    ]);
}

#[test]
fn a_version_whose_answer_was_lost_over_a_cold_start_ends_a_refusal() {
    run(vec![
        Action::Route(0, 0, 0),
        Action::Publish,
        Action::Service(0, 1, true),
        Action::Steps(1),
        Action::Poison(0, false),
        Action::Publish,
        Action::StartCold,
        Action::Steps(3),
        Action::Service(0, 1, false),
        Action::Publish,
        Action::Steps(3),
        Action::Service(0, 1, true),
    ]);
}

#[test]
fn what_stands_in_needs_what_a_new_envoy_was_told_to_drop() {
    run(vec![
        Action::Route(3, 1, 0),
        Action::Publish,
        Action::Steps(7),
        Action::Reconnect(true),
        Action::RemoveService(1),
        Action::Route(3, 0, 0),
        Action::Poison(3, true),
        Action::Steps(2),
    ]);
}

#[test]
fn what_a_refused_response_of_many_brought_stands_in() {
    run(vec![
        Action::Route(0, 0, 0),
        Action::Poison(0, false),
        Action::Publish,
        Action::Service(2, 1, false),
        Action::Poison(2, false),
        Action::Steps(1),
        Action::Service(0, 1, true),
        Action::Publish,
        Action::Steps(2),
        Action::RemoveService(0),
    ]);
}

#[test]
fn a_cluster_goes_with_the_refused_route_that_kept_it() {
    run(vec![
        Action::Route(3, 3, 0),
        Action::Publish,
        Action::Steps(6),
        Action::RemoveService(3),
        Action::Route(3, 0, 0),
        Action::Poison(3, true),
        Action::Publish,
        Action::Steps(7),
        Action::RemoveRoute(3),
    ]);
}

#[test]
fn a_cluster_goes_with_the_version_that_stood_in() {
    run(vec![
        Action::Route(2, 1, 0),
        Action::Service(2, 1, false),
        Action::Publish,
        Action::Route(2, 1, 1),
        Action::Poison(2, true),
        Action::Steps(8),
        Action::Publish,
        Action::Steps(3),
        Action::Route(2, 2, 0),
        Action::RemoveService(1),
    ]);
}
