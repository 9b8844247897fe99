//! Connections between clients and the server: in order within one, delayed, and lost at once or
//! noticed late. It looks into no message but to cut frames. Part of the world.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Bytes, BytesMut};
use volery_proto::ids::Zxid;
use volery_proto::jute::{Jute, Reader, Writer};
use volery_proto::zk::{ConnectRequest, Request};
use volery_server::core::front_end::{Handshake, decode_request};
use volery_server::core::server::Input;
use volery_server::core::types::ConnId;

use crate::client::{LIE, Seen, encode, frames};
use crate::history::What;
use crate::world::{Event, World};

/// From a client.
#[derive(Clone, Debug)]
pub(crate) enum ToServer {
    Open,
    Handshake(Bytes),
    Requests(Vec<Bytes>),
    Close,
}

/// One connection, as the network knows it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    client: usize,
    /// At which server.
    pub(crate) server: usize,
    life: u64,
    to_server_us: u64,
    to_client_us: u64,
    pub(crate) to_client_pending: usize,
    /// The client still holds it.
    client_up: bool,
    /// The server may still hold it.
    server_up: bool,
    /// What is on its way to the server is lost.
    cut: bool,
}

impl World {
    fn latency(&mut self) -> u64 {
        self.prng.delay(10, 20 + self.profile.network_us)
    }

    /// A client sends.
    fn transmit(&mut self, conn: u64, packet: ToServer) {
        let latency = self.latency();
        let now = self.now_us;
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let at = (now + latency).max(connection.to_server_us);
        connection.to_server_us = at;
        self.at(at - now, Event::ToServer(conn, packet));
    }

    /// The server sends bytes, or closes.
    pub(crate) fn transmit_back(&mut self, conn: u64, bytes: Option<BytesMut>) {
        let latency = self.latency();
        let now = self.now_us;
        let upper = self.ledger.highest();
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let at = (now + latency).max(connection.to_client_us);
        connection.to_client_us = at;
        connection.to_client_pending += 1;
        self.at(at - now, Event::ToClient(conn, bytes, upper));
    }

    /// Something arrives at the server.
    pub(crate) fn arrive(&mut self, conn: u64, packet: ToServer) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let server = connection.server;
        let life = self.machines[server].life;
        if connection.cut && !matches!(packet, ToServer::Close) {
            return;
        }
        if let ToServer::Open = packet {
            connection.life = life;
            if self.machines[server].server.is_none() {
                // Refused.
                self.transmit_back(conn, None);
                return;
            }
            connection.server_up = true;
        }
        if !connection.server_up || connection.life != life {
            return;
        }
        let id = ConnId(conn);
        let input = match packet {
            ToServer::Open => {
                let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
                Input::Opened { conn: id, peer: SocketAddr::new(address, 1000) }
            }
            ToServer::Handshake(frame) => {
                let Ok(request) = ConnectRequest::read(&mut Reader::new(frame)) else { return };
                let mut entropy = [0; 16];
                entropy[..8].copy_from_slice(&self.prng.next().to_be_bytes());
                Input::Handshake { conn: id, handshake: Handshake { request, entropy } }
            }
            ToServer::Requests(frames) => {
                let requests = frames.into_iter().filter_map(decode_request).collect();
                Input::Requests { conn: id, requests }
            }
            ToServer::Close => {
                connection.server_up = false;
                Input::Closed { conn: id }
            }
        };
        self.input(server, input);
    }

    /// Something arrives at a client.
    pub(crate) fn deliver(
        &mut self,
        conn: u64,
        bytes: Option<BytesMut>,
        upper: Zxid,
    ) -> Result<(), String> {
        let Some(connection) = self.connections.get_mut(&conn) else { return Ok(()) };
        connection.to_client_pending -= 1;
        if !connection.client_up {
            return Ok(());
        }
        let client = connection.client;
        let Some(bytes) = bytes else {
            connection.client_up = false;
            self.record(conn, What::Lost);
            self.clients[client].lost();
            return Ok(());
        };
        for frame in frames(bytes)? {
            let seen = self.clients[client].receive(frame);
            match seen.map_err(|e| format!("conn {conn}: {e}"))? {
                Seen::Connected(response) => {
                    self.record(conn, What::Connected(response));
                    self.opened(client);
                }
                Seen::Reply(header, body) => self.record(conn, What::Reply { header, body, upper }),
                Seen::Event(zxid, event) => self.record(conn, What::Event { zxid, event }),
            }
        }
        let delay = self.prng.delay(1, self.profile.think_us);
        self.turn_in(client, delay);
        Ok(())
    }

    /// The client's first requests on a new connection.
    fn opened(&mut self, client: usize) {
        if !self.clients[client].open {
            return;
        }
        if let Some(request) = self.clients[client].set_watches() {
            self.send(client, vec![request]);
        }
    }

    /// The server closed a connection: soon it hears that it is gone.
    pub(crate) fn hang_up(&mut self, conn: u64) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if std::mem::replace(&mut connection.server_up, false) {
            let server = connection.server;
            self.input(server, Input::Closed { conn: ConnId(conn) });
        }
    }

    /// A server died: its connections end, each client hears of it in its time.
    pub(crate) fn server_is_gone(&mut self, server: usize) {
        let up = self.connections.iter().filter(|(_, c)| c.server_up && c.server == server);
        let up = up.map(|(conn, _)| *conn);
        for conn in up.collect::<Vec<_>>() {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.server_up = false;
            }
            self.transmit_back(conn, None);
        }
    }

    /// A client's connection breaks; the server hears of it at once, or late.
    pub(crate) fn lose_connection(&mut self, client: usize) {
        let conn = self.clients[client].conn;
        let late = if self.prng.permille(400) { self.prng.below(400_000) } else { 0 };
        let cut = self.prng.permille(500);
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if !connection.client_up {
            return;
        }
        connection.client_up = false;
        connection.cut = cut;
        connection.to_server_us = connection.to_server_us.max(self.now_us + late);
        self.record(conn, What::Lost);
        self.clients[client].lost();
        self.transmit(conn, ToServer::Close);
        // Some come back when their session is just about to end.
        let timeout = self.clients[client].timeout_us;
        let delay = match self.prng.below(5) {
            0 => timeout + self.prng.below(60_000),
            _ => self.prng.delay(1, 20_000),
        };
        self.turn_in(client, delay);
    }

    fn connect(&mut self, client: usize) {
        let conn = self.next_conn;
        self.next_conn += 1;
        let now = self.now_us;
        let server = match self.machines.len() {
            1 => 0,
            n => self.prng.below(n as u64) as usize,
        };
        let life = self.machines[server].life;
        self.connections.insert(
            conn,
            Connection {
                client,
                server,
                life,
                to_server_us: now,
                to_client_us: now,
                to_client_pending: 0,
                client_up: true,
                server_up: false,
                cut: false,
            },
        );
        let (least, most) = self.profile.timeouts_ms;
        let timeout_ms = self.prng.range(least, most) as i32;
        let lies = !self.quiet && self.prng.permille(10);
        let mut request = self.clients[client].handshake(conn, timeout_ms);
        if lies {
            request.last_zxid_seen = LIE;
        }
        let mut w = Writer::new();
        request.write(&mut w);
        self.record(conn, What::Connecting(request));
        self.transmit(conn, ToServer::Open);
        self.transmit(conn, ToServer::Handshake(w.finish()));
        self.clients[client].last_sent_us = now;
    }

    fn send(&mut self, client: usize, requests: Vec<Request>) {
        let conn = self.clients[client].conn;
        let mut frames = Vec::new();
        for request in requests {
            let (xid, request) = self.clients[client].send(request);
            let frame = encode(xid, &request);
            // As a server must read it: a create2 in a multi is a plain create.
            let read = decode_request(frame.clone()).and_then(|received| received.body.ok());
            frames.push(frame);
            self.record(conn, What::Sent(read.unwrap_or(request)));
        }
        self.clients[client].last_sent_us = self.now_us;
        self.transmit(conn, ToServer::Requests(frames));
    }

    /// A client looks at what it could do.
    pub(crate) fn client_turn(&mut self, at: usize) {
        let now = self.now_us;
        let (quiet, pipeline) = (self.quiet, self.profile.pipeline);
        let client = &mut self.clients[at];
        if client.silent_until_us > now {
            let delay = client.silent_until_us - now;
            self.turn_in(at, delay);
            return;
        }
        if client.conn == 0 {
            self.connect(at);
        } else if client.open && !client.closing {
            let room = pipeline.saturating_sub(client.outstanding.len()) as u64;
            let mut requests = Vec::new();
            if quiet {
                let script = client.script.len();
                requests.extend(client.script.drain(..script.min(room as usize)));
                client.finished = client.script.is_empty();
            } else if client.left > 0 && room > 0 {
                let burst = self.prng.range(1, room).min(client.left as u64);
                client.left -= burst as usize;
                for _ in 0..burst {
                    let request = self.workload.next(&mut self.prng, &self.profile);
                    let last = matches!(request, Request::CloseSession);
                    requests.push(request);
                    if last {
                        break;
                    }
                }
            }
            if requests.is_empty() && now > client.last_sent_us + client.timeout_us / 4 {
                requests.push(Request::Ping);
            }
            if !requests.is_empty() {
                self.send(at, requests);
            }
        }
        self.client_again(at);
    }

    fn client_again(&mut self, at: usize) {
        let delay = self.prng.delay(50, 100 + self.profile.think_us).max(20);
        let client = &self.clients[at];
        let idle = !client.outstanding.is_empty() || client.left == 0 || client.conn == 0;
        let delay = if idle { delay + 5_000 } else { delay };
        self.turn_in(at, delay.min(20_000));
    }

    /// A client's next turn is then, unless it is earlier.
    pub(crate) fn turn_in(&mut self, client: usize, delay_us: u64) {
        let at = self.now_us + delay_us;
        let turn = &mut self.clients[client].turn_at_us;
        if turn.is_none_or(|earlier| at < earlier) {
            *turn = Some(at);
            self.at(delay_us, Event::Client(client));
        }
    }
}
