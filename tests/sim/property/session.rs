//! The guarantees of a session (DESIGN 2.2 and 2.3): its writes take effect in the order in which
//! they were sent, its reads never go back behind anything that it was shown, its own writes
//! included; after a sync or a reconnect it sees all that anybody was shown before.

use std::collections::{BTreeMap, BTreeSet};

use volery_proto::ids::{RingId, Zxid};

use super::reads;
use super::story::Story;
use crate::client::LIE;
use crate::history::What;
use crate::world::World;

/// What each session has seen, as far as the history can say.
#[derive(Debug, Default)]
pub(super) struct Floors {
    seen: BTreeMap<i64, Zxid>,
    /// The zxid of its last event: a write's own events come before its reply.
    event: BTreeMap<i64, Zxid>,
    /// Shown to anybody.
    anybody: Zxid,
    /// Connections that claim to have seen a zxid of another service.
    liars: BTreeSet<u64>,
    at_connect: BTreeMap<u64, Zxid>,
    at_sent: BTreeMap<usize, Zxid>,
    /// For each answered request: what the session had seen before.
    pub(super) before: BTreeMap<usize, Zxid>,
}

impl Floors {
    fn raise(&mut self, session: i64, zxid: Zxid) {
        let seen = self.seen.entry(session).or_default();
        *seen = (*seen).max(zxid);
        self.anybody = self.anybody.max(zxid);
    }

    fn of(&self, session: i64) -> Zxid {
        self.seen.get(&session).copied().unwrap_or_default()
    }
}

pub(super) fn check(_: &World, story: &Story<'_>) -> Result<(), String> {
    floors(story).map(|_| ())
}

/// Walks through the history; the error is the first guarantee that is broken.
pub(super) fn floors(story: &Story<'_>) -> Result<Floors, String> {
    let mut floors = Floors::default();
    for (at, entry) in story.entries.iter().enumerate() {
        let conn = entry.conn;
        let session = story.sessions.get(&conn).copied().unwrap_or_default();
        match &entry.what {
            What::Connecting(request) => {
                if request.last_zxid_seen == LIE {
                    floors.liars.insert(conn);
                }
                floors.at_connect.insert(conn, floors.anybody);
            }
            What::Connected(_) if floors.liars.contains(&conn) => {
                return Err(format!(
                    "conn {conn} claims to have seen what never was, and is served"
                ));
            }
            What::Connected(response) if response.timeout_ms != 0 => {
                // The re-open is a command of ring 0: above all that anybody had seen.
                let zxid = floors.at_connect.get(&conn).copied().unwrap_or_default();
                floors.raise(session, zxid);
            }
            What::Sent(_) => {
                if let Some(op) = story.op_at.get(&at) {
                    floors.at_sent.insert(*op, floors.anybody);
                }
            }
            What::Event { zxid, .. } if *zxid > 0 => {
                floors.raise(session, Zxid(*zxid as u64));
                floors.event.insert(session, Zxid(*zxid as u64));
            }
            What::Reply { .. } => {
                if let Some(op) = story.op_at.get(&at) {
                    reply(&mut floors, story, *op)?;
                }
            }
            _ => {}
        }
    }
    Ok(floors)
}

fn reply(floors: &mut Floors, story: &Story<'_>, index: usize) -> Result<(), String> {
    let op = &story.ops[index];
    let Some(zxid) = op.zxid() else { return Ok(()) };
    let low = floors.of(op.session);
    floors.before.insert(index, low);
    if op.ordered().is_some() {
        let own_event = zxid == low && floors.event.get(&op.session) == Some(&zxid);
        if zxid <= low && !own_event {
            return Err(format!("{op:?}: at {zxid}, though the session has seen {low}"));
        }
        let anybody = floors.at_sent.get(&index).copied().unwrap_or_default();
        if zxid.ring() == RingId::GLOBAL && zxid <= anybody {
            return Err(format!("{op:?}: at {zxid}, though somebody had seen {anybody}"));
        }
        floors.raise(op.session, zxid);
        return Ok(());
    }
    let observed = reads::observed(&story.model.timeline, op, low)?;
    floors.raise(op.session, observed);
    // Answers to auth show no zxid; this workload has none.
    let told = zxid; // never behind what was seen before either: `observed` is not below `low`
    if told < observed && !story.told_is_held {
        return Err(format!("{op:?}: shows the state of {observed}, says {told}"));
    }
    if op.answer.as_ref().is_some_and(|a| told > a.upper) {
        return Err(format!("{op:?}: says {told}, which is above everything on disk"));
    }
    floors.raise(op.session, told);
    Ok(())
}
