//! Runs the history of a seed and judges it; a panic of the server is a judgement too.
//! It prints nothing. Used by the tests.

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

/// Which worlds seeds make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server.
    Alone,
    /// Three to five.
    Cluster,
    /// Three to seven, each of which has some of the partitions.
    Placed,
}

/// Runs the history of a seed; `adjust` may bend its world.
pub(crate) fn run_with(
    kind: Kind,
    seed: u64,
    trace: bool,
    adjust: &dyn Fn(&mut Profile),
) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut prng = Prng::new(seed);
        let mut profile = match kind {
            Kind::Alone => Profile::of(&mut prng),
            Kind::Cluster => Profile::of_cluster(&mut prng),
            Kind::Placed => Profile::of_placed(&mut prng),
        };
        profile.choose_reads();
        adjust(&mut profile);
        let mut world = World::new(prng, profile, trace);
        let ended = world.run().map_err(|what| Broken { property: "running", what });
        let broken = ended.and_then(|()| property::check(&world)).err();
        Report {
            broken,
            trace_hash: hash(&world),
            commands: world.ledger.commands.len(),
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

fn hash(world: &World) -> u64 {
    let text = format!("{:?}", world.history.entries);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
