//! Which crate may name which dependency. `deny.toml` says the same for those who have cargo-deny;
//! this check needs nothing but cargo, and also holds the layering of our own crates.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::workspace::{cargo, read};

/// Our crates, and which of ours each may name.
const LAYERS: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("runtime", &["model"]),
    ("consensus", &["model", "runtime"]),
    ("ebpf-common", &[]),
    ("dataplane", &["model", "runtime", "ebpf-common"]),
    ("node", &["model", "runtime", "consensus", "dataplane", "ebpf-common"]),
    ("lab", &[]),
    ("chaos-tests", &["lab", "model", "node"]),
    ("xtask", &["lab"]),
];

/// Dependencies (by the start of their names) and the only crates that may name them.
const OWNERS: [(&str, &[&str]); 4] = [
    ("sled", &["consensus"]),
    ("openraft", &["consensus"]),
    ("aya", &["dataplane", "ebpf-common"]),
    ("dioxus", &["ui-dioxus"]),
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
}

/// Checks the workspace.
///
/// # Errors
/// All violations.
pub(crate) fn check() -> Result<()> {
    let text = read(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&text).context("reading cargo metadata")?;
    let violations = violations(&metadata.packages);
    ensure!(violations.is_empty(), "\n  {}", violations.join("\n  "));
    Ok(())
}

fn violations(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    let ours = |name: &str| packages.iter().any(|package| package.name == name);
    for package in packages {
        let layer = LAYERS.iter().find(|(name, _)| *name == package.name);
        if layer.is_none() {
            found.push(format!("{} has no place in the layers of the workspace", package.name));
        }
        let allowed = layer.map_or(&[][..], |(_, allowed)| allowed);
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            // A crate may name itself for its own tests' features.
            if ours(name) && name != package.name && !allowed.contains(&name) {
                found.push(format!("{} must not import {name}", package.name));
            }
            for (prefix, owners) in OWNERS {
                if name.starts_with(prefix) && !owners.contains(&package.name.as_str()) {
                    found.push(format!(
                        "{} must not name {name}: only {owners:?} may",
                        package.name
                    ));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies =
            dependencies.iter().map(|name| Dependency { name: (*name).to_owned() }).collect();
        Package { name: name.to_owned(), dependencies }
    }

    #[test]
    fn upward_sideways_and_foreign_imports_are_found() {
        let check = |name: &str, dependencies: &[&str], want: &[&str]| {
            let packages =
                [package(name, dependencies), package("model", &[]), package("node", &[])];
            let found = violations(&packages);
            assert_eq!(found.len(), want.len(), "{found:?}");
            for (found, want) in found.iter().zip(want) {
                assert!(found.contains(want), "{found}");
            }
        };
        check("runtime", &["model", "serde"], &[]);
        check("runtime", &["node"], &["must not import node"]);
        check("dataplane", &["aya", "sled"], &["must not name sled"]);
        check("consensus", &["sled", "openraft", "aya-obj"], &["must not name aya-obj"]);
        check("stranger", &[], &["no place"]);
    }
}
