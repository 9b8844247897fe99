//! Frames of real clients and real servers: each is decoded, encoded again, and is the same.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use volery_proto::jute::{Jute, Reader};
use volery_proto::zk::*;

use vectors::Vector;

#[allow(dead_code, unreachable_pub, reason = "shared with the fuzzers")]
#[path = "../../fuzz/src/protocol.rs"]
mod protocol;
#[allow(unreachable_pub, reason = "shared with the fuzzers")]
#[path = "../../tests/vectors/read.rs"]
mod vectors;

fn check_request(vector: &Vector) {
    let place = &vector.place;
    let mut r = Reader::new(vector.frame.clone().into());
    let Some(opcode) = vector.opcode else {
        let request = ConnectRequest::read(&mut r).expect(place);
        assert_eq!(protocol::encode(&request), vector.frame, "{place}");
        return;
    };
    let header = RequestHeader::read(&mut r).expect(place);
    assert_eq!((header.opcode, Some(header.xid)), (opcode, vector.xid), "{place}");
    let body = r.rest();
    let request = Request::decode(opcode, body.clone()).expect(place).expect(place);
    assert_eq!(request.opcode() as i32, opcode, "{place}");
    let written = protocol::encode_body(&request);
    assert_eq!(written, body, "{place}: {request:?}");
}

fn check_reply(vector: &Vector) {
    let place = &vector.place;
    let mut r = Reader::new(vector.frame.clone().into());
    let Some(opcode) = vector.opcode else {
        let response = ConnectResponse::read(&mut r).expect(place);
        assert_eq!(protocol::encode(&response), vector.frame, "{place}");
        return;
    };
    let header = ReplyHeader::read(&mut r).expect(place);
    assert_eq!(Some(header.xid), vector.xid, "{place}");
    assert_eq!(protocol::encode(&header), vector.frame[..16], "{place}");
    let body = r.rest();
    if header.err != 0 {
        assert!(ErrorCode::from_i32(header.err).is_some(), "{place}: error {}", header.err);
        assert!(body.is_empty(), "{place}: a body follows an error");
        return;
    }
    let written = protocol::reencode_reply(opcode, body.clone()).expect(place);
    assert_eq!(written, body, "{place}");
}

#[test]
fn every_request_comes_back_as_it_was_sent() {
    let requests: Vec<Vector> = vectors::all().into_iter().filter(|v| v.is_request).collect();
    assert!(requests.len() > 100, "only {} requests", requests.len());
    requests.iter().for_each(check_request);
}

#[test]
fn every_reply_comes_back_as_it_was_sent() {
    let replies: Vec<Vector> = vectors::all().into_iter().filter(|v| !v.is_request).collect();
    assert!(replies.len() > 100, "only {} replies", replies.len());
    replies.iter().for_each(check_reply);
}

/// The file's opcodes of replies are those of the requests with their xids.
#[test]
fn replies_have_the_opcode_of_the_request_with_their_xid() {
    let mut asked: HashMap<(usize, Option<i32>), BTreeSet<Option<i32>>> = HashMap::new();
    for vector in vectors::all() {
        let xids = asked.entry((vector.connection, vector.xid)).or_default();
        match vector.opcode {
            _ if vector.is_request => drop(xids.insert(vector.opcode)),
            Some(0) => assert_eq!(vector.xid, Some(-1), "{}", vector.place),
            opcode => assert!(xids.contains(&opcode), "{}", vector.place),
        }
    }
}

/// Between them, the clients send all that this codec knows, except what none of them can.
#[test]
fn every_request_is_among_the_vectors() {
    let sent: BTreeSet<i32> =
        vectors::all().into_iter().filter(|v| v.is_request).filter_map(|v| v.opcode).collect();
    let zeros = Bytes::from_static(&[0; 256]);
    let is_request = |opcode: i32| !matches!(Request::decode(opcode, zeros.clone()), Ok(None));
    let missing: Vec<OpCode> = (OpCode::ALL.iter().copied())
        .filter(|opcode| is_request(*opcode as i32) && !sent.contains(&(*opcode as i32)))
        .collect();
    // Pings are timed, SASL needs a set-up, and deleteContainer is the server's own.
    assert_eq!(missing, [OpCode::Ping, OpCode::DeleteContainer, OpCode::Sasl]);
}
