//! The model check: every state of small configurations, not some of a random run. Each model
//! holds with all rules and is seen to fail with each rule left out. See ../README.md.
//!
//!     cargo test --release -p volery-server --features mutants --test model -- --nocapture
//!     VOLERY_MODEL=large cargo test --release …                        larger configurations

mod contributions;
mod frontier;
mod slots;

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

/// Whether the larger configurations are asked for.
fn large() -> bool {
    std::env::var("VOLERY_MODEL").is_ok_and(|size| size == "large")
}

/// Looks at every state, or ends at the first broken property: its name, and how it came to it.
fn check<M>(name: &str, model: M) -> Option<(&'static str, String)>
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq + Send + Sync,
{
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let broken = checker.discoveries().into_iter().next();
    println!(
        "{name:<44} {:>9} states, depth {:>2}, {:>5.1} s: {}",
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f64(),
        broken.as_ref().map_or("holds", |(property, _)| property),
    );
    broken.map(|(property, path)| {
        let steps = path.into_actions().into_iter().map(|action| format!("\n  {action:?}"));
        (property, steps.collect())
    })
}

/// All properties hold in every state.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq + Send + Sync,
{
    if let Some((property, path)) = check(name, model) {
        panic!("{name}: {property} does not hold:{path}");
    }
}

/// Some state breaks a property: the model would notice if the rule were gone.
fn fails<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Debug + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq + Send + Sync,
{
    assert!(check(name, model).is_some(), "{name}: nobody notices that the rule is left out");
}
