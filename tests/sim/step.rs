//! One step of the server: it takes its inputs, and its effects are carried out.
//! In the order of the node's drive loop. Part of the world.

use volery_server::core::front_end::ClientEffect;
use volery_server::core::server::{Effect, Input};

use crate::history::What;
use crate::world::{Event, World};

impl World {
    /// The server takes everything that has arrived.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        let inputs = std::mem::take(&mut self.inbox);
        for input in inputs {
            if let Input::Requests { conn, .. } = &input {
                self.record(conn.0, What::Heard);
            }
            let Some(server) = &mut self.server else { return Ok(()) };
            server.handle(input, now).map_err(|e| e.to_string())?;
        }
        let Some(server) = &mut self.server else { return Ok(()) };
        let effects = server.flush(now).map_err(|e| e.to_string())?;
        self.carry_out(effects);
        for _ in 0..self.prng.below(4) {
            let Some(server) = &mut self.server else { return Ok(()) };
            if !server.snapshot_due() {
                break;
            }
            let effects = server.snapshot_step().map_err(|e| e.to_string())?;
            self.carry_out(effects);
        }
        self.plan_next_step();
        Ok(())
    }

    fn plan_next_step(&mut self) {
        let Some(server) = &self.server else { return };
        let due = server.snapshot_due();
        let deadline = server.next_deadline_us();
        if due {
            let delay = self.prng.delay(10, 1_000);
            self.wake_in(delay);
        }
        if let Some(at) = deadline {
            self.wake_in(at.saturating_sub(self.clock.now_us).max(1));
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { records, token } => {
                    self.disk.append(token, records);
                    if self.disk.syncing == 0 {
                        self.begin_sync();
                    }
                }
                Effect::Client(ClientEffect::Send { conn, bytes, .. }) => {
                    let delay = self.prng.delay(1, 1 + self.profile.network_us);
                    self.at(delay, Event::Written(self.life, conn.0, bytes.len()));
                    self.transmit_back(conn.0, Some(bytes));
                }
                Effect::Client(ClientEffect::Close { conn, .. }) => {
                    self.transmit_back(conn.0, None);
                    self.hang_up(conn.0);
                }
                Effect::Client(ClientEffect::Established { .. }) => {}
                Effect::SnapshotBegin { partition, .. } => self.disk.snapshot_begin(partition),
                Effect::SnapshotChunk { partition, chunk } => {
                    self.disk.snapshot_chunk(partition, chunk);
                }
                Effect::SnapshotFinish { partition } => {
                    self.disk.snapshot_finish(partition);
                    let delay = self.prng.delay(10, self.profile.snapshot_us);
                    self.at(delay, Event::SnapshotSynced(self.life, partition));
                }
                Effect::PurgeLog { below_lsn } => self.disk.purge(below_lsn, &mut self.prng),
                Effect::Expiring { session } => self.record(0, What::Expiring(session)),
            }
        }
    }

    /// The next sync covers all that is appended by now.
    pub(crate) fn begin_sync(&mut self) {
        if !self.disk.has_pending() {
            return;
        }
        self.disk.begin_sync();
        let slow = if self.slow_disk { 20_000 } else { 0 };
        let delay = self.prng.delay(20, 40 + self.profile.sync_us + slow);
        self.at(delay, Event::Synced(self.life));
    }
}
