//! Reads the captured frames beside this file, for the codec's tests and as seeds of the fuzzers.
//! It judges nothing. Included by path: `volery-proto/tests` and `fuzz` need the same.

/// One frame.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Client and line, to find it again.
    pub place: String,
    /// Counts connections over all files.
    pub connection: usize,
    /// Sent by the client; otherwise by the server.
    pub is_request: bool,
    /// Of the request, on its reply too; 0 for a notification. `None`: the handshake.
    pub opcode: Option<i32>,
    /// `None`: the handshake.
    pub xid: Option<i32>,
    /// Without its length word.
    pub frame: Vec<u8>,
}

const FILES: [(&str, &str); 3] = [
    ("kazoo", include_str!("kazoo.txt")),
    ("java", include_str!("java.txt")),
    ("c", include_str!("c.txt")),
];

/// Every frame of every client, in the order in which they were seen.
#[must_use]
pub fn all() -> Vec<Vector> {
    let mut vectors = Vec::new();
    let mut connection = 0;
    for (client, text) in FILES {
        for (number, line) in text.lines().enumerate() {
            connection += usize::from(line.starts_with("# connection"));
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let place = format!("{client}.txt:{}", number + 1);
            let vector = parse(line, place.clone(), connection);
            vectors.push(vector.unwrap_or_else(|| panic!("{place}: not a vector: {line}")));
        }
    }
    vectors
}

fn parse(line: &str, place: String, connection: usize) -> Option<Vector> {
    let [direction, opcode, xid, hex] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let is_request = match direction {
        ">" => true,
        "<" => false,
        _ => return None,
    };
    let opcode = if opcode == "connect" { None } else { Some(opcode.parse().ok()?) };
    let xid = if xid == "-" { None } else { Some(xid.parse().ok()?) };
    let frame = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect::<Option<_>>()?;
    Some(Vector { place, connection, is_request, opcode, xid, frame })
}
