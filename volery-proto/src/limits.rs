//! Every limit in one place, with their relations checked at compile time.

/// ZooKeeper's default `jute.maxbuffer`: the longest frame a client may send, in bytes.
pub const MAX_FRAME_DEFAULT: usize = 0xf_ffff;
/// The highest `jute.maxbuffer` that is accepted: a value must still fit a log record.
pub const MAX_FRAME_CEILING: usize = 32 << 20;
/// Longest log record, in bytes.
pub const MAX_LOG_RECORD: usize = 64 << 20;
/// Bytes of commands that one value may batch (a single larger command still goes alone).
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// Commands that one value may batch.
pub const MAX_VALUE_COMMANDS: usize = 4096;
/// Partitions of one service.
pub const MAX_PARTITIONS: u16 = 512;
/// Requests of one connection that wait in the server before its socket is no longer read.
pub const MAX_CONNECTION_OUTSTANDING: usize = 1024;
/// Bytes of such requests; the request that passes this is the last that is read.
pub const MAX_CONNECTION_OUTSTANDING_BYTES: usize = 4 << 20;
/// Longest encoded contribution, in bytes. A multi is one frame, and the shortest operation (17
/// bytes and its path) asks for two znodes and a name, below 300 bytes and three times its path:
/// no command that fits a frame reaches this. It must not, as nothing runs without it.
pub const MAX_CONTRIBUTION_BYTES: usize = 20 * MAX_FRAME_CEILING;
/// Commands that one front end has on their way to a coordinator elsewhere.
pub const MAX_FORWARDED: usize = 8192;
/// Bytes of such commands.
pub const MAX_FORWARDED_BYTES: usize = 8 << 20;
/// Commands that wait at a coordinator; above it those of other servers are dropped, and sent
/// again.
pub const MAX_RING_WAITING: usize = 1 << 16;
/// Longest message between servers, in bytes: a promise with everything that is undecided.
pub const MAX_PEER_MESSAGE: usize = 1 << 30;

const _: () = assert!(MAX_FORWARDED >= MAX_VALUE_COMMANDS && MAX_RING_WAITING > MAX_FORWARDED);
const _: () = assert!(MAX_PEER_MESSAGE > MAX_CONTRIBUTION_BYTES + MAX_LOG_RECORD);
const _: () = assert!(MAX_CONTRIBUTION_BYTES / MAX_FRAME_CEILING >= 300 / 17 + 2);
const _: () = assert!(MAX_FRAME_DEFAULT < MAX_FRAME_CEILING);
const _: () = assert!(MAX_FRAME_CEILING + MAX_VALUE_BYTES < MAX_LOG_RECORD);
const _: () = assert!(MAX_PARTITIONS < crate::ids::RingId::COUNT);
