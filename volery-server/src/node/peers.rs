//! Between the peer port and the drive thread: what the port needs to know of the configuration,
//! and where what arrives goes. It reads no message. Made by the node where there is a cluster.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use anyhow::{Context, anyhow, bail};
use volery_proto::ids::ServerId;

use super::drive::Event;
use super::queue::Queue;
use super::transfer::{Job, Part, Put, SNAPSHOT, WANT};
use crate::config::Config;
use crate::config::{Cluster, PemFile};
use crate::core::server as machine;
use crate::peer_port::{
    Core, Lane, MapFingerprint, PeerEvent, PeerHandle, PeerLimits, PeerPort, PeerPortOptions, Pem,
    Tls, Way,
};

/// A message of the machine.
pub(super) const MESSAGE: u8 = 1;

/// The version of the partition map; there is no way to change one yet.
const MAP_VERSION: u64 = 1;

/// Takes the peer port. Must be called within the runtime.
pub(super) fn bind(config: &Config, nonce: u64) -> anyhow::Result<Option<PeerPort>> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    let me = config.server_id;
    check_placement(cluster)?;
    let own = cluster.servers.get(&me).ok_or_else(|| {
        anyhow!("there is no line server.{me}, and that is this server by its myid")
    })?;
    let listen = match cluster.listen_on_all {
        true => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), own.peer_port),
        false => (own.host.as_str(), own.peer_port)
            .to_socket_addrs()
            .with_context(|| format!("server.{me}: cannot resolve {}", own.host))?
            .next()
            .ok_or_else(|| anyhow!("server.{me}: {} has no address", own.host))?,
    };
    let others = cluster.servers.iter().filter(|(id, _)| **id != me);
    let peers: BTreeMap<ServerId, (String, u16)> =
        others.map(|(id, member)| (*id, (member.host.clone(), member.peer_port))).collect();
    let options = PeerPortOptions {
        me,
        nonce,
        cluster: cluster.id.number,
        map: MapFingerprint {
            version: MAP_VERSION,
            text: config.map.to_string() + &cluster.layout(),
        },
        listen,
        peers,
        tls: cluster
            .tls
            .as_ref()
            .map(|tls| {
                let verify = tls.verify_host;
                Tls::new(pem(&tls.cert), pem(&tls.key), pem(&tls.ca), verify)
            })
            .transpose()?,
        keep_alive: true,
        limits: PeerLimits::default(),
    };
    Ok(Some(PeerPort::bind(options)?))
}

/// A server without any partition would have no ring 0 executed: nobody could tell it of sessions.
fn check_placement(cluster: &Cluster) -> anyhow::Result<()> {
    let holds = |id: &ServerId| cluster.placement.values().any(|servers| servers.contains(id));
    match cluster.servers.keys().find(|id| !holds(id)) {
        Some(id) => bail!(
            "server {id} is in no partition.N.servers: every server needs at least one partition"
        ),
        None => Ok(()),
    }
}

fn pem(file: &PemFile) -> Pem<'_> {
    Pem { name: file.path.to_str().unwrap_or("a PEM file"), content: &file.content }
}

/// The lane of the port that a message of the machine takes.
pub(super) fn lane(lane: machine::Lane) -> Lane {
    match lane {
        machine::Lane::Control => Lane::Control,
        machine::Lane::Ring => Lane::Ring,
        machine::Lane::Bulk => Lane::Bulk,
    }
}

/// The way out for those that send and receive snapshots.
pub(super) fn bulk(port: &PeerHandle) -> Put {
    let port = port.clone();
    Box::new(move |to, kind, body| port.send(to, Lane::Bulk, kind, body))
}

/// The way in.
#[derive(Debug)]
pub(super) struct PeerDoor {
    pub(super) queue: Arc<Queue<Event>>,
    /// To the threads that receive snapshots and send them.
    pub(super) parts: Sender<Part>,
    pub(super) jobs: Sender<Job>,
}

impl Core for PeerDoor {
    fn event(&self, event: PeerEvent) {
        match event {
            PeerEvent::Frames { peer, frames, credit, .. } => {
                let credit = Arc::new(credit);
                let mut messages = Vec::with_capacity(frames.len());
                for (kind, body) in frames {
                    match kind {
                        MESSAGE => messages.push(body),
                        SNAPSHOT => {
                            let credit = Some(credit.clone());
                            // The receiver ends with the process alone.
                            let _ = self.parts.send(Part { peer, body, credit });
                        }
                        WANT => {
                            let credit = Some(credit.clone());
                            // So does the sender.
                            let _ = self.jobs.send(Job::Want { peer, body, credit });
                        }
                        _ => tracing::warn!(%peer, kind, "a frame of an unknown kind is dropped"),
                    }
                }
                if !messages.is_empty() {
                    self.queue.push(Event::Peer { peer, messages, credit });
                }
            }
            // The control lanes speak for the others: they carry the heartbeats.
            PeerEvent::Connected { peer, lane: Lane::Control, way, .. } => {
                tracing::info!(%peer, ?way, "linked to a server");
                if way == Way::Out {
                    self.queue.push(Event::PeerLink { peer, up: true });
                }
            }
            PeerEvent::Disconnected { peer, lane: Lane::Control, way, reason } => {
                tracing::info!(%peer, ?way, %reason, "a link to a server ended");
                self.queue.push(Event::PeerLink { peer, up: false });
            }
            PeerEvent::Connected { .. } | PeerEvent::Disconnected { .. } => {}
        }
    }
}
