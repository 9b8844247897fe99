//! Requests encoded once and patched in place: the load generator's own CPU stays small.
//! It knows nothing of connections or time.
//! Called by `plan` and `fill`.

use volery_proto::jute::{Jute, Writer};
use volery_proto::zk::{Request, RequestHeader};

/// Digits of a number in a path; the placeholder that a template is built with has as many.
pub(super) const DIGITS: usize = 8;
/// What stands for the first number of a request. `:` is no digit, so nothing else looks like it.
pub(super) const FIRST: &str = "::::::::";
/// What stands for the second number.
pub(super) const SECOND: &str = ";;;;;;;;";
/// Where the xid is in a frame.
const XID_AT: usize = 4;

/// One request as a frame, with places for its xid and for numbers in its paths.
#[derive(Clone, Debug)]
pub(super) struct Template {
    frame: Vec<u8>,
    first_at: Vec<usize>,
    second_at: Vec<usize>,
}

impl Template {
    /// Encodes a request whose paths hold [`FIRST`] and [`SECOND`].
    pub(super) fn new(request: &Request) -> Template {
        let mut w = Writer::new();
        w.frame(|w| {
            RequestHeader { xid: 0, opcode: request.opcode() as i32 }.write(w);
            request.write_body(w);
        });
        let frame = w.finish().to_vec();
        let places = |mark: &str| {
            let hits = frame.windows(DIGITS).enumerate();
            hits.filter(|(_, window)| *window == mark.as_bytes()).map(|(at, _)| at).collect()
        };
        Template { first_at: places(FIRST), second_at: places(SECOND), frame }
    }

    /// Appends the request.
    pub(super) fn append(&self, out: &mut Vec<u8>, xid: i32, first: u32, second: u32) {
        let at = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[at..];
        frame[XID_AT..XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        for &place in &self.first_at {
            write_digits(&mut frame[place..place + DIGITS], first);
        }
        for &place in &self.second_at {
            write_digits(&mut frame[place..place + DIGITS], second);
        }
    }
}

fn write_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use volery_proto::jute::Reader;
    use volery_proto::zk::DeleteRequest;

    #[test]
    fn a_patched_template_is_the_request() {
        let request =
            |path: String| Request::Delete(DeleteRequest { path: path.into(), version: -1 });
        let template = Template::new(&request(format!("/bench-3/n-{FIRST}-{SECOND}")));
        let mut out = b"before".to_vec();
        template.append(&mut out, 77, 1_234, 99_999_999);
        let mut r = Reader::new(out[6 + 4..].to_vec().into());
        assert_eq!(RequestHeader::read(&mut r).expect("header").xid, 77);
        let sent = Request::decode(2, r.rest()).expect("body").expect("known");
        assert_eq!(sent, request("/bench-3/n-00001234-99999999".into()));
        assert_eq!(out[6..10], (out.len() as u32 - 10).to_be_bytes());
    }
}
