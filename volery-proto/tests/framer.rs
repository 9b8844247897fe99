//! The framer: any split of the stream gives the same frames, and a claimed length costs nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use bytes::{Bytes, BytesMut};
use volery_proto::jute::frame::{Frame, FrameError, Framer};
use volery_proto::limits::MAX_FRAME_DEFAULT;

const FRAMER: Framer = Framer { max: MAX_FRAME_DEFAULT, words: false };

fn framed(contents: &[&[u8]]) -> Vec<u8> {
    let frames = contents.iter().map(|c| [&(c.len() as u32).to_be_bytes()[..], c].concat());
    frames.collect::<Vec<_>>().concat()
}

fn drain(buffer: &mut BytesMut, frames: &mut Vec<Bytes>) {
    while let Some(frame) = FRAMER.next(buffer).unwrap() {
        match frame {
            Frame::Message(message) => frames.push(message),
            Frame::Word(word) => panic!("{word:?}"),
        }
    }
}

#[test]
fn every_split_gives_the_same_frames() {
    let contents: [&[u8]; 5] = [b"first", b"", b"a third one, longer", b"x", b""];
    let stream = framed(&contents);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
            for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                buffer.extend_from_slice(piece);
                drain(&mut buffer, &mut frames);
            }
            assert_eq!(frames, contents, "cut at {first} and {second}");
            assert!(buffer.is_empty());
        }
    }
}

#[test]
fn byte_by_byte_gives_the_same_frames() {
    let contents: [&[u8]; 3] = [&[7; 5000], b"", &[9; 300]];
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for byte in framed(&contents) {
        buffer.extend_from_slice(&[byte]);
        drain(&mut buffer, &mut frames);
    }
    assert_eq!(frames, contents);
}

#[test]
fn a_claimed_length_makes_no_room_before_its_bytes_come() {
    let mut buffer = BytesMut::from(&(MAX_FRAME_DEFAULT as u32).to_be_bytes()[..]);
    assert_eq!(FRAMER.next(&mut buffer), Ok(None));
    assert!(buffer.capacity() <= 8192, "{} bytes for four", buffer.capacity());
    let mut moves = 0;
    while buffer.len() < 4 + MAX_FRAME_DEFAULT {
        let missing = 4 + MAX_FRAME_DEFAULT - buffer.len();
        let before = buffer.capacity();
        buffer.extend_from_slice(&[1; 1000][..missing.min(1000)]);
        let came = buffer.len();
        if came < 4 + MAX_FRAME_DEFAULT {
            assert_eq!(FRAMER.next(&mut buffer), Ok(None));
            assert!(buffer.capacity() <= 4 * came + 8192, "{} for {came}", buffer.capacity());
        }
        moves += usize::from(buffer.capacity() != before);
    }
    assert!(moves <= 20, "{moves} moves of one frame");
    let frame = FRAMER.next(&mut buffer).unwrap();
    assert_eq!(frame, Some(Frame::Message(vec![1; MAX_FRAME_DEFAULT].into())));
}

#[test]
fn lengths_beyond_the_limits_are_refused_before_a_byte_of_them_comes() {
    for length in [-1, i32::MIN, i32::MAX, MAX_FRAME_DEFAULT as i32 + 1] {
        let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
        let error = FrameError { length, max: MAX_FRAME_DEFAULT };
        assert_eq!(FRAMER.next(&mut buffer), Err(error));
    }
}

#[test]
fn words_are_told_apart_only_before_the_handshake() {
    let first = Framer { words: true, ..FRAMER };
    let mut buffer = BytesMut::from("ru");
    assert_eq!(first.next(&mut buffer), Ok(None));
    buffer.extend_from_slice(b"ok\n");
    assert_eq!(first.next(&mut buffer), Ok(Some(Frame::Word(*b"ruok"))));
    assert_eq!(&buffer[..], b"\n");
    let mut buffer = BytesMut::from("ruok");
    assert!(FRAMER.next(&mut buffer).is_err());
    // Not a word: a length, and far too long.
    let mut buffer = BytesMut::from("RUOK");
    assert!(first.next(&mut buffer).is_err());
    let mut buffer = BytesMut::from(&framed(&[b"hello"])[..]);
    assert_eq!(first.next(&mut buffer), Ok(Some(Frame::Message("hello".into()))));
}
