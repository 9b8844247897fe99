//! ZooKeeper's opcodes.

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// What a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum OpCode { $($(#[$doc])* $name = $code),* }
        impl OpCode {
            /// The opcode of a number, if ZooKeeper knows it.
            #[must_use]
            pub fn from_i32(code: i32) -> Option<OpCode> {
                match code { $($code => Some(OpCode::$name),)* _ => None }
            }
            /// Every opcode.
            pub const ALL: &'static [OpCode] = &[$(OpCode::$name),*];
        }
    };
}

opcodes! {
    /// Server to client only.
    Notification = 0,
    /// Create; the reply holds the path.
    Create = 1,
    /// Delete.
    Delete = 2,
    /// Stat or NoNode.
    Exists = 3,
    /// Data and Stat.
    GetData = 4,
    /// Replace the data.
    SetData = 5,
    /// ACL and Stat.
    GetAcl = 6,
    /// Replace the ACL.
    SetAcl = 7,
    /// Names of the children.
    GetChildren = 8,
    /// Barrier.
    Sync = 9,
    /// Keep-alive.
    Ping = 11,
    /// Names of the children and Stat.
    GetChildren2 = 12,
    /// Version check, inside a multi only.
    Check = 13,
    /// Several writes, all or nothing.
    Multi = 14,
    /// Create; the reply holds path and Stat.
    Create2 = 15,
    /// Dynamic reconfiguration.
    Reconfig = 16,
    /// Is there such a watch?
    CheckWatches = 17,
    /// Remove watches.
    RemoveWatches = 18,
    /// Create a container.
    CreateContainer = 19,
    /// Internal: the reaper's delete.
    DeleteContainer = 20,
    /// Create with a time to live.
    CreateTtl = 21,
    /// Several reads.
    MultiRead = 22,
    /// Authenticate.
    Auth = 100,
    /// Register watches again after a reconnect.
    SetWatches = 101,
    /// SASL exchange.
    Sasl = 102,
    /// The session's ephemerals.
    GetEphemerals = 103,
    /// Number of descendants.
    GetAllChildrenNumber = 104,
    /// As SetWatches, with persistent ones.
    SetWatches2 = 105,
    /// Register a persistent watch.
    AddWatch = 106,
    /// Identities of the connection.
    WhoAmI = 107,
    /// Internal.
    CreateSession = -10,
    /// End of the session.
    CloseSession = -11,
    /// Internal marker.
    Error = -1,
}

impl OpCode {
    /// Whether its body begins with a path that may not be null: ZooKeeper trips over a null one
    /// and answers as to a body that does not parse. Where it validates the path instead
    /// (setData, setACL, check), null is as bad as empty; elsewhere (addWatch) it does nothing.
    #[must_use]
    pub fn needs_path(self) -> bool {
        matches!(
            self,
            OpCode::Create
                | OpCode::Create2
                | OpCode::CreateContainer
                | OpCode::CreateTtl
                | OpCode::Delete
                | OpCode::Exists
                | OpCode::GetData
                | OpCode::GetChildren
                | OpCode::GetChildren2
                | OpCode::GetAcl
                | OpCode::GetAllChildrenNumber
        )
    }
}
