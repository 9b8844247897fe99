//! Strings as Java writes and reads them, paths as ZooKeeper checks them, and sequence numbers.

#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use bytestring::ByteString;
use proptest::prelude::*;
use volery_proto::jute::{DecodeError, Jute, Reader, Writer};
use volery_proto::path;

fn read(bytes: &[u8]) -> String {
    let mut w = Writer::new();
    w.buffer(Some(bytes));
    Reader::new(w.finish()).ustring().unwrap().unwrap().to_string()
}

/// As Java's writer: every UTF-16 unit on its own.
fn cesu8(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for unit in text.encode_utf16() {
        match unit {
            0..0x80 => bytes.push(unit as u8),
            0x80..0x800 => bytes.extend([0xc0 | (unit >> 6) as u8, 0x80 | (unit & 0x3f) as u8]),
            _ => bytes.extend([
                0xe0 | (unit >> 12) as u8,
                0x80 | ((unit >> 6) & 0x3f) as u8,
                0x80 | (unit & 0x3f) as u8,
            ]),
        }
    }
    bytes
}

#[test]
fn surrogates_written_one_by_one_are_joined() {
    assert_eq!(cesu8("😀").len(), 6);
    for text in ["😀", "a😀b", "😀😀", "é\u{ffff}😀퟿", "\u{10ffff}", "\u{10000}"] {
        assert_eq!(read(&cesu8(text)), text);
        assert_eq!(read(text.as_bytes()), text);
    }
}

#[test]
fn what_is_not_utf8_becomes_the_replacement_character() {
    for (bytes, text) in [
        (&b"a\xffb"[..], "a\u{fffd}b"),
        (b"\xed\xa0\x80", "\u{fffd}"),
        (b"\xed\xb0\x80x", "\u{fffd}x"),
        (b"\xed\xb8\x80\xed\xa0\xbd", "\u{fffd}\u{fffd}"),
        (b"\xed", "\u{fffd}"),
        (b"\xed\xa0", "\u{fffd}\u{fffd}"),
        (b"\xe2\x82", "\u{fffd}"),
        (b"\xe2\x82\xed\x9f\xbf", "\u{fffd}\u{d7ff}"),
        (b"\xed\xa0\x80\xe2\x82\xac", "\u{fffd}€"),
    ] {
        assert_eq!(read(bytes), text, "{bytes:x?}");
    }
}

#[test]
fn null_and_empty_are_two_things() {
    let read = |bytes: &'static [u8]| Reader::new(bytes.into()).ustring();
    assert_eq!(read(&[0xff; 4]), Ok(None));
    assert_eq!(read(&[0; 4]), Ok(Some(ByteString::new())));
    assert_eq!(read(&[0xff, 0xff, 0xff, 0xfe]), Err(DecodeError::Length(-2)));
    assert_eq!(read(&[0x7f, 0xff, 0xff, 0xff]), Err(DecodeError::Short { missing: 0x7fff_ffff }));
    assert_eq!(read(&[0, 0, 0]), Err(DecodeError::Short { missing: 1 }));
    let names = |bytes: &'static [u8]| Vec::<ByteString>::read(&mut Reader::new(bytes.into()));
    assert_eq!(names(&[0xff; 4]), Ok(Vec::new()));
    assert_eq!(names(&[0xff, 0xff, 0xff, 0xfe]), Err(DecodeError::Length(-2)));
    assert_eq!(names(&[0x7f, 0xff, 0xff, 0xff]), Err(DecodeError::Length(i32::MAX)));
    assert_eq!(names(&[0, 0, 0, 2, 0, 0, 0, 0]), Err(DecodeError::Short { missing: 4 }));
}

proptest! {
    #[test]
    fn any_text_is_read_in_both_forms(text in any::<String>()) {
        prop_assert_eq!(&read(&cesu8(&text)), &text);
        prop_assert_eq!(&read(text.as_bytes()), &text);
    }

    #[test]
    fn any_bytes_are_a_text_and_valid_ones_are_themselves(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let text = read(&bytes);
        if let Ok(valid) = std::str::from_utf8(&bytes) {
            prop_assert_eq!(&text, valid);
        }
        prop_assert!(text.len() <= 3 * bytes.len());
        prop_assert_eq!(read(text.as_bytes()), text);
    }

    #[test]
    fn a_path_splits_and_joins(parent in "(/[a-z.]{1,3}){0,3}", name in "[a-z.]{1,3}") {
        let parent = if parent.is_empty() { "/" } else { &parent };
        let whole = path::join(parent, &name);
        prop_assert_eq!(path::split(&whole), Some((parent, name.as_str())));
        prop_assert_eq!(path::parent_of(&whole.into()), Some(parent.into()));
    }
}

/// ZOOKEEPER.md 2.2.
#[test]
fn paths_are_checked_as_zookeeper_does() {
    let good = [
        "/",
        "/a",
        "/a/b",
        "/a.b",
        "/...",
        "/.a",
        "/a..",
        "/ ",
        "/a b",
        "/é",
        "/a/-/b",
        "/~",
        "/\u{a0}",
        "/\u{d7ff}",
        "/\u{f900}",
        "/\u{ffef}",
        "/zookeeper/quota",
    ];
    for path in good {
        assert_eq!(path::validate(path), Ok(()), "{path:?}");
    }
    let bad = [
        "", "a", "a/b", "//", "/a/", "/a//b", "//a", "/.", "/..", "/./a", "/../a", "/a/.", "/a/..",
        "/a/./b", "/a/../b",
    ];
    for path in bad {
        assert!(path::validate(path).is_err(), "{path:?}");
    }
    // The borders of what may not occur, and characters that Java sees as two surrogates.
    for bad in [
        0, 1, 0x1f, 0x7f, 0x80, 0x9f, 0xe000, 0xf8ff, 0xfff0, 0xfffd, 0xffff, 0x1_0000, 0x1_f600,
        0x10_ffff,
    ] {
        let path = format!("/a{}b", char::from_u32(bad).unwrap());
        assert!(path::validate(&path).is_err(), "U+{bad:04X}");
    }
}

#[test]
fn splitting_needs_a_slash_and_nothing_else() {
    for (path, parts) in [
        ("/", Some(("/", ""))),
        ("/a", Some(("/", "a"))),
        ("/a/b", Some(("/a", "b"))),
        ("/a/", Some(("/a", ""))),
        ("//", Some(("/", ""))),
        ("a/b", Some(("a", "b"))),
        ("a", None),
        ("", None),
    ] {
        assert_eq!(path::split(path), parts, "{path:?}");
        let parent = path::parent_of(&path.into());
        assert_eq!(parent.as_deref(), parts.map(|(parent, _)| parent), "{path:?}");
    }
}

/// Java's `%010d`: the sign counts within the width.
#[test]
fn sequence_numbers_are_ten_wide_with_their_sign() {
    for (number, suffix) in [
        (0, "0000000000"),
        (1, "0000000001"),
        (999_999_999, "0999999999"),
        (i32::MAX, "2147483647"),
        (i32::MIN, "-2147483648"),
        (-1, "-000000001"),
        (-999_999_999, "-999999999"),
        (-1_000_000_000, "-1000000000"),
    ] {
        assert_eq!(path::sequence_suffix(number), suffix);
    }
}
