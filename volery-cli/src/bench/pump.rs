//! The raw pipelined protocol: keeps a number of requests on the way, reads of each reply only
//! its head. It never decodes a body, except to see that a multi failed.
//! Called by the measured load, the fill and the set-up of the znodes.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::time::sleep_until;

use crate::client::connection::{Connection, MAX_REPLY_BYTES};

/// Bytes of the read buffer; grows where one reply is longer.
const INPUT: usize = 64 << 10;
/// A reply's length, and the head behind it.
const HEAD: usize = 4 + 16;
/// A multi's reply: up to the first result's type and code.
const MULTI_HEAD: usize = HEAD + 9;

/// What kind a request was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) write: bool,
    pub(super) multi: bool,
}

/// What a source has for the connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// A request was appended; its latency counts from `since`.
    Sent { kind: Kind, since: Instant },
    /// There is none before this time.
    Wait(Instant),
    /// There are no more.
    Dry,
}

/// Where requests come from and answers go.
pub(super) trait Source {
    /// Appends the next request.
    fn next(&mut self, xid: i32, now: Instant, out: &mut Vec<u8>) -> Next;
    /// One request was answered with this code.
    fn answered(&mut self, kind: Kind, sent: Instant, now: Instant, code: i32);
}

/// Requests on the way.
#[derive(Debug, Default)]
pub(super) struct OnTheWay {
    sent: VecDeque<(Instant, Kind)>,
    next_xid: i32,
    due_xid: i32,
}

impl OnTheWay {
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }
}

/// Runs `source` dry with `window` requests on the way. After an error, `on_the_way` tells how
/// many requests were left without an answer.
pub(super) async fn pump(
    connection: &mut Connection,
    window: usize,
    source: &mut impl Source,
    on_the_way: &mut OnTheWay,
) -> io::Result<()> {
    *on_the_way = OnTheWay { next_xid: 1, due_xid: 1, ..OnTheWay::default() };
    let mut input = vec![0; INPUT];
    let mut filled = connection.input.len();
    input[..filled].copy_from_slice(&connection.input);
    connection.input.clear();
    let (mut reader, writer) = connection.stream.split();
    let (mut out, mut written, mut dry) = (Vec::with_capacity(INPUT), 0, false);
    let mut now = Instant::now();
    loop {
        let mut pause = None;
        while !dry && pause.is_none() && on_the_way.sent.len() < window {
            match source.next(on_the_way.next_xid, now, &mut out) {
                Next::Sent { kind, since } => {
                    on_the_way.sent.push_back((since, kind));
                    on_the_way.next_xid += 1;
                }
                Next::Wait(until) => pause = Some(until),
                Next::Dry => dry = true,
            }
        }
        if dry && on_the_way.sent.is_empty() {
            return Ok(());
        }
        if written < out.len() {
            match writer.try_write(&out[written..]) {
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if written == out.len() {
                out.clear();
                written = 0;
            }
        }
        // `read` and not `try_read`: tokio knows after a short read that the socket is empty.
        let n = if out.is_empty() && pause.is_none() {
            reader.read(&mut input[filled..]).await?
        } else {
            let until = pause.unwrap_or(now);
            tokio::select! {
                n = reader.read(&mut input[filled..]) => n?,
                ready = writer.writable(), if !out.is_empty() => { ready?; continue }
                () = sleep_until(until.into()), if pause.is_some() => {
                    now = Instant::now();
                    continue;
                }
            }
        };
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the server"));
        }
        now = Instant::now();
        filled = take_replies(&mut input, filled + n, now, source, on_the_way)?;
    }
}

/// Hands out all whole replies of `input[..filled]`, moves the rest to the front and returns its
/// length.
fn take_replies(
    input: &mut Vec<u8>,
    filled: usize,
    now: Instant,
    source: &mut impl Source,
    on_the_way: &mut OnTheWay,
) -> io::Result<usize> {
    let mut at = 0;
    while filled - at >= HEAD {
        let length = usize::try_from(int(input, at)).unwrap_or(usize::MAX);
        if !(HEAD - 4..=MAX_REPLY_BYTES).contains(&length) {
            return Err(io::Error::other("a reply of an impossible length"));
        }
        let end = at + 4 + length;
        if end > filled {
            if end - at > input.len() {
                input.resize(end - at, 0);
            }
            break;
        }
        let reply = &input[at..end];
        at = end;
        let xid = int(reply, 4);
        if xid < 0 {
            continue; // a ping's reply, or an event
        }
        let Some((sent, kind)) = on_the_way.sent.pop_front() else {
            return Err(io::Error::other("a reply that nobody asked for"));
        };
        if xid != on_the_way.due_xid {
            return Err(io::Error::other(format!("reply {xid} out of order")));
        }
        on_the_way.due_xid += 1;
        source.answered(kind, sent, now, code_of(reply, kind));
    }
    input.copy_within(at..filled, 0);
    Ok(filled - at)
}

fn int(bytes: &[u8], at: usize) -> i32 {
    bytes[at..].first_chunk().map_or(0, |chunk| i32::from_be_bytes(*chunk))
}

/// The reply's code. A failed multi has code 0, and results of type -1: the first that has a code
/// of its own is not looked for.
fn code_of(reply: &[u8], kind: Kind) -> i32 {
    let code = int(reply, HEAD - 4);
    let failed = kind.multi && code == 0 && reply.len() >= MULTI_HEAD && int(reply, HEAD) == -1;
    match failed && reply[HEAD + 4] == 0 {
        true => match int(reply, HEAD + 5) {
            0 => -2,
            own => own,
        },
        false => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volery_proto::jute::{Jute, Writer};
    use volery_proto::zk::{ErrorCode, MultiResult, ReplyHeader};

    #[derive(Default)]
    struct Codes(Vec<i32>);
    impl Source for Codes {
        fn next(&mut self, _: i32, _: Instant, _: &mut Vec<u8>) -> Next {
            Next::Dry
        }
        fn answered(&mut self, _: Kind, _: Instant, _: Instant, code: i32) {
            self.0.push(code);
        }
    }

    #[test]
    fn replies_are_cut_and_judged() {
        let mut w = Writer::new();
        w.frame(|w| ReplyHeader { xid: 1, zxid: 9, err: -101 }.write(w));
        w.frame(|w| ReplyHeader { xid: -2, zxid: 9, err: 0 }.write(w));
        for results in [
            vec![MultiResult::Check],
            vec![MultiResult::Error(ErrorCode::Ok), MultiResult::Error(ErrorCode::NoNode)],
        ] {
            let xid = if results.len() == 1 { 2 } else { 3 };
            w.frame(|w| {
                ReplyHeader { xid, zxid: 9, err: 0 }.write(w);
                MultiResult::write_all(&results, w);
            });
        }
        let mut input = w.finish().to_vec();
        input.extend_from_slice(&[0, 0, 0]);
        let (now, multi) = (Instant::now(), Kind { write: true, multi: true });
        let mut codes = Codes::default();
        let mut on_the_way = OnTheWay { due_xid: 1, ..OnTheWay::default() };
        on_the_way.sent.extend([(now, Kind::default()), (now, multi), (now, multi)]);
        let filled = input.len();
        let left = take_replies(&mut input, filled, now, &mut codes, &mut on_the_way);
        assert_eq!(left.expect("in order"), 3);
        assert_eq!(codes.0, [-101, 0, -2]);
    }
}
