//! Modules: which, how large, who runs them.

use model::api::ModuleInfo;

use super::time;
use crate::cli::table;

const HEADINGS: [&str; 6] = ["SHA256", "KIB", "LEAST MEMORY", "SINCE", "BY", "RUN BY"];

/// Lays out modules.
#[must_use]
pub fn table(modules: &[ModuleInfo]) -> String {
    if modules.is_empty() {
        return "no module yet\n".to_owned();
    }
    let rows: Vec<_> = modules.iter().map(row).collect();
    table::render(&HEADINGS, &rows)
}

fn row(info: &ModuleInfo) -> Vec<String> {
    let users = info.used_by.iter().map(|key| format!("{}/{}", key.namespace, key.name));
    vec![
        info.sha256.to_string(),
        info.bytes.div_ceil(1024).to_string(),
        format!("{} MiB", info.least_memory_mib),
        time(info.created_ms),
        info.created_by.clone(),
        users.collect::<Vec<_>>().join(","),
    ]
}

#[cfg(test)]
mod tests {
    use model::ModuleId;

    use super::*;

    #[test]
    fn a_module_is_one_line() {
        let info = ModuleInfo {
            sha256: ModuleId([0xab; 32]),
            bytes: 1_025,
            least_memory_mib: 2,
            created_ms: 1_000,
            created_by: "admin".into(),
            used_by: vec!["FilterModule/default/a".parse().unwrap()],
        };
        let digits = "ab".repeat(32);
        let expected = format!(
            "SHA256{}  KIB  LEAST MEMORY  SINCE                 BY     RUN BY\n\
             {digits}  2    2 MiB         1970-01-01 00:00:01Z  admin  default/a\n",
            " ".repeat(58)
        );
        assert_eq!(table(&[info]), expected);
        assert_eq!(table(&[]), "no module yet\n");
    }
}
