//! Whatever is written is read back: every record, request, result, command and value.

#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::fmt::Debug;

use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use volery_proto::command::{Command, CommandFlags, Operation, Origin, Value, ValueError};
use volery_proto::ids::{ServerId, SessionId, Slot, Zxid};
use volery_proto::jute::{DecodeError, Jute, Reader, Writer};
use volery_proto::zk::*;

const CASES: u32 = 100;

/// Anything of a type. proptest's own `Arbitrary` cannot be implemented for foreign types.
trait Anything: Sized + Clone + Debug + 'static {
    fn anything() -> BoxedStrategy<Self>;
}

macro_rules! anything {
    ($($t:ty => $strategy:expr),* $(,)?) => {$(
        impl Anything for $t {
            fn anything() -> BoxedStrategy<Self> {
                $strategy.boxed()
            }
        }
    )*};
}

anything! {
    i32 => prop_oneof![any::<i32>(), -2..8],
    i64 => any::<i64>(),
    u64 => any::<u64>(),
    u32 => any::<u32>(),
    bool => any::<bool>(),
    ByteString => prop_oneof!["(/[a-c]{1,3}){0,3}", any::<String>()].prop_map(Into::into),
    Bytes => vec(any::<u8>(), 0..40).prop_map(Into::into),
    ErrorCode => (-130..1).prop_filter_map("no code", ErrorCode::from_i32),
}

impl<T: Anything> Anything for Option<T> {
    fn anything() -> BoxedStrategy<Self> {
        proptest::option::of(T::anything()).boxed()
    }
}

impl<T: Anything> Anything for Vec<T> {
    fn anything() -> BoxedStrategy<Self> {
        vec(T::anything(), 0..4).boxed()
    }
}

fn encode<T: Jute>(value: &T) -> Bytes {
    let mut w = Writer::new();
    value.write(&mut w);
    w.finish()
}

fn run<T: Anything>(check: impl Fn(T) -> Result<(), TestCaseError>) {
    TestRunner::new(Config::with_cases(CASES)).run(&T::anything(), check).unwrap();
}

/// It comes back, trailing bytes are left alone, and every shorter frame is an error.
fn check<T: Anything + Jute + PartialEq>() {
    run(|value: T| {
        let bytes = encode(&value);
        let mut r = Reader::new([&bytes[..], b"more"].concat().into());
        prop_assert_eq!(T::read(&mut r), Ok(value));
        prop_assert_eq!(r.rest(), "more");
        for length in 0..bytes.len() {
            prop_assert!(T::read(&mut Reader::new(bytes.slice(..length))).is_err());
        }
        Ok(())
    });
}

macro_rules! records {
    ($($name:ident { $($field:ident),* })*) => {
        $(impl Anything for $name {
            fn anything() -> BoxedStrategy<Self> {
                ($(anything_of(|r: &$name| &r.$field),)*)
                    .prop_map(|($($field,)*)| $name { $($field),* })
                    .boxed()
            }
        })*
        #[test]
        fn every_record_comes_back() {
            $(check::<$name>();)*
        }
    };
}

/// Anything of a field's type.
fn anything_of<R, F: Anything>(_: impl Fn(&R) -> &F) -> BoxedStrategy<F> {
    F::anything()
}

records! {
    Id { scheme, id }
    Acl { perms, id }
    Stat {
        czxid, mzxid, ctime, mtime, version, cversion, aversion, ephemeral_owner, data_length,
        num_children, pzxid
    }
    RequestHeader { xid, opcode }
    ReplyHeader { xid, zxid, err }
    CreateRequest { path, data, acl, flags }
    CreateTtlRequest { path, data, acl, flags, ttl }
    CreateResponse { path }
    Create2Response { path, stat }
    DeleteRequest { path, version }
    WatchedPathRequest { path, watch }
    PathRequest { path }
    GetDataResponse { data, stat }
    SetDataRequest { path, data, version }
    GetAclResponse { acl, stat }
    SetAclRequest { path, acl, version }
    GetChildrenResponse { children }
    GetChildren2Response { children, stat }
    CheckVersionRequest { path, version }
    ReconfigRequest { joining, leaving, new_members, config_id }
    WatchesRequest { path, watcher_type }
    AuthPacket { auth_type, scheme, auth }
    SaslToken { token }
    SetWatches { relative_zxid, data, exist, child }
    SetWatches2 { relative_zxid, data, exist, child, persistent, recursive }
    AddWatchRequest { path, mode }
    WatcherEvent { event_type, state, path }
    ErrorResponse { err }
    GetEphemeralsRequest { prefix }
    GetEphemeralsResponse { ephemerals }
    GetAllChildrenNumberResponse { number }
    ClientInfo { scheme, user }
    WhoAmIResponse { infos }
    MultiHeader { opcode, done, err }
}

fn with_flags(flags: impl Strategy<Value = i32>) -> impl Strategy<Value = CreateRequest> {
    (CreateRequest::anything(), flags).prop_map(|(create, flags)| CreateRequest { flags, ..create })
}

anything! {
    MultiOp => prop_oneof![
        with_flags(0..4).prop_map(MultiOp::Create),
        with_flags(0..4).prop_map(MultiOp::Create2),
        with_flags(0..5).prop_map(MultiOp::CreateContainer),
        (CreateTtlRequest::anything(), 5..7).prop_map(|(create, flags)| {
            MultiOp::CreateTtl(CreateTtlRequest { flags, ..create })
        }),
        DeleteRequest::anything().prop_map(MultiOp::Delete),
        SetDataRequest::anything().prop_map(MultiOp::SetData),
        CheckVersionRequest::anything().prop_map(MultiOp::Check),
    ],
    ReadOp => prop_oneof![
        WatchedPathRequest::anything().prop_map(ReadOp::GetChildren),
        WatchedPathRequest::anything().prop_map(ReadOp::GetData),
    ],
    MultiResult => prop_oneof![
        CreateResponse::anything().prop_map(MultiResult::Create),
        Create2Response::anything().prop_map(MultiResult::Create2),
        Just(MultiResult::Delete),
        Stat::anything().prop_map(MultiResult::SetData),
        Just(MultiResult::Check),
        GetChildrenResponse::anything().prop_map(MultiResult::GetChildren),
        GetDataResponse::anything().prop_map(MultiResult::GetData),
        ErrorCode::anything().prop_map(MultiResult::Error),
    ],
}

macro_rules! requests {
    ($($name:ident),*; $($empty:ident),*) => {
        impl Anything for Request {
            fn anything() -> BoxedStrategy<Self> {
                proptest::strategy::Union::new(vec![
                    $(Anything::anything().prop_map(Request::$name).boxed(),)*
                    $(Just(Request::$empty).boxed()),*
                ])
                .boxed()
            }
        }
        const REQUESTS: &[OpCode] = &[$(OpCode::$name,)* $(OpCode::$empty),*];
    };
}

requests! {
    Create, Create2, CreateContainer, CreateTtl, Delete, DeleteContainer, SetData, SetAcl, Exists,
    GetData, GetChildren, GetChildren2, GetAcl, Sync, Reconfig, CheckWatches, RemoveWatches, Auth,
    SetWatches, SetWatches2, Sasl, GetEphemerals, GetAllChildrenNumber, AddWatch, Multi, MultiRead;
    Ping, WhoAmI, CloseSession
}

#[test]
fn every_request_comes_back() {
    TestRunner::new(Config::with_cases(30 * CASES))
        .run(&Request::anything(), |request| {
            let mut w = Writer::new();
            request.write_body(&mut w);
            let (opcode, body) = (request.opcode() as i32, w.finish());
            let longer: Bytes = [&body[..], b"more"].concat().into();
            prop_assert_eq!(Request::decode(opcode, longer), Ok(Some(request)));
            for length in 0..body.len() {
                prop_assert!(Request::decode(opcode, body.slice(..length)).is_err());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn only_requests_decode() {
    let zeros = Bytes::from_static(&[0; 256]);
    for opcode in -200..1000 {
        let known = OpCode::from_i32(opcode).is_some_and(|opcode| REQUESTS.contains(&opcode));
        let refused = Request::decode(opcode, zeros.clone()) == Ok(None);
        assert_eq!(known, !refused, "opcode {opcode}");
    }
}

#[test]
fn every_multi_result_comes_back() {
    run(|results: Vec<MultiResult>| {
        let mut w = Writer::new();
        MultiResult::write_all(&results, &mut w);
        let body = w.finish();
        let read = |bytes| MultiResult::read_all(&mut Reader::new(bytes));
        prop_assert_eq!(read(body.clone()), Ok(results));
        for length in 0..body.len() {
            prop_assert!(read(body.slice(..length)).is_err());
        }
        Ok(())
    });
}

/// What each header and all flags make, as in ZooKeeper 3.9.
#[test]
fn creates_in_a_multi_are_what_their_flags_say() {
    let ttl = CreateTtlRequest { path: "/a".into(), ttl: 7, ..Default::default() };
    let plain = |flags| CreateRequest { path: "/a".into(), flags, ..Default::default() };
    for opcode in [OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl] {
        for flags in [-1, 0, 1, 2, 3, 4, 5, 6, 7, i32::MAX] {
            let mut w = Writer::new();
            MultiHeader { opcode: opcode as i32, done: false, err: -1 }.write(&mut w);
            let ttl = CreateTtlRequest { flags, ..ttl.clone() };
            match opcode {
                OpCode::CreateTtl => ttl.write(&mut w),
                _ => plain(flags).write(&mut w),
            }
            MultiHeader { opcode: -1, done: true, err: -1 }.write(&mut w);
            let read = Request::decode(OpCode::Multi as i32, w.finish());
            let expected = match flags {
                5 | 6 if opcode == OpCode::CreateTtl => MultiOp::CreateTtl(ttl),
                -1 | 5 | 6 | 7 | i32::MAX => {
                    assert!(matches!(read, Err(DecodeError::Value(..))), "{opcode:?} {flags}");
                    continue;
                }
                4 => MultiOp::CreateContainer(plain(4)),
                _ if opcode == OpCode::Create2 => MultiOp::Create2(plain(flags)),
                _ if opcode == OpCode::CreateContainer => MultiOp::CreateContainer(plain(flags)),
                _ => MultiOp::Create(plain(flags)),
            };
            let expected = Request::Multi(vec![expected]);
            assert_eq!(read, Ok(Some(expected)), "{opcode:?} {flags}");
        }
    }
}

#[test]
fn a_multi_holds_writes_and_a_multi_read_holds_reads() {
    let body = |opcode: OpCode| {
        let mut w = Writer::new();
        MultiHeader { opcode: opcode as i32, done: false, err: -1 }.write(&mut w);
        w.raw(&[0; 64]);
        w.finish()
    };
    for opcode in OpCode::ALL {
        let refused = Err(DecodeError::MultiType(*opcode as i32));
        let writes = [OpCode::Create, OpCode::Create2, OpCode::CreateContainer, OpCode::CreateTtl];
        let others = [OpCode::Delete, OpCode::SetData, OpCode::Check];
        let is_write = writes.contains(opcode) || others.contains(opcode);
        let is_read = [OpCode::GetChildren, OpCode::GetData].contains(opcode);
        let multi = Request::decode(OpCode::Multi as i32, body(*opcode));
        let multi_read = Request::decode(OpCode::MultiRead as i32, body(*opcode));
        assert_eq!(multi == refused, !is_write, "{opcode:?}");
        assert_eq!(multi_read == refused, !is_read, "{opcode:?}");
    }
}

macro_rules! handshakes {
    ($($test:ident: $name:ident { $($field:ident),* })*) => {$(
        #[test]
        fn $test() {
            let strategy = ($(anything_of(|r: &$name| &r.$field),)*)
                .prop_map(|($($field,)*)| $name { $($field),* });
            let check = |record: $name| {
                let bytes = encode(&record);
                let read = |bytes| $name::read(&mut Reader::new(bytes));
                prop_assert_eq!(read(bytes.clone()), Ok(record.clone()));
                // One byte less is an old peer's: nothing but readOnly may be missing.
                let tail = usize::from(record.read_only.is_some());
                let old = $name { read_only: None, ..record };
                prop_assert_eq!(read(bytes.slice(..bytes.len() - tail)), Ok(old));
                for length in 0..bytes.len() - tail {
                    prop_assert!(read(bytes.slice(..length)).is_err());
                }
                Ok(())
            };
            TestRunner::new(Config::with_cases(CASES)).run(&strategy, check).unwrap();
        }
    )*};
}

handshakes! {
    connect_requests_come_back: ConnectRequest {
        protocol_version, last_zxid_seen, timeout_ms, session, password, read_only
    }
    connect_responses_come_back: ConnectResponse {
        protocol_version, timeout_ms, session, password, read_only
    }
}

#[test]
fn handshakes_have_zookeepers_lengths() {
    let password = Some(Bytes::from_static(&[0; 16]));
    for (read_only, request, response) in [(None, 44, 36), (Some(true), 45, 37)] {
        let ask = ConnectRequest { password: password.clone(), read_only, ..Default::default() };
        let answer =
            ConnectResponse { password: password.clone(), read_only, ..Default::default() };
        assert_eq!((encode(&ask).len(), encode(&answer).len()), (request, response));
    }
    assert_eq!(encode(&Stat::default()).len(), 68);
}

#[test]
fn null_and_empty_buffers_stay_apart() {
    for data in [None, Some(Bytes::new())] {
        let request = SetDataRequest { path: "/".into(), data, version: 0 };
        let read = SetDataRequest::read(&mut Reader::new(encode(&request)));
        assert_eq!(read, Ok(request));
    }
}

anything! {
    Operation => prop_oneof![
        Just(Operation::Noop),
        Just(Operation::Hello),
        (Bytes::anything(), any::<u32>()).prop_map(|(password, timeout_ms)| {
            Operation::CreateSession { password, timeout_ms }
        }),
        (Bytes::anything(), any::<u32>()).prop_map(|(password, timeout_ms)| {
            Operation::ReopenSession { password, timeout_ms }
        }),
        Just(Operation::CloseSession),
        ByteString::anything().prop_map(Operation::Sync),
        Request::anything()
            .prop_filter("a write", Request::is_write)
            .prop_map(Operation::Write),
    ],
    Command => (
        (any::<u8>(), u64::anything(), u64::anything()),
        (i64::anything(), u64::anything(), Vec::<Id>::anything(), u64::anything()),
        (u32::anything(), bool::anything(), bool::anything()),
        Operation::anything(),
    ).prop_map(|(origin, session, setting, operation)| Command {
        origin: Origin {
            server: ServerId(origin.0),
            incarnation: Zxid(origin.1),
            sequence: origin.2,
        },
        session: SessionId(session.0),
        epoch: Zxid(session.1),
        identities: session.2.into(),
        after: Zxid(session.3),
        map_version: setting.0,
        flags: CommandFlags { extended_types: setting.1, skip_acl: setting.2 },
        operation,
    }),
    Value => (0..=Slot::MAX.0, u64::anything(), Vec::<Command>::anything()).prop_map(
        |(start, time_ms, commands)| Value { start: Slot(start), time_ms, commands },
    ),
}

#[test]
fn every_value_comes_back() {
    TestRunner::new(Config::with_cases(5 * CASES))
        .run(&Value::anything(), |value| {
            prop_assert_eq!(Value::decode(value.encode()).unwrap(), value);
            Ok(())
        })
        .unwrap();
}

/// Behind the last slot there are no zxids: such a value is not obeyed, but refused.
#[test]
fn a_value_beyond_the_last_slot_is_refused() {
    let last = Value { start: Slot::MAX, ..Value::default() };
    assert!(Value::decode(last.encode()).is_ok());
    for start in [Slot::MAX.0 + 1, u64::MAX] {
        let value = Value { start: Slot(start), ..Value::default() };
        assert!(matches!(Value::decode(value.encode()), Err(ValueError::Field("start"))));
    }
    assert!(Zxid::through(Slot::MAX).as_i64() > 0);
}
