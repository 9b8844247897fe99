//! ZooKeeper's error codes.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// An error code of the protocol: a value of a reply, never a Rust error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i32)]
        pub enum ErrorCode { $($(#[$doc])* $name = $code),* }
        impl ErrorCode {
            /// The code of a number, if it is one.
            #[must_use]
            pub fn from_i32(code: i32) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// No error.
    Ok = 0,
    /// Range marker of system errors.
    SystemError = -1,
    /// In a failed multi: an operation behind the one that failed.
    RuntimeInconsistency = -2,
    /// Not sent.
    DataInconsistency = -3,
    /// The connection was lost (client side).
    ConnectionLoss = -4,
    /// The body does not parse.
    MarshallingError = -5,
    /// Unknown opcode, or a feature that is off.
    Unimplemented = -6,
    /// Client side.
    OperationTimeout = -7,
    /// Invalid path, flags or arguments.
    BadArguments = -8,
    /// Reconfiguration: no quorum of the new configuration.
    NewConfigNoQuorum = -13,
    /// Reconfiguration: another one is in progress.
    ReconfigInProgress = -14,
    /// Range marker of API errors.
    ApiError = -100,
    /// No such znode.
    NoNode = -101,
    /// Not allowed by the ACL.
    NoAuth = -102,
    /// The version does not match.
    BadVersion = -103,
    /// Ephemeral znodes have no children.
    NoChildrenForEphemerals = -108,
    /// The znode exists.
    NodeExists = -110,
    /// The znode has children.
    NotEmpty = -111,
    /// The session is gone.
    SessionExpired = -112,
    /// Client side.
    InvalidCallback = -113,
    /// The ACL is not valid.
    InvalidAcl = -114,
    /// Authentication failed; the connection is closed.
    AuthFailed = -115,
    /// The session lives at another server (internal; the connection is closed instead).
    SessionMoved = -118,
    /// Read-only mode.
    NotReadOnly = -119,
    /// A local session cannot own ephemerals.
    EphemeralOnLocalSession = -120,
    /// No such watch.
    NoWatcher = -121,
    /// Client side.
    RequestTimeout = -122,
    /// Reconfiguration is off.
    ReconfigDisabled = -123,
    /// The session is closed because SASL is required.
    SessionClosedRequireSaslAuth = -124,
    /// A quota is exceeded.
    QuotaExceeded = -125,
    /// The request waited too long.
    ThrottledOp = -127,
}

impl ErrorCode {
    /// As the protocol writes it.
    #[must_use]
    pub fn code(self) -> i32 {
        self as i32
    }
}
