//! Builds the XDP object that the data plane embeds.
//!
//! Two toolchains can do it: a `rustc` that brings `core` for the BPF target (Debian's
//! `rustc-web`), or nightly with `rust-src`, which builds `core`. Both need `bpf-linker`. Where
//! neither is there the build fails and says what to run, for a data plane without its XDP
//! object would only fail later.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The target of all machines whose bytes are little-endian; big-endian ones are not supported.
const TARGET: &str = "bpfel-unknown-none";
/// The objects' file names, from `ebpf/programs/Cargo.toml`: the program, and what measures it.
const OBJECTS: [&str; 3] = ["marchproxy-xdp", "marchproxy-drive", "marchproxy-generate"];
/// Debian's toolchain with a precompiled `core` for BPF.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const REMEDY: &str = "run `cargo xtask setup`, which installs what the eBPF build needs";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let ebpf = manifest.parent().expect("the workspace is above").join("ebpf");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for source in [
        "common/Cargo.toml",
        "common/src",
        "programs/Cargo.toml",
        "programs/Cargo.lock",
        "programs/src",
    ] {
        println!("cargo::rerun-if-changed={}", ebpf.join(source).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MARCHPROXY_BPF_RUSTC");
    if let Err(problem) = build(&ebpf.join("programs"), &out) {
        println!("cargo::error=the XDP program was not built: {problem}; {REMEDY}");
    }
}

fn build(programs: &Path, out: &Path) -> Result<(), String> {
    let linker = find_linker().ok_or("bpf-linker is not installed")?;
    let target_dir = out.join("ebpf");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The outer build's settings are for another target.
    for (name, _) in env::vars_os() {
        if is_outer(&name) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(programs)
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env(
            "CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS",
            format!(
                "-C linker={} -C debuginfo=2 -C link-arg=--btf -C target-cpu=v3",
                linker.display()
            ),
        );
    match toolchain()? {
        Toolchain::Precompiled(rustc) => {
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        Toolchain::Nightly => {
            cargo.env("RUSTUP_TOOLCHAIN", "nightly").arg("-Zbuild-std=core");
        }
    }
    let output = cargo
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        for line in words.lines() {
            println!("cargo::warning={line}");
        }
        return Err(format!("cargo ended with {}", output.status));
    }
    for object in OBJECTS {
        let built = target_dir.join(TARGET).join("release").join(object);
        fs::copy(&built, out.join(object))
            .map_err(|error| format!("{} was not copied: {error}", built.display()))?;
    }
    Ok(())
}

enum Toolchain {
    Precompiled(PathBuf),
    Nightly,
}

fn toolchain() -> Result<Toolchain, String> {
    let chosen = env::var_os("MARCHPROXY_BPF_RUSTC").map(PathBuf::from);
    for rustc in chosen.into_iter().chain([PathBuf::from(DEBIAN_RUSTC)]) {
        if has_core(&rustc) {
            return Ok(Toolchain::Precompiled(rustc));
        }
    }
    let nightly = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    match nightly {
        Some(sysroot) if sysroot.join("lib/rustlib/src/rust/library/core").is_dir() => {
            Ok(Toolchain::Nightly)
        }
        _ => Err(format!(
            "neither {DEBIAN_RUSTC} with core for {TARGET} nor nightly with rust-src is there"
        )),
    }
}

/// Tells whether a compiler has a precompiled `core` for the BPF target.
fn has_core(rustc: &Path) -> bool {
    Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .env("RUSTC_BOOTSTRAP", "1")
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| {
            let folder = String::from_utf8(output.stdout).ok()?;
            fs::read_dir(folder.trim()).ok()
        })
        .is_some_and(|mut files| {
            files.any(|file| {
                file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libcore"))
            })
        })
}

fn find_linker() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let cargo_bin = env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
    env::split_paths(&path)
        .chain(cargo_bin)
        .map(|folder| folder.join("bpf-linker"))
        .find(|file| file.is_file())
}

fn is_outer(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_") && name != "CARGO_HOME"
        || ["RUSTC", "RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC"]
            .contains(&&*name)
        || name == "TARGET"
        || name.starts_with("CLIPPY_")
}
