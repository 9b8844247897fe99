//! One step of a server: it takes its inputs, and its effects are carried out.
//! In the order of the node's drive loop. Part of the world.

use volery_server::core::executor::Partition;
use volery_server::core::front_end::ClientEffect;
use volery_server::core::server::{Effect, Input, ServerError};

use crate::history::What;
use crate::world::{Event, World};

/// Instance and index in ring 0 and in the own ring.
pub(crate) type Come = ((u64, u64), (u64, u64));

/// Replicas are compared once in so many steps of a server.
const STEPS_A_DIGEST: u64 = 8;

/// How far a replica has come in its two rings. Its position does not say it: that of one which
/// has just been loaded is lower than what its snapshot shows.
fn come(partition: &Partition) -> Come {
    let (global, own) = partition.cursors();
    ((global.instance.0, global.index), (own.instance.0, own.index))
}

impl World {
    /// A server takes everything that has arrived.
    pub(crate) fn step(&mut self, at: usize) -> Result<(), String> {
        let now = self.machines[at].now(self.now_us);
        self.look_at_clocks();
        let inputs = std::mem::take(&mut self.machines[at].inbox);
        let failed = |e: ServerError| format!("server {at}: {e}");
        for input in inputs {
            if let Input::Requests { conn, .. } = &input {
                self.record(conn.0, What::Heard);
            }
            let Some(server) = &mut self.machines[at].server else { return Ok(()) };
            server.handle(input, now).map_err(failed)?;
        }
        let Some(server) = &mut self.machines[at].server else { return Ok(()) };
        let effects = server.flush(now).map_err(failed)?;
        self.carry_out(at, effects)?;
        for _ in 0..self.prng.below(4) {
            let Some(server) = &mut self.machines[at].server else { return Ok(()) };
            if !server.snapshot_due() {
                break;
            }
            let effects = server.snapshot_step().map_err(failed)?;
            self.carry_out(at, effects)?;
        }
        self.agree(at)?;
        self.plan_next_step(at);
        Ok(())
    }

    fn plan_next_step(&mut self, at: usize) {
        let Some(server) = &self.machines[at].server else { return };
        let due = server.snapshot_due();
        let deadline = server.next_deadline_us();
        if due {
            let delay = self.prng.delay(10, 1_000);
            self.wake_in(at, delay);
        }
        if let Some(deadline) = deadline {
            self.wake_in(at, deadline.saturating_sub(self.now_us).max(1));
        }
    }

    /// Replicas of a partition that have executed the same are equal, on whatever servers they
    /// are. Looked at now and then: a digest reads the whole tree.
    fn agree(&mut self, at: usize) -> Result<(), String> {
        let machine = &mut self.machines[at];
        let Some(server) = &machine.server else { return Ok(()) };
        machine.steps += 1;
        if self.profile.alone() || !machine.steps.is_multiple_of(STEPS_A_DIGEST) {
            return Ok(());
        }
        for partition in server.partitions().iter().filter(|p| p.set_aside() == 0) {
            let digest = partition.digest();
            let key = (partition.id(), come(partition));
            let known = *self.digests.entry(key).or_insert(digest);
            if known != digest {
                return Err(format!("server {at}: {key:?} is {digest:x}, elsewhere {known:x}"));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, at: usize, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Append { records, token } => {
                    self.machines[at].disk.append(token, records);
                    if self.machines[at].disk.syncing == 0 {
                        self.begin_sync(at);
                    }
                }
                Effect::Client(ClientEffect::Send { conn, bytes, .. }) => {
                    let delay = self.prng.delay(1, 1 + self.profile.network_us);
                    let life = self.machines[at].life;
                    self.at(delay, Event::Written(at, life, conn.0, bytes.len()));
                    self.transmit_back(conn.0, Some(bytes));
                }
                Effect::Client(ClientEffect::Close { conn, .. }) => {
                    self.transmit_back(conn.0, None);
                    self.hang_up(conn.0);
                }
                Effect::Client(ClientEffect::Established { .. }) => {}
                Effect::SnapshotBegin { partition, zxid } => {
                    self.machines[at].disk.snapshot_begin(partition, zxid);
                }
                Effect::SnapshotChunk { partition, chunk } => {
                    self.machines[at].disk.snapshot_chunk(partition, chunk);
                }
                Effect::SnapshotFinish { partition } => {
                    self.machines[at].disk.snapshot_finish(partition);
                    let delay = self.prng.delay(10, self.profile.snapshot_us);
                    let life = self.machines[at].life;
                    self.at(delay, Event::SnapshotSynced(at, life, partition));
                }
                Effect::PurgeLog { below_lsn } => {
                    self.machines[at].disk.purge(below_lsn, &mut self.prng);
                }
                Effect::Expiring { session } => self.record(0, What::Expiring(session)),
                Effect::Send { to, message } => self.transmit_peer(at, to, message)?,
                Effect::ReadLog { ring, from, to, below_lsn } => {
                    self.read_log(at, (ring, from), to, below_lsn);
                }
                Effect::SendSnapshots { to, partitions } => {
                    self.transmit_snapshots(at, to, &partitions);
                }
                Effect::Restart => {
                    self.crash(at)?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next sync covers all that is appended by now.
    pub(crate) fn begin_sync(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if !machine.disk.has_pending() {
            let remembers = machine.server.as_ref().is_some_and(|s| !s.is_memory_lost());
            machine.lost &= !remembers;
            return;
        }
        machine.disk.begin_sync();
        let (life, slow) = (machine.life, if machine.slow_disk { 20_000 } else { 0 });
        let delay = self.prng.delay(20, 40 + self.profile.sync_us + slow);
        self.at(delay, Event::Synced(at, life));
    }
}
