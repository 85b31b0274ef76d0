//! What to measure, from the command line.

use std::time::Duration;

/// Numbers of flows that are powers of two, since the generator counts with a mask.
const FLOWS: [u64; 4] = [1, 1 << 10, 1 << 16, 1 << 20];
/// Runs, of which the median is told.
const RUNS: usize = 5;
const WINDOW: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// How often everything is measured.
    pub(crate) runs: usize,
    /// How long frames are counted each time.
    pub(crate) window: Duration,
    /// Numbers of flows.
    pub(crate) flows: Vec<u64>,
    /// Names of the cases; none for all.
    cases: Vec<String>,
}

impl Arguments {
    /// Reads `--runs N`, `--window-ms N`, `--flows N,…` and `--cases NAME,…`.
    ///
    /// # Errors
    /// Returns what is wrong.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut found =
            Self { runs: RUNS, window: WINDOW, flows: FLOWS.to_vec(), cases: Vec::new() };
        // Cargo adds `--bench`.
        let mut words = words.filter(|word| word != "--bench");
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} wants a value"))?;
            let number = |text: &str| {
                text.parse::<u64>()
                    .ok()
                    .filter(|number| *number > 0)
                    .ok_or_else(|| format!("{name} wants a number from 1 up, not {text:?}"))
            };
            match name.as_str() {
                "--runs" => found.runs = number(&value)? as usize,
                "--window-ms" => found.window = Duration::from_millis(number(&value)?),
                "--flows" => {
                    found.flows = value.split(',').map(number).collect::<Result<_, _>>()?;
                    if let Some(other) = found.flows.iter().find(|n| !n.is_power_of_two()) {
                        return Err(format!("--flows wants powers of two, not {other}"));
                    }
                }
                "--cases" => found.cases = value.split(',').map(str::to_owned).collect(),
                _ => return Err(format!("{name} is no option")),
            }
        }
        Ok(found)
    }

    /// Tells whether a case is to be measured.
    pub(crate) fn takes(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }
}
