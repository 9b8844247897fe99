//! Runs histories: one by its seed, or many; a failure names the seed and how to replay it.
//! Used by the tests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::prng::Prng;
use crate::profile::Profile;
use crate::property::{self, Broken};
use crate::world::World;

/// What a history came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) broken: Option<Broken>,
    /// Of everything that any client saw.
    pub(crate) trace_hash: u64,
    pub(crate) commands: usize,
    pub(crate) crashes: u64,
}

/// Runs the history of a seed; `adjust` may bend its world.
pub(crate) fn run_with(seed: u64, trace: bool, adjust: &dyn Fn(&mut Profile)) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut prng = Prng::new(seed);
        let mut profile = Profile::of(&mut prng);
        adjust(&mut profile);
        let mut world = World::new(prng, profile, trace);
        let ended = world.run().map_err(|what| Broken { property: "running", what });
        let broken = ended.and_then(|()| property::check(&world)).err();
        Report {
            broken,
            trace_hash: hash(&world),
            commands: world.disk.ledger.commands.len(),
            crashes: world.crashes,
        }
    }));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let what = text.unwrap_or_else(|| "a panic".to_owned());
        Report { broken: Some(Broken { property: "no panic", what }), ..Report::default() }
    })
}

pub(crate) fn run(seed: u64) -> Report {
    run_with(seed, false, &|_| {})
}

fn hash(world: &World) -> u64 {
    let text = format!("{:?}", world.history.entries);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Ends the test with all that is needed to see the failure again.
pub(crate) fn fail(seed: u64, broken: &Broken) -> ! {
    panic!(
        "seed {seed}: {}: {}\n\
         replay: VOLERY_SIM_SEED={seed} cargo test -p volery-server --test sim one_seed -- --nocapture",
        broken.property, broken.what
    );
}

/// Runs histories from these seeds; ends at the first that breaks a property.
pub(crate) fn run_all(seeds: impl Iterator<Item = u64>) {
    let started = std::time::Instant::now();
    let (mut histories, mut commands, mut crashes) = (0u64, 0, 0);
    for seed in seeds {
        let report = run(seed);
        if let Some(broken) = &report.broken {
            fail(seed, broken);
        }
        histories += 1;
        commands += report.commands;
        crashes += report.crashes;
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{histories} histories, {commands} commands, {crashes} crashes in {seconds:.1} s: {:.0} \
         histories a second",
        histories as f64 / seconds.max(0.001)
    );
}
