//! Commands and values: what the rings order, the merge delivers and the log keeps.

use bytes::Bytes;
use bytestring::ByteString;
use prost::Message;

use crate::ids::{ServerId, SessionId, Slot, Zxid};
use crate::jute::{DecodeError, Writer};
use crate::wire;
use crate::zk::{Id, Request};

/// Who numbered a command. Executors run every (front end, ring, sequence) once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The front end.
    pub server: ServerId,
    /// The zxid of the front end's hello; zero in a hello.
    pub incarnation: Zxid,
    /// From 1, per (front end, ring).
    pub sequence: u64,
}

/// One command. DESIGN section 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Who numbered it.
    pub origin: Origin,
    /// The client's session; 0: none.
    pub session: SessionId,
    /// The zxid of the session's last (re-)open.
    pub epoch: Zxid,
    /// The identities that the connection has proved.
    pub identities: std::sync::Arc<[Id]>,
    /// It is ordered above this zxid.
    pub after: Zxid,
    /// The map that the front end planned with.
    pub map_version: u32,
    /// The front end's settings that execution depends on: executors read no configuration.
    pub flags: CommandFlags,
    /// What to do.
    pub operation: Operation,
}

/// Settings of the front end's configuration that change how a command executes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandFlags {
    /// `extendedTypesEnabled`: TTL znodes may be created.
    pub extended_types: bool,
    /// `skipACL`: no ACL is checked.
    pub skip_acl: bool,
}

impl CommandFlags {
    fn to_bits(self) -> u32 {
        u32::from(self.extended_types) | u32::from(self.skip_acl) << 1
    }

    fn from_bits(bits: u32) -> CommandFlags {
        CommandFlags { extended_types: bits & 1 != 0, skip_acl: bits & 2 != 0 }
    }
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Nothing; keeps its place in a front end's numbering.
    Noop,
    /// A front end begins; fences its older incarnations.
    Hello,
    /// A client's session begins (`Command::session` is its id).
    CreateSession {
        /// Checked on every re-open.
        password: Bytes,
        /// Negotiated.
        timeout_ms: u32,
    },
    /// A client comes back to its session.
    ReopenSession {
        /// As the client sent it.
        password: Bytes,
        /// Newly negotiated.
        timeout_ms: u32,
    },
    /// The session ends; a no-op where its epoch is another by then.
    CloseSession,
    /// A barrier; the reply echoes the path.
    Sync(ByteString),
    /// A client's write, as it was sent.
    Write(Request),
}

/// What one Paxos instance decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// The first slot the coordinator chose; for a skip, the slot that it passes.
    pub start: Slot,
    /// The coordinator's clock, Unix milliseconds.
    pub time_ms: u64,
    /// In order; none: a skip.
    pub commands: Vec<Command>,
}

/// A value that does not decode: the log or a peer is damaged, or of another version.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Not the protobuf message.
    #[error("not a value: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A client's request inside does not decode.
    #[error("a request in a value does not decode: {0}")]
    Request(#[from] DecodeError),
    /// A field is out of its range.
    #[error("{0} is out of range in a value")]
    Field(&'static str),
}

mod kind {
    pub(super) const NOOP: u32 = 0;
    pub(super) const HELLO: u32 = 1;
    pub(super) const CREATE_SESSION: u32 = 2;
    pub(super) const REOPEN_SESSION: u32 = 3;
    pub(super) const CLOSE_SESSION: u32 = 4;
    pub(super) const SYNC: u32 = 5;
    pub(super) const WRITE: u32 = 6;
}

impl Value {
    /// Through which slot the ring is known once this value follows `position`: the effective
    /// start is max(start, position + 1), computed from the decided sequence by every learner.
    #[must_use]
    pub fn end(&self, position: Slot) -> Slot {
        match self.commands.len() as u64 {
            0 => self.start.max(position),
            n => Slot(self.effective_start(position).0 + n - 1),
        }
    }

    /// The slot of its first command after `position`.
    #[must_use]
    pub fn effective_start(&self, position: Slot) -> Slot {
        self.start.max(Slot(position.0 + 1))
    }

    /// Its bytes in the log and between servers.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = wire::Value {
            start: self.start.0,
            time_ms: self.time_ms,
            commands: self.commands.iter().map(Command::to_wire).collect(),
        };
        message.encode_to_vec().into()
    }

    /// The inverse of [`Value::encode`].
    ///
    /// # Errors
    /// The bytes are not a value.
    pub fn decode(bytes: Bytes) -> Result<Value, ValueError> {
        let message = wire::Value::decode(bytes)?;
        if message.start > Slot::MAX.0 {
            return Err(ValueError::Field("start"));
        }
        Ok(Value {
            start: Slot(message.start),
            time_ms: message.time_ms,
            commands: message
                .commands
                .into_iter()
                .map(Command::from_wire)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl Command {
    /// As a message of the wire.
    #[must_use]
    pub fn to_wire(&self) -> wire::Command {
        let mut message = wire::Command {
            server: u32::from(self.origin.server.0),
            incarnation: self.origin.incarnation.0,
            sequence: self.origin.sequence,
            session: self.session.0,
            epoch: self.epoch.0,
            identities: self
                .identities
                .iter()
                .map(|id| wire::Identity { scheme: id.scheme.to_string(), id: id.id.to_string() })
                .collect(),
            after: self.after.0,
            map_version: self.map_version,
            flags: self.flags.to_bits(),
            ..Default::default()
        };
        message.kind = match &self.operation {
            Operation::Noop => kind::NOOP,
            Operation::Hello => kind::HELLO,
            Operation::CreateSession { password, timeout_ms } => {
                message.password = password.clone();
                message.timeout_ms = *timeout_ms;
                kind::CREATE_SESSION
            }
            Operation::ReopenSession { password, timeout_ms } => {
                message.password = password.clone();
                message.timeout_ms = *timeout_ms;
                kind::REOPEN_SESSION
            }
            Operation::CloseSession => kind::CLOSE_SESSION,
            Operation::Sync(path) => {
                message.body = path.as_bytes().clone();
                kind::SYNC
            }
            Operation::Write(request) => {
                let mut w = Writer::new();
                request.write_body(&mut w);
                message.opcode = request.opcode() as i32;
                message.body = w.finish();
                kind::WRITE
            }
        };
        message
    }

    /// The inverse of [`Command::to_wire`].
    ///
    /// # Errors
    /// The message is not a command.
    pub fn from_wire(message: wire::Command) -> Result<Command, ValueError> {
        let timeout_ms = message.timeout_ms;
        let operation = match message.kind {
            kind::NOOP => Operation::Noop,
            kind::HELLO => Operation::Hello,
            kind::CREATE_SESSION => {
                Operation::CreateSession { password: message.password, timeout_ms }
            }
            kind::REOPEN_SESSION => {
                Operation::ReopenSession { password: message.password, timeout_ms }
            }
            kind::CLOSE_SESSION => Operation::CloseSession,
            kind::SYNC => Operation::Sync(
                ByteString::try_from(message.body).map_err(|_| ValueError::Field("path"))?,
            ),
            kind::WRITE => Operation::Write(
                Request::decode(message.opcode, message.body)?
                    .filter(Request::is_write)
                    .ok_or(ValueError::Field("opcode"))?,
            ),
            _ => return Err(ValueError::Field("kind")),
        };
        let server = u8::try_from(message.server).map_err(|_| ValueError::Field("server"))?;
        Ok(Command {
            origin: Origin {
                server: ServerId(server),
                incarnation: Zxid(message.incarnation),
                sequence: message.sequence,
            },
            session: SessionId(message.session),
            epoch: Zxid(message.epoch),
            identities: message
                .identities
                .into_iter()
                .map(|i| Id { scheme: ByteString::from(i.scheme), id: ByteString::from(i.id) })
                .collect(),
            after: Zxid(message.after),
            map_version: message.map_version,
            flags: CommandFlags::from_bits(message.flags),
            operation,
        })
    }
}
