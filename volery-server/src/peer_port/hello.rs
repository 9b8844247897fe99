//! The handshake of a link: who dials whom, in which cluster, by which map, for which lane; and
//! the answer, a welcome or a refusal with its reason. It decides who is let in, from what is in
//! the hello alone. Called by `link` and `inbound`.
//!
//! ```text
//! hello   "VOLERYPP" lowest:2 highest:2 length:4 cluster:8 sender:1 receiver:1 lane:1 nonce:8
//!         map version:8 map hash:8 map text
//! answer  "VOLERYPP" version:2 status:1 length:4 server:1 nonce:8 words
//! ```
//!
//! A later version may append to either: what is behind the known fields is passed over. All
//! numbers are big-endian.

use std::fmt;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use volery_proto::ids::ServerId;
use xxhash_rust::xxh3::xxh3_64;

use super::{Lane, PeerPortOptions, Stream};

/// The lowest version of the links' protocol that is spoken here.
pub const PROTOCOL_MIN: u16 = 1;
/// The highest.
pub const PROTOCOL_MAX: u16 = 1;

const MAGIC: &[u8; 8] = b"VOLERYPP";
/// Bytes of a hello behind its length, without the map's text.
const HELLO_FIXED: usize = 8 + 3 + 8 + 16;
/// Bytes of an answer behind its length, without the words.
const ANSWER_FIXED: usize = 1 + 8;
/// Longest body of a hello or an answer that is read.
const BODY_MAX: usize = 64 << 10;
/// A longer map is sent as its hash alone.
const MAP_TEXT_MAX: usize = 32 << 10;
/// Longest words of a refusal.
const WORDS_MAX: usize = 4 << 10;
/// Lines of a difference between maps that are named.
const DIFFERENCES_MAX: usize = 4;

/// What all servers of a cluster must agree on: where paths belong, and who votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapFingerprint {
    /// The map's version.
    pub version: u64,
    /// The map in words, line by line, the same at all servers.
    pub text: String,
}

/// What a link may be refused for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalReason {
    /// The two speak no common version.
    Version = 1,
    /// They are of different clusters.
    Cluster = 2,
    /// The dialer has the id of the server that it dials.
    OwnId = 3,
    /// The dialer wanted another server than this one.
    WrongReceiver = 4,
    /// The dialer is in no server line.
    UnknownServer = 5,
    /// They have different maps.
    Map = 6,
    /// There is no such lane.
    Lane = 7,
    /// One of them uses TLS, the other does not.
    Tls = 8,
    /// The dialer's certificate is not for the host of its server line.
    Certificate = 9,
    /// A reason that this version does not know.
    Other = 255,
}

/// Why a server did not let another one in; both log the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Refusal {
    /// For programs.
    pub reason: RefusalReason,
    /// For people, as the server says it that refuses.
    pub words: String,
}

impl Refusal {
    pub(super) fn new(reason: RefusalReason, words: impl Into<String>) -> Refusal {
        Refusal { reason, words: words.into() }
    }
}

impl RefusalReason {
    fn from_number(number: u8) -> RefusalReason {
        use RefusalReason::{
            Certificate, Cluster, Lane, Map, Other, OwnId, Tls, UnknownServer, Version,
            WrongReceiver,
        };
        let known =
            [Version, Cluster, OwnId, WrongReceiver, UnknownServer, Map, Lane, Tls, Certificate];
        known.into_iter().find(|reason| *reason as u8 == number).unwrap_or(Other)
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelloError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("TLS: {}", super::tls::words(.0))]
    Tls(std::io::Error),
    #[error("what came is no handshake of Volery's: is the other end a Volery server?")]
    Garbage,
    #[error("{0}")]
    Refused(Refusal),
}

/// What a dialer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: (u16, u16),
    pub(super) cluster: u64,
    pub(super) sender: ServerId,
    pub(super) receiver: ServerId,
    /// By number: a later version may have more.
    pub(super) lane: u8,
    pub(super) nonce: u64,
    pub(super) map_version: u64,
    pub(super) map_hash: u64,
    /// Empty where the map is long.
    pub(super) map_text: String,
}

impl Hello {
    /// What this server says to `receiver`.
    pub(super) fn of(options: &PeerPortOptions, receiver: ServerId, lane: Lane) -> Hello {
        let text = &options.map.text;
        Hello {
            versions: (PROTOCOL_MIN, PROTOCOL_MAX),
            cluster: options.cluster,
            sender: options.me,
            receiver,
            lane: lane.index() as u8,
            nonce: options.nonce,
            map_version: options.map.version,
            map_hash: xxh3_64(text.as_bytes()),
            map_text: if text.len() <= MAP_TEXT_MAX { text.clone() } else { String::new() },
        }
    }

    pub(super) fn encode(&self) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(64 + self.map_text.len());
        bytes.put_slice(MAGIC);
        bytes.put_u16(self.versions.0);
        bytes.put_u16(self.versions.1);
        bytes.put_u32((HELLO_FIXED + self.map_text.len()) as u32);
        bytes.put_u64(self.cluster);
        bytes.put_slice(&[self.sender.0, self.receiver.0, self.lane]);
        bytes.put_u64(self.nonce);
        bytes.put_u64(self.map_version);
        bytes.put_u64(self.map_hash);
        bytes.put_slice(self.map_text.as_bytes());
        bytes
    }

    /// Reads one. Lengths are checked before anything is made room for.
    pub(super) async fn read(stream: &mut dyn Stream) -> Result<Hello, HelloError> {
        let head = read_head::<16>(stream).await?;
        let versions = (be16(&head, 8), be16(&head, 10));
        let length = be32(&head, 12) as usize;
        if !(HELLO_FIXED..=BODY_MAX).contains(&length) {
            return Err(HelloError::Garbage);
        }
        let mut body = read_body(stream, length).await?;
        let cluster = body.get_u64();
        let (sender, receiver, lane) =
            (ServerId(body.get_u8()), ServerId(body.get_u8()), body.get_u8());
        let (nonce, map_version, map_hash) = (body.get_u64(), body.get_u64(), body.get_u64());
        // Only shown, never trusted: the hash decides.
        let map_text = String::from_utf8_lossy(&body).into_owned();
        Ok(Hello {
            versions,
            cluster,
            sender,
            receiver,
            lane,
            nonce,
            map_version,
            map_hash,
            map_text,
        })
    }

    /// Whether the server with these options lets the dialer in, and on which lane.
    pub(super) fn check(&self, options: &PeerPortOptions) -> Result<Lane, Refusal> {
        let refuse = |reason, words: String| Err(Refusal::new(reason, words));
        let (me, sender) = (options.me, self.sender);
        if self.versions.0 > PROTOCOL_MAX || self.versions.1 < PROTOCOL_MIN {
            let (low, high) = self.versions;
            let words = format!(
                "server {sender} speaks versions {low} to {high} of the peer protocol, server \
                 {me} {PROTOCOL_MIN} to {PROTOCOL_MAX}: upgrade the older one"
            );
            return refuse(RefusalReason::Version, words);
        }
        if self.cluster != options.cluster {
            let words = format!(
                "server {sender} is of cluster {:#018x}, server {me} of {:#018x}. If they belong \
                 together, make their server lines the same, or give both one clusterId",
                self.cluster, options.cluster
            );
            return refuse(RefusalReason::Cluster, words);
        }
        if sender == me {
            let words = match self.nonce == options.nonce {
                true => format!(
                    "the address of server {} in the server lines leads back to server {me} itself",
                    self.receiver
                ),
                false => format!("two servers have the id {me}: see to their myid files"),
            };
            return refuse(RefusalReason::OwnId, words);
        }
        if self.receiver != me {
            let words = format!(
                "server {sender} wants server {}, but its address leads to server {me}: see to \
                 the server lines and the myid files",
                self.receiver
            );
            return refuse(RefusalReason::WrongReceiver, words);
        }
        if !options.peers.contains_key(&sender) {
            let words = format!("server {me} has no server line for server {sender}");
            return refuse(RefusalReason::UnknownServer, words);
        }
        if let Some(difference) = self.map_difference(&options.map) {
            let words = format!(
                "servers {sender} and {me} have different partition maps or placements: \
                 {difference}"
            );
            return refuse(RefusalReason::Map, words);
        }
        match Lane::ALL.get(usize::from(self.lane)) {
            Some(lane) => Ok(*lane),
            None => refuse(RefusalReason::Lane, format!("there is no lane {}", self.lane)),
        }
    }

    /// The difference in words, if there is one.
    fn map_difference(&self, own: &MapFingerprint) -> Option<String> {
        let hash = xxh3_64(own.text.as_bytes());
        if (self.map_version, self.map_hash) == (own.version, hash) {
            return None;
        }
        let mut differences = Vec::new();
        if self.map_version != own.version {
            differences.push(format!("version {} against {}", self.map_version, own.version));
        }
        if self.map_hash != hash && self.map_text.is_empty() {
            differences.push(format!("hash {:#018x} against {hash:#018x}", self.map_hash));
        } else if self.map_hash != hash {
            let mut only = |one: &str, other: &str, who: ServerId| {
                for line in one.lines().filter(|line| !other.lines().any(|found| found == *line)) {
                    let line: String = line.chars().take(200).collect();
                    differences.push(format!("only server {who} has {line:?}"));
                }
            };
            only(&self.map_text, &own.text, self.sender);
            only(&own.text, &self.map_text, self.receiver);
        }
        let more = differences.len().saturating_sub(DIFFERENCES_MAX);
        differences.truncate(DIFFERENCES_MAX);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        Some(differences.join("; "))
    }
}

/// What the dialed server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) server: ServerId,
    pub(super) nonce: u64,
    /// `None` is a welcome.
    pub(super) refusal: Option<Refusal>,
}

impl Answer {
    pub(super) fn encode(&self) -> BytesMut {
        let (status, words) = match &self.refusal {
            None => (0, ""),
            Some(refusal) => {
                let mut end = refusal.words.len().min(WORDS_MAX);
                while !refusal.words.is_char_boundary(end) {
                    end -= 1;
                }
                (refusal.reason as u8, &refusal.words[..end])
            }
        };
        let mut bytes = BytesMut::with_capacity(64 + words.len());
        bytes.put_slice(MAGIC);
        bytes.put_u16(PROTOCOL_MAX);
        bytes.put_u8(status);
        bytes.put_u32((ANSWER_FIXED + words.len()) as u32);
        bytes.put_u8(self.server.0);
        bytes.put_u64(self.nonce);
        bytes.put_slice(words.as_bytes());
        bytes
    }

    pub(super) async fn read(stream: &mut dyn Stream) -> Result<Answer, HelloError> {
        let head = read_head::<15>(stream).await?;
        let (status, length) = (head[10], be32(&head, 11) as usize);
        if !(ANSWER_FIXED..=BODY_MAX).contains(&length) {
            return Err(HelloError::Garbage);
        }
        let mut body = read_body(stream, length).await?;
        let (server, nonce) = (ServerId(body.get_u8()), body.get_u64());
        let words = || String::from_utf8_lossy(&body).into_owned();
        let refusal =
            (status != 0).then(|| Refusal::new(RefusalReason::from_number(status), words()));
        Ok(Answer { server, nonce, refusal })
    }
}

/// Says hello and waits for the answer; the nonce of a server that lets this one in.
pub(super) async fn introduce(stream: &mut dyn Stream, hello: &Hello) -> Result<u64, HelloError> {
    stream.write_all(&hello.encode()).await?;
    stream.flush().await?;
    let answer = Answer::read(stream).await?;
    match answer.refusal {
        Some(refusal) => Err(HelloError::Refused(refusal)),
        // It let somebody in whom it was not asked for: not to be trusted with frames.
        None if answer.server != hello.receiver => Err(HelloError::Garbage),
        None => Ok(answer.nonce),
    }
}

/// The fixed part. The magic is looked at first: garbage may be short.
async fn read_head<const N: usize>(stream: &mut dyn Stream) -> Result<[u8; N], HelloError> {
    let mut head = [0; N];
    let (magic, rest) = head.split_at_mut(MAGIC.len());
    stream.read_exact(magic).await?;
    if magic != MAGIC {
        return Err(HelloError::Garbage);
    }
    stream.read_exact(rest).await?;
    Ok(head)
}

async fn read_body(stream: &mut dyn Stream, length: usize) -> Result<BytesMut, HelloError> {
    let mut body = BytesMut::zeroed(length);
    stream.read_exact(&mut body).await?;
    Ok(body)
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lane::Control => "control",
            Lane::Ring => "ring",
            Lane::Bulk => "bulk",
        })
    }
}
