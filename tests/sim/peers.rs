//! The network between servers: three lanes each way, delayed, lossy, doubled or out of order as
//! the profile has it, and cut in one direction or both. Everything goes through its bytes.
//! It looks into no message. Part of the world.

use volery_proto::command::{Command, CommandFlags, Operation, Origin};
use volery_proto::ids::{Instance, PartitionId, RingId, ServerId, SessionId, Slot, Zxid};
use volery_proto::ring::decode_record;
use volery_server::core::ring::LogValues;
use volery_server::core::server::{Input, PeerMessage};

use crate::disk::Disk;
use crate::world::{Event, World};

impl World {
    fn machine_of(&self, id: ServerId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.config.server == id)
    }

    /// A server sends to another.
    pub(crate) fn transmit_peer(
        &mut self,
        from: usize,
        to: ServerId,
        message: PeerMessage,
    ) -> Result<(), String> {
        let to = self.machine_of(to).ok_or("a message to nobody")?;
        if self.cuts.contains(&(from, to)) {
            return Ok(());
        }
        if self.is_mute(&message) {
            return Ok(());
        }
        let lane = message.lane();
        let read = PeerMessage::decode(message.encode()).map_err(|e| e.to_string())?;
        if read != message {
            return Err(format!("{message:?} is read as {read:?}"));
        }
        let net = self.profile.net.clone();
        let copies = 1 + u64::from(!self.quiet && self.prng.permille(net.double_permille));
        for _ in 0..copies {
            if !self.quiet && self.prng.permille(net.loss_permille) {
                continue;
            }
            let tail = if self.prng.permille(20) { 8 } else { 1 };
            let mut at = self.now_us + self.prng.delay(20, 40 + net.delay_us * tail);
            if !net.reorders {
                let last = self.links.entry((from, to, lane)).or_default();
                at = at.max(*last);
                *last = at;
            }
            let from = self.machines[from].config.server;
            let input = Input::Peer { from, message: read.clone() };
            self.at(at - self.now_us, Event::Peer(to, self.machines[to].life, input));
        }
        Ok(())
    }

    /// Whether nobody hears this, as its ring has no majority for a while.
    fn is_mute(&self, message: &PeerMessage) -> bool {
        let (Some((ring, from, until)), PeerMessage::Ring(of, _)) = (self.profile.mute, message)
        else {
            return false;
        };
        *of == ring && (from..until).contains(&self.now_us) && !self.quiet
    }

    /// A server names a slot that no clock will show for centuries (ATTACKS row 20).
    pub(crate) fn lie(&mut self) {
        let (to, from) = (self.some_server(), self.some_server());
        let from = self.machines[from].config.server;
        let far = Slot(Slot::MAX.0 - 1_000_000);
        let ring = RingId(self.prng.below(u64::from(self.profile.partitions) + 1) as u16);
        let origin = Origin { server: from, incarnation: Zxid(1), sequence: 1 };
        let command = Command {
            origin,
            session: SessionId(0),
            epoch: Zxid::ZERO,
            identities: [].into(),
            after: Zxid::new(far, ring),
            map_version: 1,
            flags: CommandFlags::default(),
            operation: Operation::Noop,
        };
        let message = if self.prng.permille(500) {
            PeerMessage::Demands(vec![(ring, far)])
        } else {
            PeerMessage::Commands { ring, again: true, commands: vec![command] }
        };
        let life = self.machines[to].life;
        self.at(1, Event::Peer(to, life, Input::Peer { from, message }));
    }

    /// What the clocks show at most, one by one and the median of all.
    pub(crate) fn look_at_clocks(&mut self) {
        let mut clocks: Vec<u64> =
            self.machines.iter().map(|machine| machine.now(self.now_us).unix_us).collect();
        clocks.sort_unstable();
        let most = clocks.last().copied().unwrap_or_default();
        self.clock_most_us = self.clock_most_us.max(most);
        self.median_most_us = self.median_most_us.max(clocks[(clocks.len() - 1) / 2]);
    }

    /// A server reads its log for another one. It takes a while, and sometimes fails.
    pub(crate) fn read_log(
        &mut self,
        at: usize,
        (ring, from): (RingId, Instance),
        to: ServerId,
        below_lsn: u64,
    ) {
        let mut found = LogValues::new(from);
        for record in self.machines[at].disk.records_below(below_lsn) {
            if Disk::ring_of(record) != usize::from(ring.0) {
                continue;
            }
            let Some(body) = decode_record(record.clone()).ok().and_then(|r| r.body) else {
                return;
            };
            assert!(found.record(body), "a good ballot");
        }
        let fails = !self.quiet && self.prng.permille(50);
        let most = if fails { 0 } else { self.prng.range(1, 20) as usize };
        let values = std::iter::from_fn(|| found.pop()).take(most).collect();
        let delay = self.prng.delay(50, 20_000);
        let input = Input::LogRead { ring, to, values };
        self.at(delay, Event::Peer(at, self.machines[at].life, input));
    }

    /// A server sends another snapshots, from its disk. Each arrives for itself, or does not, or
    /// is of no use.
    pub(crate) fn transmit_snapshots(&mut self, from: usize, to: ServerId, of: &[PartitionId]) {
        let Some(to) = self.machine_of(to) else { return };
        if self.cuts.contains(&(from, to)) {
            return;
        }
        let sender = self.machines[from].config.server;
        let snapshots = self.machines[from].disk.snapshots(|_| 0);
        for (partition, snapshot) in snapshots.into_iter().filter(|(id, _)| of.contains(id)) {
            if !self.quiet && self.prng.permille(self.profile.net.loss_permille) {
                continue;
            }
            let (life, delay) = (self.machines[to].life, self.prng.delay(100, 50_000));
            let input = Input::SnapshotsArriving { from: sender };
            self.at(delay / 2, Event::Peer(to, life, input));
            let life_of_sender = self.machines[from].life;
            self.at(delay / 2, Event::Peer(from, life_of_sender, Input::SnapshotsSending));
            if !self.quiet && self.prng.permille(50) {
                let input = Input::SnapshotsRefused { from: sender };
                self.at(delay, Event::Peer(to, life, input));
                continue;
            }
            self.at(delay, Event::Peer(from, life_of_sender, Input::SnapshotSent));
            self.at(delay, Event::Snapshot(to, life, partition, snapshot));
        }
    }
}
