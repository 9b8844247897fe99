//! One dead partition does not stop healthy ones (ATTACKS row 23): a command that does not touch
//! what a stuck one touches is executed, and the ephemerals of an ended session are gone but for
//! those that a stuck command touches. Has its own, plain idea of touching.

use volery_proto::command::Operation;
use volery_proto::ids::Zxid;
use volery_proto::path;

use super::script::{Script, Step};
use super::world::World;
use crate::core::apply::{TouchKind, touches};
use crate::core::oracle::Destination;

/// The paths of a command.
#[derive(Default)]
struct Touched {
    znodes: Vec<String>,
    /// Of those, what may come or go.
    entries: Vec<String>,
    /// Prefixes of what gets a number.
    prefixes: Vec<String>,
}

impl Touched {
    fn of(step: &Step) -> Touched {
        let mut touched = Touched::default();
        let Operation::Write(request) = &step.command().operation else { return touched };
        touches(request, &mut |touch| {
            let parent = path::split(touch.path).map_or("", |(parent, _)| parent);
            match touch.kind {
                TouchKind::Create { sequential: true, .. } => {
                    touched.znodes.push(parent.to_owned());
                    touched.prefixes.push(touch.path.to_string());
                }
                TouchKind::Create { .. } | TouchKind::Delete => {
                    touched.add_entry(touch.path);
                }
                TouchKind::Set | TouchKind::Check => touched.znodes.push(touch.path.to_string()),
            }
        });
        touched
    }

    /// What a closing may have to remove.
    fn ephemerals(script: &Script, closing: &Step) -> Vec<Touched> {
        let session = closing.command().session;
        let earlier = script.steps.iter().take_while(|step| step.zxid < closing.zxid);
        let mut found = Vec::new();
        for step in earlier.filter(|step| step.command().session == session) {
            let Operation::Write(request) = &step.command().operation else { continue };
            touches(request, &mut |touch| match touch.kind {
                TouchKind::Create { ephemeral: true, sequential: true } => {
                    let parent = path::split(touch.path).map_or("", |(parent, _)| parent);
                    let (znodes, prefixes) = (vec![parent.into()], vec![touch.path.to_string()]);
                    found.push(Touched { znodes, prefixes, entries: Vec::new() });
                }
                TouchKind::Create { ephemeral: true, .. } => found.push(Touched::entry(touch.path)),
                _ => {}
            });
        }
        found
    }

    fn entry(path: &str) -> Touched {
        let mut touched = Touched::default();
        touched.add_entry(path);
        touched
    }

    fn add_entry(&mut self, path: &str) {
        let parent = path::split(path).map_or("", |(parent, _)| parent);
        self.znodes.extend([parent.to_owned(), path.to_owned()]);
        self.entries.push(path.to_owned());
    }

    fn meets(&self, other: &Touched) -> bool {
        self.meets_one_way(other) || other.meets_one_way(self)
    }

    fn meets_one_way(&self, other: &Touched) -> bool {
        let is_below = |path: &str, above: &str| path.starts_with(&format!("{above}/"));
        let paths = || other.znodes.iter().chain(&other.prefixes);
        self.znodes.iter().any(|path| other.znodes.contains(path))
            || self.prefixes.iter().any(|p| paths().any(|path| path.starts_with(&p[..])))
            || self.entries.iter().any(|e| paths().any(|path| is_below(path, e)))
    }
}

/// When all that the living can do is done.
pub(super) fn check(world: &World<'_>) -> Result<(), String> {
    let half = usize::from(world.script.partitions);
    let is_dead = |id: u16| world.is_dead(usize::from(id) - 1);
    let mut stuck: Vec<(Zxid, Vec<u16>, Touched)> = Vec::new();
    for step in &world.script.steps {
        let operation = &step.command().operation;
        let addressed: Vec<u16> = match world.script.map.destination(operation) {
            Destination::One(one) => vec![one.0],
            Destination::Several(several) => several.iter().map(|p| p.0).collect(),
            Destination::All => (1..=world.script.partitions).collect(),
        };
        let touched = Touched::of(step);
        let is_write = matches!(operation, Operation::Write(_));
        let waits = addressed.len() > 1 && addressed.iter().any(|p| is_dead(*p))
            || stuck.iter().any(|(_, there, other)| {
                addressed.iter().any(|p| there.contains(p)) && touched.meets(other)
            });
        if let Operation::CloseSession = operation {
            let ephemerals = Touched::ephemerals(world.script, step);
            let more: Vec<_> = ephemerals
                .into_iter()
                .filter(|path| stuck.iter().any(|(_, _, other)| path.meets(other)))
                .map(|path| (step.zxid, addressed.clone(), path))
                .collect();
            stuck.extend(more);
        }
        if is_write && waits {
            stuck.push((step.zxid, addressed, touched));
            continue;
        }
        for id in addressed.into_iter().filter(|id| !is_dead(*id)) {
            for at in [usize::from(id) - 1, usize::from(id) - 1 + half] {
                if world.wanted(id, step.zxid) && !world.replicas[at].executed.contains(&step.zxid)
                {
                    return Err(format!(
                        "replica {at} has not executed {}: {:?}",
                        step.zxid,
                        step.command()
                    ));
                }
            }
        }
    }
    for (at, replica) in world.replicas.iter().enumerate() {
        let id = replica.partition.id().0;
        for (session, closing) in &replica.ended {
            for path in replica.partition.tree().ephemerals(session.0) {
                let entry = Touched::entry(&path);
                let excused = stuck.iter().any(|(zxid, there, touched)| {
                    zxid < closing && there.contains(&id) && touched.meets(&entry)
                });
                if !excused {
                    return Err(format!("replica {at}: {path} outlives its session"));
                }
            }
        }
    }
    Ok(())
}
