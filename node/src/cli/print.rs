//! Printing: answers to the standard output, everything else to the standard error.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    arguments::Format,
    exit::{Chain, Failure},
};

/// Writes text to the standard output. A reader that has gone away, as `head` does, is no failure.
pub(super) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

/// Writes an answer in the format asked for.
pub(super) fn answer<T: Serialize>(
    format: Format,
    answer: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    match format {
        Format::Table => out(&table(answer)),
        Format::Json => out(&json(answer)),
        Format::Yaml => out(&yaml(answer)),
    }
}

/// Indented JSON with a line break.
pub(super) fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("answers have string keys");
    text.push('\n');
    text
}

/// One YAML document.
pub(super) fn yaml(value: &impl Serialize) -> String {
    let mut text = serde_saphyr::to_string(value).expect("answers have string keys");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Says something that is no answer.
pub(super) fn note(text: &str) {
    // When the standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a failure with its causes, and all errors of a configuration.
pub(super) fn error(failure: &Failure) {
    let mut text = format!("error: {}", Chain(failure));
    if let Failure::Client(crate::client::ClientError::Api { body, .. }) = failure
        && let Some(errors) = &body.errors
    {
        for error in &errors.0 {
            text.push_str(&format!("\n  {error}"));
        }
    }
    note(&text);
}
