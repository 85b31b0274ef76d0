//! What writes did or would do: outcomes, diffs and the history.

use std::fmt::Write as _;

use model::api::{
    Action, ApplyResponse, DiffResponse, FieldChange, HistoryEntry, HistoryResponse, ObjectDiff,
    ObjectOutcome, RevisionDetail,
};
use serde_json::Value;

use super::time;
use crate::cli::table;

/// The longest value shown on one line; longer ones are cut, since a diff is to be read.
const VALUE_CHARACTERS_MAX: usize = 120;

/// Lays out what an apply, a delete or a rollback did.
#[must_use]
pub fn applied(response: &ApplyResponse) -> String {
    let mut out = String::new();
    for ObjectOutcome { object, action } in &response.objects {
        writeln!(out, "{object} {}", word(*action)).expect("a String takes everything");
    }
    for error in &response.forced {
        writeln!(out, "forced: {error}").expect("a String takes everything");
    }
    for warning in &response.warnings {
        writeln!(out, "warning: {warning}").expect("a String takes everything");
    }
    let changed = response.objects.iter().any(|outcome| outcome.action != Action::Unchanged);
    let line = match (response.dry_run, changed) {
        (true, true) => {
            format!("dry run against revision {}: nothing is written", response.revision)
        }
        (true, false) => {
            format!("dry run against revision {}: nothing would change", response.revision)
        }
        (false, true) => format!("revision {}", response.revision),
        (false, false) => format!("revision {}, unchanged", response.revision),
    };
    out.push_str(&line);
    out.push('\n');
    out
}

/// Lays out a diff.
#[must_use]
pub fn diff(response: &DiffResponse) -> String {
    if response.objects.is_empty() {
        return format!("no difference to revision {}\n", response.revision);
    }
    objects(&response.objects)
}

/// Lays out the history.
#[must_use]
pub fn history(response: &HistoryResponse) -> String {
    let rows: Vec<Vec<String>> = response
        .entries
        .iter()
        .map(|entry| {
            vec![
                entry.revision.to_string(),
                time(entry.time_ms),
                entry.actor.clone(),
                summary(&entry.objects),
                entry.message.clone(),
            ]
        })
        .collect();
    table::render(&["REVISION", "TIME", "ACTOR", "CHANGES", "MESSAGE"], &rows)
}

/// Lays out one revision with everything that it changed.
#[must_use]
pub fn revision(detail: &RevisionDetail) -> String {
    let HistoryEntry { revision, time_ms, actor, message, .. } = &detail.entry;
    let mut out = format!("revision {revision}, {}, by {actor}\n", time(*time_ms));
    if !message.is_empty() {
        writeln!(out, "{message}").expect("a String takes everything");
    }
    out.push('\n');
    out.push_str(&objects(&detail.changes));
    out
}

/// Counts outcomes: `1 created, 2 updated`.
#[must_use]
pub fn summary(objects: &[ObjectOutcome]) -> String {
    let count = |action| objects.iter().filter(|outcome| outcome.action == action).count();
    [Action::Created, Action::Updated, Action::Deleted]
        .into_iter()
        .map(|action| (count(action), word(action)))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn objects(objects: &[ObjectDiff]) -> String {
    let mut out = String::new();
    for ObjectDiff { object, action, fields } in objects {
        let sign = match action {
            Action::Created => '+',
            Action::Deleted => '-',
            Action::Updated => '~',
            Action::Unchanged => ' ',
        };
        writeln!(out, "{sign} {object} {}", word(*action)).expect("a String takes everything");
        if *action == Action::Updated {
            for FieldChange { path, old, new } in fields {
                let line = match (old, new) {
                    (Some(old), Some(new)) => format!("~ {path}: {} -> {}", short(old), short(new)),
                    (None, Some(new)) => format!("+ {path}: {}", short(new)),
                    (Some(old), None) => format!("- {path}: {}", short(old)),
                    (None, None) => continue,
                };
                writeln!(out, "    {line}").expect("a String takes everything");
            }
        }
    }
    out
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Created => "created",
        Action::Updated => "updated",
        Action::Deleted => "deleted",
        Action::Unchanged => "unchanged",
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use model::Revision;
    use serde_json::json;

    use super::*;

    fn outcome(object: &str, action: Action) -> ObjectOutcome {
        ObjectOutcome { object: object.parse().unwrap(), action }
    }

    #[test]
    fn an_apply_lists_objects_and_ends_with_the_revision() {
        let mut response = ApplyResponse {
            revision: Revision(42),
            dry_run: false,
            objects: vec![
                outcome("Service/default/cart", Action::Updated),
                outcome("Listener/default/web", Action::Unchanged),
            ],
            forced: Vec::new(),
            warnings: vec!["not tried".to_owned()],
        };
        let lines =
            "Service/default/cart updated\nListener/default/web unchanged\nwarning: not tried\n";
        assert_eq!(applied(&response), format!("{lines}revision 42\n"));
        response.dry_run = true;
        assert!(applied(&response).ends_with("dry run against revision 42: nothing is written\n"));
        response.objects.remove(0);
        assert!(applied(&response).ends_with("nothing would change\n"));
    }

    #[test]
    fn a_diff_shows_old_and_new_values_by_field() {
        let change = |path: &str, old: Option<Value>, new: Option<Value>| FieldChange {
            path: path.to_owned(),
            old,
            new,
        };
        let response = DiffResponse {
            revision: Revision(7),
            objects: vec![
                ObjectDiff {
                    object: "Service/default/cart".parse().unwrap(),
                    action: Action::Updated,
                    fields: vec![
                        change("spec.endpoints[0].weight", Some(json!(1)), Some(json!(2))),
                        change("spec.healthCheck", None, Some(json!({"tcp": {}}))),
                        change("metadata.labels.team", Some(json!("web")), None),
                    ],
                },
                ObjectDiff {
                    object: "Service/default/old".parse().unwrap(),
                    action: Action::Deleted,
                    fields: vec![],
                },
            ],
        };
        let expected = "\
~ Service/default/cart updated
    ~ spec.endpoints[0].weight: 1 -> 2
    + spec.healthCheck: {\"tcp\":{}}
    - metadata.labels.team: \"web\"
- Service/default/old deleted
";
        assert_eq!(diff(&response), expected);
        let same = DiffResponse { revision: Revision(7), objects: vec![] };
        assert_eq!(diff(&same), "no difference to revision 7\n");
    }

    #[test]
    fn the_history_is_a_table() {
        let response = HistoryResponse {
            floor: Revision(3),
            entries: vec![HistoryEntry {
                revision: Revision(9),
                time_ms: 1_795_000_000_000,
                actor: "admin".to_owned(),
                message: String::new(),
                objects: vec![
                    outcome("Service/default/a", Action::Created),
                    outcome("Service/default/b", Action::Created),
                    outcome("Service/default/c", Action::Deleted),
                ],
            }],
        };
        let expected = "\
REVISION  TIME                  ACTOR  CHANGES               MESSAGE
9         2026-11-18 11:06:40Z  admin  2 created, 1 deleted  -
";
        assert_eq!(history(&response), expected);
    }
}
