//! Progress for people: a line that moves on a terminal, plain lines elsewhere (logs, CI).

use std::fmt::Display;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(120);

/// A step under way; says how it ended when told to.
#[derive(Debug)]
pub(crate) struct Step {
    what: String,
    start: Instant,
    spinner: Option<ProgressBar>,
}

impl Step {
    /// Announces a step.
    pub(crate) fn begin(what: impl Display) -> Self {
        let what = what.to_string();
        let spinner = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style).with_message(what.clone());
            bar.enable_steady_tick(TICK);
            bar
        });
        if spinner.is_none() {
            eprintln!("   … {what}");
        }
        Self { what, start: Instant::now(), spinner }
    }

    /// Changes what is shown while the step runs; nothing is printed where nothing moves.
    pub(crate) fn note(&self, text: impl Display) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(format!("{}: {text}", self.what));
        }
    }

    /// Ends it well.
    pub(crate) fn done(self, result: impl Display) {
        self.end("ok", &result.to_string());
    }

    /// Ends it badly.
    pub(crate) fn fell_short(self, reason: impl Display) {
        self.end("NO", &reason.to_string());
    }

    fn end(self, mark: &str, result: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        let elapsed = self.start.elapsed().as_secs_f64();
        let colon = if result.is_empty() { "" } else { ": " };
        eprintln!("{mark:>4}  {}{colon}{result} ({elapsed:.1} s)", self.what);
    }
}

/// Runs a step and prints how it ended.
///
/// # Errors
/// Those of `work`.
pub(crate) fn step<T>(what: impl Display, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
    let step = Step::begin(what);
    match work(&step) {
        Ok(value) => {
            step.done("");
            Ok(value)
        }
        Err(error) => {
            step.fell_short(format!("{error:#}"));
            Err(error)
        }
    }
}
