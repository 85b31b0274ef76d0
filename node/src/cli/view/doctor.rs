//! Findings of the doctor: a line each, the worst first, and a line that counts them.

use dataplane::doctor::{Finding, Level};

use crate::cli::table;

/// Lays out findings.
#[must_use]
pub fn findings(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let rows: Vec<Vec<String>> = sorted
        .into_iter()
        .map(|Finding { check, subject, level, found, remedy }| {
            let found = match remedy {
                Some(command) => format!("{found}; run: {command}"),
                None => found.clone(),
            };
            vec![level.to_string(), check.to_string(), subject.clone(), found]
        })
        .collect();
    let counts: Vec<String> = Level::WORST_FIRST
        .iter()
        .map(|level| (level, findings.iter().filter(|finding| finding.level == *level).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(level, count)| match (level, count) {
            (Level::Ok, _) => format!("{count} ok"),
            (Level::LeftOut, _) => format!("{count} left out"),
            (_, 1) => format!("1 {level}"),
            _ => format!("{count} {level}s"),
        })
        .collect();
    format!(
        "{}\n{}\n",
        table::render(&["LEVEL", "CHECK", "SUBJECT", "FOUND"], &rows),
        counts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use dataplane::doctor::Check;

    use super::*;

    #[test]
    fn the_worst_is_first_and_each_finding_is_a_line_with_its_remedy() {
        let all = [
            Finding::new(Check::Kernel, "host", Level::Ok, "Linux 6.12"),
            Finding::new(Check::Lro, "eth0", Level::Problem, "on: refused")
                .remedy("ethtool -K eth0 lro off"),
            Finding::new(Check::Jit, "host", Level::LeftOut, "needs root"),
            Finding::new(Check::Xdp, "eth0", Level::Ok, "native"),
            Finding::new(Check::Queues, "eth0", Level::Warning, "few"),
            Finding::new(Check::Queues, "eth1", Level::Warning, "few"),
        ];
        let expected = "\
LEVEL     CHECK   SUBJECT  FOUND
problem   lro     eth0     on: refused; run: ethtool -K eth0 lro off
warning   queues  eth0     few
warning   queues  eth1     few
left-out  jit     host     needs root
ok        kernel  host     Linux 6.12
ok        xdp     eth0     native

1 problem, 2 warnings, 1 left out, 2 ok
";
        assert_eq!(findings(&all), expected);
    }
}
