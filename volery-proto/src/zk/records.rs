//! The records of ZooKeeper's jute file, fields in wire order.

use bytes::Bytes;
use bytestring::ByteString;

use crate::jute::{DecodeError, Jute, Reader, Writer};
use crate::jute_record;

/// Permission bits of an ACL entry.
pub mod perms {
    /// Read data and children.
    pub const READ: i32 = 1;
    /// Set data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Set the ACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

jute_record! {
    /// An identity of a scheme.
    Id { scheme: ByteString, id: ByteString }
    /// One entry of an ACL.
    Acl { perms: i32, id: Id }
    /// A znode's metadata, 68 bytes.
    Stat {
        czxid: i64, mzxid: i64, ctime: i64, mtime: i64, version: i32, cversion: i32,
        aversion: i32, ephemeral_owner: i64, data_length: i32, num_children: i32, pzxid: i64,
    }
    /// Head of a request.
    RequestHeader { xid: i32, opcode: i32 }
    /// Head of a reply; a body follows only where `err` is 0.
    ReplyHeader { xid: i32, zxid: i64, err: i32 }
    /// create, create2, createContainer.
    CreateRequest { path: ByteString, data: Option<Bytes>, acl: Vec<Acl>, flags: i32 }
    /// createTTL; `ttl` in milliseconds.
    CreateTtlRequest {
        path: ByteString, data: Option<Bytes>, acl: Vec<Acl>, flags: i32, ttl: i64,
    }
    /// Reply of create.
    CreateResponse { path: ByteString }
    /// Reply of create2, createContainer, createTTL.
    Create2Response { path: ByteString, stat: Stat }
    /// delete.
    DeleteRequest { path: ByteString, version: i32 }
    /// exists, getData, getChildren, getChildren2: all have this shape.
    WatchedPathRequest { path: ByteString, watch: bool }
    /// getACL, sync, getAllChildrenNumber, deleteContainer.
    PathRequest { path: ByteString }
    /// Reply of getData.
    GetDataResponse { data: Option<Bytes>, stat: Stat }
    /// setData.
    SetDataRequest { path: ByteString, data: Option<Bytes>, version: i32 }
    /// Reply of getACL.
    GetAclResponse { acl: Vec<Acl>, stat: Stat }
    /// setACL.
    SetAclRequest { path: ByteString, acl: Vec<Acl>, version: i32 }
    /// Reply of getChildren.
    GetChildrenResponse { children: Vec<ByteString> }
    /// Reply of getChildren2.
    GetChildren2Response { children: Vec<ByteString>, stat: Stat }
    /// check, inside a multi.
    CheckVersionRequest { path: ByteString, version: i32 }
    /// reconfig; null where not given.
    ReconfigRequest {
        joining: Option<ByteString>, leaving: Option<ByteString>,
        new_members: Option<ByteString>, config_id: i64,
    }
    /// checkWatches and removeWatches.
    WatchesRequest { path: ByteString, watcher_type: i32 }
    /// auth.
    AuthPacket { auth_type: i32, scheme: ByteString, auth: Option<Bytes> }
    /// sasl, both ways.
    SaslToken { token: Option<Bytes> }
    /// setWatches.
    SetWatches {
        relative_zxid: i64, data: Vec<ByteString>, exist: Vec<ByteString>,
        child: Vec<ByteString>,
    }
    /// setWatches2.
    SetWatches2 {
        relative_zxid: i64, data: Vec<ByteString>, exist: Vec<ByteString>,
        child: Vec<ByteString>, persistent: Vec<ByteString>, recursive: Vec<ByteString>,
    }
    /// addWatch.
    AddWatchRequest { path: ByteString, mode: i32 }
    /// A watch event.
    WatcherEvent { event_type: i32, state: i32, path: ByteString }
    /// A code in a body.
    ErrorResponse { err: i32 }
    /// getEphemerals; null means all.
    GetEphemeralsRequest { prefix: Option<ByteString> }
    /// Reply of getEphemerals.
    GetEphemeralsResponse { ephemerals: Vec<ByteString> }
    /// Reply of getAllChildrenNumber.
    GetAllChildrenNumberResponse { number: i32 }
    /// One identity of whoAmI.
    ClientInfo { scheme: ByteString, user: ByteString }
    /// Reply of whoAmI.
    WhoAmIResponse { infos: Vec<ClientInfo> }
    /// Head of one operation or result in a multi.
    MultiHeader { opcode: i32, done: bool, err: i32 }
}

/// A client's first frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Not checked.
    pub protocol_version: i32,
    /// Highest zxid the client saw in a reply.
    pub last_zxid_seen: i64,
    /// Wanted session time-out, in milliseconds.
    pub timeout_ms: i32,
    /// 0: a new session.
    pub session: i64,
    /// The session's password.
    pub password: Option<Bytes>,
    /// Absent in old clients; the reply then leaves it out as well.
    pub read_only: Option<bool>,
}

impl Jute for ConnectRequest {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(ConnectRequest {
            protocol_version: r.int()?,
            last_zxid_seen: r.long()?,
            timeout_ms: r.int()?,
            session: r.long()?,
            password: r.buffer()?,
            read_only: if r.remaining() > 0 { Some(r.boolean()?) } else { None },
        })
    }
    fn write(&self, w: &mut Writer) {
        w.int(self.protocol_version);
        w.long(self.last_zxid_seen);
        w.int(self.timeout_ms);
        w.long(self.session);
        w.buffer(self.password.as_deref());
        if let Some(read_only) = self.read_only {
            w.boolean(read_only);
        }
    }
}

/// The server's answer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Always 0.
    pub protocol_version: i32,
    /// Negotiated time-out in milliseconds; 0: the session is gone.
    pub timeout_ms: i32,
    /// 0 where the session is gone.
    pub session: i64,
    /// 16 bytes.
    pub password: Option<Bytes>,
    /// Written only where the request had it.
    pub read_only: Option<bool>,
}

impl Jute for ConnectResponse {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        Ok(ConnectResponse {
            protocol_version: r.int()?,
            timeout_ms: r.int()?,
            session: r.long()?,
            password: r.buffer()?,
            read_only: if r.remaining() > 0 { Some(r.boolean()?) } else { None },
        })
    }
    fn write(&self, w: &mut Writer) {
        w.int(self.protocol_version);
        w.int(self.timeout_ms);
        w.long(self.session);
        w.buffer(self.password.as_deref());
        if let Some(read_only) = self.read_only {
            w.boolean(read_only);
        }
    }
}
