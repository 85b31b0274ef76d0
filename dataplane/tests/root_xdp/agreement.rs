//! The BPF programs, the same code on the host, and a model that shares none of it: each frame of
//! generated sequences becomes the same in all three, byte for byte. Needs root.
//!
//! A sequence has frames of its own flows and changes of the configuration between them. It begins
//! with empty tables, and all that it does follows from its seed.

mod cases;
mod clock;
mod configurations;
mod frames;
mod kernels;
mod mutations;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};

use self::{
    cases::Case,
    kernels::{Ingress, Kernels},
};
use crate::{
    naive::{Model, Outcome, Verdict},
    support::environment,
};

/// Frames in the suite.
const FRAMES: u64 = 50_000;
/// What sets another number of them, and another seed.
const FRAMES_VARIABLE: &str = "MARCHPROXY_AGREEMENT_FRAMES";
const SEED_VARIABLE: &str = "MARCHPROXY_AGREEMENT_SEED";
/// Frames that one node sees, before another begins.
const FRAMES_A_NODE: u64 = 25_000;
/// The longest that a sequence may take: no connection ends by its age within that.
const SEQUENCE_MAX: Duration = Duration::from_millis(1_500);

/// What has become of frames.
#[derive(Default)]
struct Tally {
    frames: u64,
    by_verdict: BTreeMap<String, u64>,
    /// Sequences that were given up, since the clock went on within a frame, or too far.
    given_up: u64,
    sequences: u64,
}

#[test]
fn root_kernel_host_and_model_agree_on_every_frame() {
    let frames = environment::number(FRAMES_VARIABLE).unwrap_or(FRAMES);
    let seed = environment::number(SEED_VARIABLE).unwrap_or(1);
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut node = 0;
    while tally.frames < frames {
        let until = frames.min(tally.frames + FRAMES_A_NODE);
        run_node(seed.wrapping_mul(1 << 20).wrapping_add(node), until, &mut tally);
        node += 1;
    }
    println!("{} frames in {:?}, seed {seed}", tally.frames, start.elapsed());
    println!("{} sequences, {} given up", tally.sequences, tally.given_up);
    for (verdict, count) in &tally.by_verdict {
        println!("{count:>9} {verdict}");
    }
    // On a busy machine some are.
    assert!(tally.given_up * 3 < tally.sequences, "the clock is of no use here");
    for verdict in kernels::COMMON {
        assert!(tally.by_verdict.contains_key(verdict), "no frame was {verdict}");
    }
}

/// Runs sequences on a node until so many frames have been seen.
fn run_node(seed: u64, until: u64, tally: &mut Tally) {
    let mut kernels = Kernels::new();
    let mut model = Model::new(kernels.network(), kernels.ticks_per_second());
    for sequence in 0u64.. {
        if tally.frames >= until {
            return;
        }
        // Of its own, so that one that is given up changes no other.
        let mut random = StdRng::seed_from_u64(seed ^ sequence << 48);
        tally.sequences += 1;
        run_sequence(&mut kernels, &mut model, &mut random, seed, tally);
    }
}

fn run_sequence(
    kernels: &mut Kernels,
    model: &mut Model,
    random: &mut StdRng,
    seed: u64,
    tally: &mut Tally,
) {
    let case = Case::new(random);
    kernels.forget();
    model.forget();
    let start = Instant::now();
    let mut history = Vec::new();
    for part in 0..case.parts {
        let configuration = case.configuration(random);
        let plan = kernels.apply(&configuration);
        model.apply(&configuration.desired.config, &plan);
        for step in 0..case.frames {
            let (frame, ingress) = case.frame(random, model);
            let ran = kernels.run(&frame, ingress).filter(|_| start.elapsed() <= SEQUENCE_MAX);
            let Some((kernel, host, at)) = ran else {
                tally.given_up += 1;
                return;
            };
            let seen = Outcome::of(host.verdict, &host.frame);
            let interface = kernels.interface(ingress);
            let expected = model.predict(&frame, interface, at, &seen);
            history.push(format!("{:?} {}", host.verdict, hex::encode(&frame)));
            let place = || {
                let last = history.len().saturating_sub(6);
                format!(
                    "frame {step} of part {part} by {ingress:?}, node seed {seed}, after {} frames\nthe kernel, and not the host, has counted: {}\nconfiguration:\n{}\nthe \
                     last frames:\n{}",
                    tally.frames,
                    kernels.counted_otherwise(),
                    configuration.text,
                    history[last..].join("\n")
                )
            };
            if let Some(kernel) = kernel {
                assert_agree("kernel", &kernel, "host", &host, &place);
            }
            assert_agree("model", &expected, "host", &seen, &place);
            tally.frames += 1;
            *tally
                .by_verdict
                .entry(kernels::name(&host, kernels.interface(Ingress::Near)))
                .or_default() += 1;
        }
    }
    kernels.compare_statistics(&format!("node seed {seed}"));
}

fn assert_agree(
    one: &str,
    first: &impl Disagree,
    other: &str,
    second: &Outcome,
    place: &dyn Fn() -> String,
) {
    if let Some(difference) = first.disagrees(second) {
        panic!("{one} and {other} disagree on {}\n{difference}", place());
    }
}

/// What is compared with what the host's kernel did.
trait Disagree {
    fn disagrees(&self, host: &Outcome) -> Option<String>;
}

impl Disagree for Outcome {
    fn disagrees(&self, host: &Outcome) -> Option<String> {
        let dropped = matches!(self.verdict, Verdict::Drop(_));
        let same = self.verdict == host.verdict
            && (dropped || (self.tag, &self.frame) == (host.tag, &host.frame));
        (!same).then(|| {
            format!(
                "expected {:?}, tag {:x?}\n{}\nfound    {:?}, tag {:x?}\n{}",
                self.verdict,
                self.tag,
                hex::encode(&self.frame),
                host.verdict,
                host.tag,
                hex::encode(&host.frame)
            )
        })
    }
}
