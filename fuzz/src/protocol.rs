//! Fuzzers of everything that arrives on a socket: frames, requests, replies, values, messages.
//! No bytes may make the codec panic, and what it accepts it must write and read back alike.
//! Called by the fuzz targets and by `volery-proto/tests/fuzzers.rs`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use volery_proto::command::{Command, CommandFlags, Operation, Origin, Value};
use volery_proto::ids::{ServerId, SessionId, Slot, Zxid};
use volery_proto::jute::frame::{Frame, FrameError, Framer};
use volery_proto::jute::{DecodeError, Jute, Reader, Writer};
use volery_proto::ring;
use volery_proto::zk::*;

use crate::vectors::{self, Vector};

/// Small, so that the fuzzer finds its border.
const FRAME_MAX: usize = 600;

/// The bytes of one record.
#[must_use]
pub fn encode<T: Jute>(record: &T) -> Bytes {
    let mut w = Writer::new();
    record.write(&mut w);
    w.finish()
}

/// A client's stream: it is cut alike in whatever pieces it comes, and without much memory.
/// The first byte is the size of the pieces.
pub fn frames(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let pieces = cut(stream, usize::from(size) + 1);
    assert_eq!(pieces, cut(stream, stream.len().max(1)));
    let mut handshake = true;
    for frame in pieces.0 {
        let Frame::Message(message) = frame else { continue };
        if std::mem::take(&mut handshake) {
            let _ = ConnectRequest::read(&mut Reader::new(message));
            continue;
        }
        let mut r = Reader::new(message);
        if let Ok(header) = RequestHeader::read(&mut r) {
            let _ = Request::decode(header.opcode, r.rest());
        }
    }
}

fn cut(stream: &[u8], size: usize) -> (Vec<Frame>, Option<FrameError>) {
    let mut framer = Framer { max: FRAME_MAX, words: true };
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    let mut came = 0;
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        came += piece.len();
        loop {
            match framer.next(&mut buffer) {
                Ok(Some(frame)) => {
                    framer.words = false;
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(buffer.capacity() <= 4 * came + 8192, "{} for {came}", buffer.capacity());
    }
    (frames, None)
}

/// A request's opcode (4 bytes) and body.
pub fn requests(data: &[u8]) {
    let Some((opcode, body)) = data.split_first_chunk::<4>() else { return };
    let opcode = i32::from_be_bytes(*opcode);
    let Ok(Some(request)) = Request::decode(opcode, Bytes::copy_from_slice(body)) else { return };
    assert_eq!(request.opcode() as i32, opcode);
    let written = encode_body(&request);
    assert_eq!(Request::decode(opcode, written.clone()), Ok(Some(request.clone())));
    assert_eq!(encode_body(&request), written);
}

/// The body of a request.
#[must_use]
pub fn encode_body(request: &Request) -> Bytes {
    let mut w = Writer::new();
    request.write_body(&mut w);
    w.finish()
}

/// The reply of a multi or multiRead.
pub fn multi_reply(data: &[u8]) {
    let read = |bytes: Bytes| MultiResult::read_all(&mut Reader::new(bytes));
    let Ok(results) = read(Bytes::copy_from_slice(data)) else { return };
    let mut w = Writer::new();
    MultiResult::write_all(&results, &mut w);
    assert_eq!(read(w.finish()), Ok(results));
}

/// A reply's opcode (4 bytes) and body: what a client reads.
pub fn replies(data: &[u8]) {
    let Some((opcode, body)) = data.split_first_chunk::<4>() else { return };
    let opcode = i32::from_be_bytes(*opcode);
    if let Ok(written) = reencode_reply(opcode, Bytes::copy_from_slice(body)) {
        assert_eq!(reencode_reply(opcode, written.clone()), Ok(written));
    }
}

/// Reads the body of a successful reply to `opcode`, and writes it again.
///
/// # Errors
/// It is not such a body.
pub fn reencode_reply(opcode: i32, body: Bytes) -> Result<Bytes, DecodeError> {
    fn again<T: Jute>(body: Bytes) -> Result<Bytes, DecodeError> {
        Ok(encode(&T::read(&mut Reader::new(body))?))
    }
    match OpCode::from_i32(opcode) {
        Some(OpCode::Notification) => again::<WatcherEvent>(body),
        Some(OpCode::Create) => again::<CreateResponse>(body),
        Some(OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl) => {
            again::<Create2Response>(body)
        }
        Some(OpCode::Exists | OpCode::SetData | OpCode::SetAcl) => again::<Stat>(body),
        Some(OpCode::GetData | OpCode::Reconfig) => again::<GetDataResponse>(body),
        Some(OpCode::GetAcl) => again::<GetAclResponse>(body),
        Some(OpCode::GetChildren) => again::<GetChildrenResponse>(body),
        Some(OpCode::GetChildren2) => again::<GetChildren2Response>(body),
        Some(OpCode::Sync) => again::<PathRequest>(body),
        Some(OpCode::Sasl) => again::<SaslToken>(body),
        Some(OpCode::GetEphemerals) => again::<GetEphemeralsResponse>(body),
        Some(OpCode::GetAllChildrenNumber) => again::<GetAllChildrenNumberResponse>(body),
        Some(OpCode::AddWatch) => again::<ErrorResponse>(body),
        Some(OpCode::WhoAmI) => again::<WhoAmIResponse>(body),
        Some(OpCode::Multi | OpCode::MultiRead) => {
            let mut w = Writer::new();
            MultiResult::write_all(&MultiResult::read_all(&mut Reader::new(body))?, &mut w);
            Ok(w.finish())
        }
        // No body.
        _ => Ok(Bytes::new()),
    }
}

/// A value of a ring, a record of its log, or a message between its members: whatever reads it.
pub fn value(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(value) = Value::decode(bytes.clone()) {
        let written = value.encode();
        assert_eq!(Value::decode(written).ok().as_ref(), Some(&value));
        for position in [Slot(0), value.start, Slot::MAX] {
            assert!(value.end(position) >= position);
        }
    }
    if let Ok(record) = ring::decode_record(bytes.clone()) {
        let written = ring::encode_record(&record);
        assert_eq!(ring::decode_record(written).ok(), Some(record));
    }
    if let Ok(message) = ring::decode_message(bytes) {
        let written = ring::encode_message(&message);
        assert_eq!(ring::decode_message(written).ok(), Some(message));
    }
}

/// What real clients and servers sent, as inputs of [`frames`].
#[must_use]
pub fn frame_seeds() -> Vec<Vec<u8>> {
    let sent: Vec<Vector> = vectors::all().into_iter().filter(|v| v.is_request).collect();
    let connections = sent.chunk_by(|a, b| a.connection == b.connection);
    let streams = connections.map(|vectors| {
        let size = [7]; // A small piece.
        let framed = vectors
            .iter()
            .flat_map(|v| [&(v.frame.len() as u32).to_be_bytes()[..], &v.frame].concat());
        size.into_iter().chain(framed).collect()
    });
    streams.chain([b"\x00ruok".to_vec(), b"\x02stat\n".to_vec()]).collect()
}

/// What real clients sent, as inputs of [`requests`].
#[must_use]
pub fn request_seeds() -> Vec<Vec<u8>> {
    let sent = vectors::all().into_iter().filter(|v| v.is_request && v.opcode.is_some());
    sent.map(|v| v.frame[4..].to_vec()).collect()
}

/// What real servers answered, as inputs of [`replies`].
#[must_use]
pub fn reply_seeds() -> Vec<Vec<u8>> {
    answers().map(|(opcode, body)| [&opcode.to_be_bytes()[..], &body].concat()).collect()
}

/// What real servers answered to multis, as inputs of [`multi_reply`].
#[must_use]
pub fn multi_reply_seeds() -> Vec<Vec<u8>> {
    let multis = [OpCode::Multi as i32, OpCode::MultiRead as i32];
    answers().filter(|(opcode, _)| multis.contains(opcode)).map(|(_, body)| body).collect()
}

fn answers() -> impl Iterator<Item = (i32, Vec<u8>)> {
    vectors::all().into_iter().filter(|v| !v.is_request).filter_map(|v| {
        let body = v.frame.get(16..)?.to_vec();
        Some((v.opcode?, body))
    })
}

/// Values with every kind of operation, and the writes of real clients.
#[must_use]
pub fn value_seeds() -> Vec<Vec<u8>> {
    let writes = request_seeds().into_iter().filter_map(|seed| {
        let (opcode, body) = seed.split_first_chunk::<4>()?;
        let body = Bytes::copy_from_slice(body);
        Request::decode(i32::from_be_bytes(*opcode), body).ok()?.filter(Request::is_write)
    });
    let password = Bytes::from_static(b"0123456789abcdef");
    let operations: Vec<Operation> = [
        Operation::Noop,
        Operation::Hello,
        Operation::CreateSession { password: password.clone(), timeout_ms: 4000 },
        Operation::ReopenSession { password, timeout_ms: 4000 },
        Operation::CloseSession,
        Operation::Sync("/a".into()),
    ]
    .into_iter()
    .chain(writes.map(Operation::Write))
    .collect();
    let skip = Value { start: Slot(1 << 40), time_ms: 1, commands: Vec::new() };
    let values = operations.chunks(3).map(|operations| Value {
        start: Slot(77),
        time_ms: 1_700_000_000_000,
        commands: operations.iter().cloned().map(command).collect(),
    });
    values.chain([skip]).map(|value| value.encode().to_vec()).collect()
}

fn command(operation: Operation) -> Command {
    let id = Id { scheme: "digest".into(), id: "a:b".into() };
    Command {
        origin: Origin { server: ServerId(3), incarnation: Zxid(1 << 20), sequence: 9 },
        session: SessionId(-5),
        epoch: Zxid(5),
        identities: Arc::from([id]),
        after: Zxid(6),
        map_version: 1,
        flags: CommandFlags { extended_types: true, skip_acl: false },
        operation,
    }
}
