//! Checks of the kernel and of what it lets the data plane do with BPF.

use super::{Check, Finding, HOST, Level, left_out};
use crate::doctor::facts::{Bpf, Bpffs, Capabilities, Fact, Host, Kernel, capability};

/// XDP links, which pins are made of (<https://docs.kernel.org/bpf/>, `BPF_LINK_TYPE_XDP`).
const XDP_LINKS: (u32, u32) = (5, 9);
/// The oldest kernel that MarchProxy is tested with.
const TESTED: (u32, u32) = (6, 1);
/// From here on BPF memory is counted by control group, not as locked memory.
const MEMCG: (u32, u32) = (5, 11);
/// Bytes of the maps that all CPUs share, and of those that each CPU has of its own
/// (ebpf/common/src/layout.rs), with the usual table of flows, rounded up.
const SHARED_MAPS: u64 = 64 << 20;
const CPU_MAPS: u64 = 3 << 20;

pub(super) fn judge(host: &Host) -> Vec<Finding> {
    vec![
        version(&host.kernel),
        btf(&host.bpf),
        bpffs(&host.bpf),
        capabilities(&host.capabilities),
        memlock(host),
        jit(&host.bpf),
        unprivileged(&host.bpf),
        program(&host.bpf),
    ]
}

fn version(kernel: &Kernel) -> Finding {
    let Kernel { release, version } = kernel;
    let (level, found) = if *version < XDP_LINKS {
        let found =
            format!("Linux {release} has no XDP links, which came with 5.9: run 6.1 or later");
        (Level::Problem, found)
    } else if *version < TESTED {
        (Level::Warning, format!("Linux {release} is older than 6.1, the oldest that is tested"))
    } else {
        (Level::Ok, format!("Linux {release} has XDP links and all that the program calls"))
    };
    Finding::new(Check::Kernel, HOST, level, found)
}

fn btf(bpf: &Bpf) -> Finding {
    let (level, found) = if bpf.has_btf {
        (Level::Ok, "the kernel brings its type information (/sys/kernel/btf/vmlinux)")
    } else {
        (Level::Note, "no type information of the kernel: MarchProxy needs none, tracing tools do")
    };
    Finding::new(Check::Btf, HOST, level, found)
}

fn bpffs(bpf: &Bpf) -> Finding {
    let finding = |level, found| Finding::new(Check::Bpffs, HOST, level, found);
    match bpf.bpffs {
        Bpffs::Mounted => finding(Level::Ok, "mounted at /sys/fs/bpf"),
        Bpffs::NotMounted => {
            let found = "not mounted at /sys/fs/bpf; the data plane mounts it when it starts";
            finding(Level::Note, found).remedy("mount -t bpf bpf /sys/fs/bpf")
        }
        Bpffs::NoFolder => {
            let found = "no folder /sys/fs/bpf (no CONFIG_BPF_SYSCALL, or no /sys): XDP cannot be \
                         pinned";
            finding(Level::Problem, found)
        }
    }
}

fn capabilities(capabilities: &Fact<Capabilities>) -> Finding {
    let Capabilities { effective, bounding, of_plane } = match capabilities {
        Ok(capabilities) => *capabilities,
        Err(gap) => return left_out(Check::Capabilities, HOST, gap),
    };
    let finding = |level, found| Finding::new(Check::Capabilities, HOST, level, found);
    let who = if of_plane { "the running data plane" } else { "a data plane that root starts" };
    let lacking = lacking(if of_plane { effective } else { bounding });
    if lacking.is_empty() {
        finding(Level::Ok, format!("{who} has CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"))
    } else {
        let found = format!("{who} has no {}: the kernel refuses XDP", lacking.join(", "));
        finding(Level::Problem, found)
    }
}

/// CAP_SYS_ADMIN stands for the two that were cut out of it (capabilities(7)).
fn lacking(set: u64) -> Vec<&'static str> {
    let has = |number: u32| set & (1 << number) != 0;
    let either = |number| has(number) || has(capability::SYS_ADMIN);
    let needed = [
        ("CAP_BPF", either(capability::BPF)),
        ("CAP_PERFMON", either(capability::PERFMON)),
        ("CAP_NET_ADMIN", has(capability::NET_ADMIN)),
    ];
    needed.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

fn memlock(host: &Host) -> Finding {
    let finding = |level, found| Finding::new(Check::Memlock, HOST, level, found);
    if host.kernel.version >= MEMCG {
        return finding(Level::Ok, "no limit of this kernel's concerns BPF".to_owned());
    }
    let needed = SHARED_MAPS + CPU_MAPS * host.cpus as u64;
    match &host.memlock {
        Err(gap) => left_out(Check::Memlock, HOST, gap),
        Ok(Some(bytes)) if *bytes < needed => {
            let found = format!("{bytes} bytes may be locked, and the maps need {needed}");
            finding(Level::Problem, found).remedy("ulimit -l unlimited")
        }
        Ok(_) => finding(Level::Ok, "enough memory may be locked".to_owned()),
    }
}

fn jit(bpf: &Bpf) -> Finding {
    let finding = |level, found: &str| Finding::new(Check::Jit, HOST, level, found);
    let enable = "sysctl -w net.core.bpf_jit_enable=1";
    match (&bpf.jit, &bpf.jit_harden) {
        (Err(gap), _) => left_out(Check::Jit, HOST, gap),
        (Ok(None), _) => {
            let found = "the kernel has no compiler for BPF (CONFIG_BPF_JIT): XDP is several times \
                         slower";
            finding(Level::Warning, found)
        }
        (Ok(Some(0)), _) => {
            finding(Level::Warning, "off: XDP is interpreted, several times slower").remedy(enable)
        }
        (Ok(Some(2)), _) => {
            let found = "on, in debug mode: the kernel writes each program's code to its log";
            finding(Level::Warning, found).remedy(enable)
        }
        (Ok(Some(_)), Ok(Some(2))) => {
            finding(Level::Note, "on; hardened for root's programs too, which slows each packet")
                .remedy("sysctl -w net.core.bpf_jit_harden=1")
        }
        (Ok(Some(_)), _) => finding(Level::Ok, "on"),
    }
}

fn unprivileged(bpf: &Bpf) -> Finding {
    let finding = |level, found: &str| Finding::new(Check::UnprivilegedBpf, HOST, level, found);
    match &bpf.unprivileged_disabled {
        Err(gap) => left_out(Check::UnprivilegedBpf, HOST, gap),
        Ok(Some(0)) => {
            finding(Level::Note, "anyone may load BPF programs; MarchProxy does not need that")
                .remedy("sysctl -w kernel.unprivileged_bpf_disabled=2")
        }
        Ok(_) => finding(Level::Ok, "for the privileged only; the data plane is"),
    }
}

fn program(bpf: &Bpf) -> Finding {
    let finding = |level, found: String| Finding::new(Check::Program, HOST, level, found);
    match &bpf.program {
        Err(gap) => left_out(Check::Program, HOST, gap),
        Ok(Ok(())) => {
            finding(Level::Ok, "the kernel takes the XDP program (loaded on trial)".into())
        }
        Ok(Err(words)) => {
            finding(Level::Problem, format!("the kernel does not take the XDP program: {words}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, hidden, is_left_out};
    use super::*;
    use crate::doctor::facts::{Facts, Gap};

    #[test]
    fn old_kernels_are_told_by_what_they_lack() {
        let kernel = |release: &'static str, level, found| {
            let spoil = |facts: &mut Facts| facts.host.kernel = Kernel::parse(release);
            check(spoil, (Check::Kernel, HOST), level, found, None);
        };
        kernel("5.8.18", Level::Problem, "no XDP links");
        kernel("5.9.0", Level::Warning, "older than 6.1");
        kernel("5.15.0-91-generic", Level::Warning, "older than 6.1");
        kernel("6.1.0", Level::Ok, "6.1.0");
    }

    #[test]
    fn bpf_is_judged_by_what_it_costs_the_program() {
        let bpf = |of, spoil: fn(&mut Bpf), level, found, remedy| {
            check(|facts| spoil(&mut facts.host.bpf), (of, HOST), level, found, remedy);
        };
        bpf(Check::Btf, |bpf| bpf.has_btf = false, Level::Note, "needs none", None);
        let mount = Some("mount -t bpf bpf /sys/fs/bpf");
        let not_mounted = |bpf: &mut Bpf| bpf.bpffs = Bpffs::NotMounted;
        bpf(Check::Bpffs, not_mounted, Level::Note, "not mounted", mount);
        let no_folder = |bpf: &mut Bpf| bpf.bpffs = Bpffs::NoFolder;
        bpf(Check::Bpffs, no_folder, Level::Problem, "cannot be pinned", None);
        let enable = Some("sysctl -w net.core.bpf_jit_enable=1");
        bpf(Check::Jit, |bpf| bpf.jit = Ok(Some(0)), Level::Warning, "interpreted", enable);
        bpf(Check::Jit, |bpf| bpf.jit = Ok(Some(2)), Level::Warning, "debug", enable);
        bpf(Check::Jit, |bpf| bpf.jit = Ok(None), Level::Warning, "CONFIG_BPF_JIT", None);
        let soften = Some("sysctl -w net.core.bpf_jit_harden=1");
        let hardened = |bpf: &mut Bpf| bpf.jit_harden = Ok(Some(2));
        bpf(Check::Jit, hardened, Level::Note, "hardened", soften);
        bpf(Check::Jit, |bpf| bpf.jit_harden = hidden(), Level::Ok, "on", None);
        let open = |bpf: &mut Bpf| bpf.unprivileged_disabled = Ok(Some(0));
        let close = Some("sysctl -w kernel.unprivileged_bpf_disabled=2");
        bpf(Check::UnprivilegedBpf, open, Level::Note, "anyone", close);
        let refused = |bpf: &mut Bpf| bpf.program = Ok(Err("invalid access".to_owned()));
        bpf(Check::Program, refused, Level::Problem, "invalid access", None);
    }

    #[test]
    fn a_data_plane_without_a_capability_is_a_problem_and_the_capability_is_named() {
        let without = |numbers: &[u32], of_plane: bool, level, found| {
            let set = numbers.iter().fold(!0, |set: u64, number| set & !(1 << number));
            let spoil = |facts: &mut Facts| {
                let (effective, bounding) = if of_plane { (set, !0) } else { (0, set) };
                facts.host.capabilities = Ok(Capabilities { effective, bounding, of_plane });
            };
            check(spoil, (Check::Capabilities, HOST), level, found, None);
        };
        use capability::{BPF, NET_ADMIN, PERFMON, SYS_ADMIN};
        without(&[], true, Level::Ok, "the running data plane");
        without(&[], false, Level::Ok, "a data plane that root starts");
        without(&[BPF, PERFMON], true, Level::Ok, "CAP_BPF");
        without(&[BPF, SYS_ADMIN], true, Level::Problem, "no CAP_BPF:");
        without(&[PERFMON, SYS_ADMIN], false, Level::Problem, "no CAP_PERFMON:");
        without(&[NET_ADMIN], true, Level::Problem, "no CAP_NET_ADMIN:");
        without(&[NET_ADMIN, BPF, SYS_ADMIN], false, Level::Problem, "CAP_BPF, CAP_NET_ADMIN");
    }

    #[test]
    fn locked_memory_matters_to_old_kernels_only() {
        let memlock = |release, limit: Fact<Option<u64>>, level, found, remedy| {
            let spoil = |facts: &mut Facts| {
                facts.host.kernel = Kernel::parse(release);
                facts.host.memlock = limit;
            };
            check(spoil, (Check::Memlock, HOST), level, found, remedy);
        };
        memlock("5.11", Ok(Some(65_536)), Level::Ok, "no limit", None);
        let unlimit = Some("ulimit -l unlimited");
        memlock("5.10", Ok(Some(65_536)), Level::Problem, "65536 bytes", unlimit);
        let needed = 76 << 20;
        memlock("5.10", Ok(Some(needed - 1)), Level::Problem, "need 79691776", unlimit);
        memlock("5.10", Ok(Some(needed)), Level::Ok, "enough", None);
        memlock("5.10", Ok(None), Level::Ok, "enough", None);
        let gap = Err(Gap::Failed("no /proc".to_owned()));
        memlock("5.10", gap, Level::LeftOut, "no /proc", None);
    }

    #[test]
    fn what_only_root_may_read_is_left_out() {
        is_left_out(|facts| facts.host.capabilities = hidden(), (Check::Capabilities, HOST));
        is_left_out(|facts| facts.host.bpf.jit = hidden(), (Check::Jit, HOST));
        is_left_out(|facts| facts.host.bpf.program = hidden(), (Check::Program, HOST));
        is_left_out(
            |facts| facts.host.bpf.unprivileged_disabled = hidden(),
            (Check::UnprivilegedBpf, HOST),
        );
    }
}
