//! The other servers as this one sees them: who lives, what their clocks show, how far they have
//! come. One failure detector for all rings; and what they say goes to where it belongs.
//! It orders nothing. Part of the server machine. DESIGN sections 3 and 4, ATTACKS rows 20, 21.

use std::collections::BTreeMap;

use volery_proto::ids::{PartitionId, RingId, ServerId, Slot};

use super::message::PeerMessage;
use super::snapshots::Covered;
use super::{Effect, Server, ServerConfig, ServerError};
use crate::core::mutation::mutated;
use crate::core::ring;
use crate::core::types::Now;

/// A server says from where it would start again once in so many heartbeats.
const BEATS_A_FLOOR: u64 = 16;
/// For so many heartbeats after a link broke, what is heard was under way before: it says nothing
/// of whether its server lives.
const BEATS_OF_STRAGGLERS: u64 = 2;

/// Another server.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: ServerId,
    heard_us: u64,
    suspected: bool,
    /// When a link to it broke, until it is known to live after that.
    broke_us: Option<u64>,
    /// Its clock, and when it was told.
    clock: Option<(u64, u64)>,
    /// The highest slot that it knows of.
    position: Slot,
    /// From where it would start again, of each of its partitions.
    floor: Vec<Covered>,
}

impl Peer {
    /// Whether it is heard.
    pub(super) fn is_heard(&self) -> bool {
        !self.suspected
    }
}

/// All others.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) others: Vec<Peer>,
    beat_us: u64,
    beats: u64,
    /// What rings have to say to each of them at the end of this turn.
    ring_beats: BTreeMap<ServerId, Vec<(RingId, ring::RingMessage)>>,
}

impl Peers {
    pub(super) fn new(config: &ServerConfig, now: Now) -> Peers {
        let others = config.cluster.servers().filter(|id| *id != config.server);
        let others = others.map(|id| Peer {
            id,
            heard_us: now.monotonic_us,
            suspected: false,
            broke_us: None,
            clock: None,
            position: Slot(0),
            floor: Vec::new(),
        });
        let (others, ring_beats) = (others.collect(), BTreeMap::new());
        Peers { others, beat_us: now.monotonic_us, beats: 0, ring_beats }
    }

    /// Whether this server is its whole service.
    pub(super) fn alone(&self) -> bool {
        self.others.is_empty()
    }

    /// From where a server would start again with a partition, as far as it has said.
    pub(super) fn floor(&self, id: ServerId, partition: PartitionId) -> Option<&Covered> {
        let peer = self.others.iter().find(|peer| peer.id == id)?;
        peer.floor.iter().find(|covered| covered.partition == partition)
    }

    /// Whether a server is heard; this one always is.
    pub(super) fn lives(&self, id: ServerId) -> bool {
        !self.others.iter().any(|peer| peer.id == id && peer.suspected)
    }

    fn get_mut(&mut self, id: ServerId) -> Option<&mut Peer> {
        self.others.iter_mut().find(|peer| peer.id == id)
    }

    /// The clock that counts: no server's runs ahead of the median of all by more than a bound.
    fn clock_us(&self, lead_us: u64, now: Now) -> u64 {
        let told = self.others.iter().filter(|peer| !peer.suspected).filter_map(|peer| peer.clock);
        let since = |at: u64| now.monotonic_us.saturating_sub(at);
        let mut clocks: Vec<u64> = told.map(|(clock, at)| clock + since(at)).collect();
        if clocks.is_empty() || mutated!(AnyClock) {
            return now.unix_us;
        }
        clocks.push(now.unix_us);
        clocks.sort_unstable();
        let median = clocks[(clocks.len() - 1) / 2];
        now.unix_us.min(median.saturating_add(lead_us))
    }
}

impl Server {
    /// The time as the rings take it.
    pub(super) fn ring_now(&self, now: Now) -> ring::Now {
        let clock_us = match self.peers.alone() {
            true => now.unix_us,
            false => self.peers.clock_us(self.config.cluster.clock_lead_us, now),
        };
        ring::Now { clock_us, monotonic_us: now.monotonic_us }
    }

    /// The highest slot that anybody is known to have passed.
    pub(super) fn known_slot(&self) -> Slot {
        let own = self.rings.iter().map(ring::Ring::proposed_position);
        own.chain(self.peers.others.iter().map(|peer| peer.position)).max().unwrap_or_default()
    }

    /// No command and no demand may go above: no message moves the service's time.
    pub(super) fn slot_limit(&self, now: Now) -> Slot {
        let clock = Slot::from_unix_us(self.ring_now(now).clock_us);
        Slot(clock.max(self.known_slot()).0.saturating_add(self.config.cluster.demand_lead_us))
    }

    /// A ring says something. What only says that it lives goes out together with the others'.
    pub(super) fn send_ring(&mut self, ring: RingId, to: ServerId, message: ring::RingMessage) {
        if message.is_beat() {
            self.peers.ring_beats.entry(to).or_default().push((ring, message));
        } else {
            self.send(to, PeerMessage::Ring(ring, message));
        }
    }

    /// The beats of all rings leave, one message for each server.
    pub(super) fn send_beats(&mut self) {
        for (to, beats) in std::mem::take(&mut self.peers.ring_beats) {
            self.send(to, PeerMessage::Beats(beats));
        }
    }

    pub(super) fn send(&mut self, to: ServerId, message: PeerMessage) {
        self.effects.push(Effect::Send { to, message });
    }

    /// Another server says something. What nobody of this service would say is dropped.
    pub(super) fn peer(
        &mut self,
        from: ServerId,
        message: PeerMessage,
        now: Now,
    ) -> Result<(), ServerError> {
        if self.peers.get_mut(from).is_none() {
            return Ok(());
        }
        self.heard(from, now)?;
        match message {
            PeerMessage::Ring(ring, message) => self.ring_message(from, ring, message, now)?,
            PeerMessage::Beats(beats) => {
                for (ring, message) in beats {
                    self.ring_message(from, ring, message, now)?;
                }
            }
            PeerMessage::Commands { ring, again, commands } => {
                self.take_commands(from, ring, again, commands, now);
            }
            PeerMessage::Demands(demands) => {
                let limit = self.slot_limit(now);
                for (ring, slot) in demands {
                    let led = self.place(ring).is_some_and(|at| self.rings[at].is_coordinator());
                    if led && (slot <= limit || mutated!(AnyDemand)) {
                        self.demands.wait_for(usize::from(ring.0), slot);
                    }
                }
            }
            PeerMessage::Pull { zxid, partitions } => self.pulled(from, zxid, &partitions),
            PeerMessage::Given { zxid, partition, contribution } => {
                self.given(zxid, partition, contribution, now);
            }
            PeerMessage::Touches { number, sessions } => {
                self.count_touches(from, number, &sessions, now);
            }
            PeerMessage::Touched { number } => self.touches.counted(number),
            PeerMessage::Heartbeat { clock_us, position } => {
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.clock = Some((clock_us, now.monotonic_us));
                    peer.position = peer.position.max(position);
                }
            }
            PeerMessage::Floor(covered) => {
                if let Some(peer) = self.peers.get_mut(from) {
                    peer.floor = covered;
                }
            }
            PeerMessage::Fetch(partitions) => self.fetched(from, &partitions),
            PeerMessage::Attach(attach) => self.guest(from, attach, now),
            PeerMessage::Attached(attached) => self.attached(from, attached, now),
            PeerMessage::Detached { partition, number } => {
                self.detached(from, partition, number, now);
            }
        }
        Ok(())
    }

    fn ring_message(
        &mut self,
        from: ServerId,
        ring: RingId,
        message: ring::RingMessage,
        now: Now,
    ) -> Result<(), ServerError> {
        let Some(at) = self.place(ring) else { return Ok(()) };
        let ring_now = self.ring_now(now);
        let mut effects = Vec::new();
        self.rings[at].handle_message(from, message, ring_now, &mut effects);
        self.ring_effects(at, effects)
    }

    /// A server is heard.
    fn heard(&mut self, from: ServerId, now: Now) -> Result<(), ServerError> {
        let stragglers_us = BEATS_OF_STRAGGLERS * self.config.cluster.heartbeat_us;
        let Some(peer) = self.peers.get_mut(from) else { return Ok(()) };
        if peer.broke_us.is_some_and(|at| now.monotonic_us < at + stragglers_us) {
            return Ok(());
        }
        peer.broke_us = None;
        peer.heard_us = now.monotonic_us;
        if !std::mem::take(&mut peer.suspected) {
            return Ok(());
        }
        self.each_ring(now, |ring, now, effects| ring.restored(from, now, effects))
    }

    /// A link broke: its server may have died.
    pub(super) fn peer_down(&mut self, peer: ServerId, now: Now) -> Result<(), ServerError> {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.broke_us = Some(now.monotonic_us);
        }
        self.suspect(peer, now)
    }

    fn suspect(&mut self, peer: ServerId, now: Now) -> Result<(), ServerError> {
        match self.peers.get_mut(peer) {
            Some(peer) if !peer.suspected => peer.suspected = true,
            _ => return Ok(()),
        }
        self.part_from(peer, now);
        self.each_ring(now, |ring, now, effects| ring.suspect(peer, now, effects))
    }

    /// A link is up: whoever is at its end should know soon how things are here.
    pub(super) fn peer_up(&mut self, peer: ServerId, now: Now) {
        if let Some(known) = self.peers.get_mut(peer) {
            known.broke_us = None;
            self.heartbeat(peer, now);
            self.tell_floor(Some(peer));
        }
    }

    fn heartbeat(&mut self, to: ServerId, now: Now) {
        let (clock_us, position) = (now.unix_us, self.known_slot());
        self.send(to, PeerMessage::Heartbeat { clock_us, position });
    }

    fn each_ring(
        &mut self,
        now: Now,
        verb: impl Fn(&mut ring::Ring, ring::Now, &mut Vec<ring::Effect>),
    ) -> Result<(), ServerError> {
        let ring_now = self.ring_now(now);
        for at in 0..self.rings.len() {
            let mut effects = Vec::new();
            verb(&mut self.rings[at], ring_now, &mut effects);
            self.ring_effects(at, effects)?;
        }
        Ok(())
    }

    /// Time passes between the servers, and in the rings.
    pub(super) fn pass_time(&mut self, now: Now) -> Result<(), ServerError> {
        if now.monotonic_us >= self.peers.beat_us {
            self.peers.beat_us =
                ring::next_beat(now.monotonic_us, self.config.cluster.heartbeat_us);
            self.peers.beats += 1;
            for at in 0..self.peers.others.len() {
                self.heartbeat(self.peers.others[at].id, now);
            }
            if self.peers.beats.is_multiple_of(BEATS_A_FLOOR) {
                self.tell_floor(None);
            }
        }
        let suspect_us = self.config.cluster.suspect_us;
        let silent = |peer: &&super::peers::Peer| {
            !peer.suspected && peer.heard_us + suspect_us <= now.monotonic_us
        };
        let silent: Vec<_> = self.peers.others.iter().filter(silent).map(|peer| peer.id).collect();
        for peer in silent {
            self.suspect(peer, now)?;
        }
        let ring_now = self.ring_now(now);
        for at in 0..self.rings.len() {
            if self.rings[at].next_deadline().is_some_and(|due| due <= now.monotonic_us) {
                let mut effects = Vec::new();
                self.rings[at].tick(ring_now, &mut effects);
                self.ring_effects(at, effects)?;
            }
        }
        Ok(())
    }

    /// When `pass_time` has something to do.
    pub(super) fn peers_deadline_us(&self) -> Option<u64> {
        let suspect_us = self.config.cluster.suspect_us;
        let live = self.peers.others.iter().filter(|peer| !peer.suspected);
        let silent = live.map(|peer| peer.heard_us + suspect_us);
        let rings = self.rings.iter().filter_map(ring::Ring::next_deadline);
        std::iter::once(self.peers.beat_us).chain(silent).chain(rings).min()
    }
}
