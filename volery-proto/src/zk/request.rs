//! A request of a client, typed: which body belongs to which opcode.

use bytes::Bytes;

use super::multi::{self, MultiOp, ReadOp};
use super::*;
use crate::jute::{DecodeError, Jute, Reader, Writer};

macro_rules! requests {
    (
        $($(#[$doc:meta])* $name:ident($body:ty)),* $(,)?;
        $($(#[$edoc:meta])* $empty:ident),* $(,)?
    ) => {
        /// Every request that a client can send, with its body.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Request {
            $($(#[$doc])* $name($body),)*
            $($(#[$edoc])* $empty,)*
            /// Several writes, all or nothing.
            Multi(Vec<MultiOp>),
            /// Several reads.
            MultiRead(Vec<ReadOp>),
        }
        impl Request {
            /// Decodes the body of a request with this opcode; trailing bytes are ignored.
            /// `None`: no client may send this opcode at the top level.
            ///
            /// # Errors
            /// The body does not parse.
            pub fn decode(opcode: i32, body: Bytes) -> Result<Option<Request>, DecodeError> {
                let mut r = Reader::new(body);
                let opcode = OpCode::from_i32(opcode);
                if opcode.is_some_and(OpCode::needs_path) {
                    r.expect_path()?;
                }
                Ok(Some(match opcode {
                    $(Some(OpCode::$name) => Request::$name(<$body>::read(&mut r)?),)*
                    $(Some(OpCode::$empty) => Request::$empty,)*
                    Some(OpCode::Multi) => Request::Multi(multi::read_writes(&mut r)?),
                    Some(OpCode::MultiRead) => Request::MultiRead(multi::read_reads(&mut r)?),
                    _ => return Ok(None),
                }))
            }

            /// Its opcode.
            #[must_use]
            pub fn opcode(&self) -> OpCode {
                match self {
                    $(Request::$name(_) => OpCode::$name,)*
                    $(Request::$empty => OpCode::$empty,)*
                    Request::Multi(_) => OpCode::Multi,
                    Request::MultiRead(_) => OpCode::MultiRead,
                }
            }

            /// Appends the body.
            pub fn write_body(&self, w: &mut Writer) {
                match self {
                    $(Request::$name(body) => body.write(w),)*
                    $(Request::$empty => {})*
                    Request::Multi(ops) => multi::write_writes(ops, w),
                    Request::MultiRead(ops) => multi::write_reads(ops, w),
                }
            }
        }
    };
}

requests! {
    /// Create; the reply holds the path.
    Create(CreateRequest),
    /// Create; the reply holds path and Stat.
    Create2(CreateRequest),
    /// Create a container.
    CreateContainer(CreateRequest),
    /// Create with a time to live.
    CreateTtl(CreateTtlRequest),
    /// Delete.
    Delete(DeleteRequest),
    /// The reaper's delete; refused from clients.
    DeleteContainer(PathRequest),
    /// Replace the data.
    SetData(SetDataRequest),
    /// Replace the ACL.
    SetAcl(SetAclRequest),
    /// Stat or NoNode.
    Exists(WatchedPathRequest),
    /// Data and Stat.
    GetData(WatchedPathRequest),
    /// Names of the children.
    GetChildren(WatchedPathRequest),
    /// Names of the children and Stat.
    GetChildren2(WatchedPathRequest),
    /// ACL and Stat.
    GetAcl(PathRequest),
    /// Barrier.
    Sync(PathRequest),
    /// Dynamic reconfiguration.
    Reconfig(ReconfigRequest),
    /// Is there such a watch?
    CheckWatches(WatchesRequest),
    /// Remove watches.
    RemoveWatches(WatchesRequest),
    /// Authenticate.
    Auth(AuthPacket),
    /// Register watches again after a reconnect.
    SetWatches(SetWatches),
    /// As SetWatches, with persistent ones.
    SetWatches2(SetWatches2),
    /// SASL exchange.
    Sasl(SaslToken),
    /// The session's ephemerals.
    GetEphemerals(GetEphemeralsRequest),
    /// Number of descendants.
    GetAllChildrenNumber(PathRequest),
    /// Register a persistent watch.
    AddWatch(AddWatchRequest),
    ;
    /// Keep-alive.
    Ping,
    /// Identities of the connection.
    WhoAmI,
    /// End of the session.
    CloseSession,
}

impl Request {
    /// Whether it goes through a ring.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(
            self,
            Request::Create(_)
                | Request::Create2(_)
                | Request::CreateContainer(_)
                | Request::CreateTtl(_)
                | Request::Delete(_)
                | Request::DeleteContainer(_)
                | Request::SetData(_)
                | Request::SetAcl(_)
                | Request::Multi(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A null path, then zeros for whatever follows it.
    fn null_path(before: &[u8]) -> Bytes {
        [before, &[0xff; 4], &[0; 32]].concat().into()
    }

    #[test]
    fn a_null_path_does_not_parse_where_zookeeper_trips_over_it() {
        for opcode in [1, 2, 3, 4, 6, 8, 12, 15, 19, 21, 104] {
            let got = Request::decode(opcode, null_path(&[]));
            assert_eq!(got, Err(DecodeError::NullPath), "opcode {opcode}");
        }
        for opcode in [5, 7, 9, 17, 18, 103, 106] {
            let got = Request::decode(opcode, null_path(&[]));
            assert!(matches!(got, Ok(Some(_))), "opcode {opcode}: {got:?}");
        }
    }

    #[test]
    fn nor_does_it_inside_a_multi() {
        for (multi, opcode) in [(14, 1), (14, 2), (14, 5), (14, 13), (22, 4), (22, 8)] {
            let header = [&[0, 0, 0, opcode, 0][..], &[0xff; 4]].concat();
            let got = Request::decode(multi, null_path(&header));
            assert_eq!(got, Err(DecodeError::NullPath), "{opcode} in {multi}");
        }
    }
}
