//! The form of a frame on a link: length (4 bytes, big-endian, of all that follows), kind, body.
//! TCP and TLS have checksums of their own. It touches no socket. Called by links and inbound.

use bytes::{Buf, BytesMut};

use super::Frame;

/// Bytes before a frame's body.
pub(super) const HEAD: usize = 5;

/// The head of a frame whose body has so many bytes. The lane's limit keeps that in 32 bits.
pub(super) fn head(kind: u8, body: usize) -> [u8; HEAD] {
    let length = u32::try_from(body + 1).unwrap_or(u32::MAX).to_be_bytes();
    [length[0], length[1], length[2], length[3], kind]
}

/// What was cut.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) frames: Vec<Frame>,
    /// How many bytes the next frame lacks; 0 where not even its length is there.
    pub(super) lacking: usize,
}

/// Cuts all whole frames off the buffer, without copying them. A length is checked as soon as it
/// is there.
pub(super) fn cut(buffer: &mut BytesMut, max_frame: usize) -> Result<Cut, &'static str> {
    let mut cut = Cut::default();
    while let Some(length) = buffer.first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 {
            return Err("a frame without a kind");
        }
        if length - 1 > max_frame {
            return Err("a frame longer than its lane allows");
        }
        if buffer.len() < 4 + length {
            cut.lacking = 4 + length - buffer.len();
            break;
        }
        buffer.advance(4);
        let mut frame = buffer.split_to(length);
        let kind = frame.get_u8();
        cut.frames.push((kind, frame.freeze()));
    }
    Ok(cut)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_bytes_break() {
        let frames: Vec<Frame> =
            vec![(0, Bytes::new()), (255, Bytes::from_static(b"body")), (7, vec![1; 300].into())];
        let mut bytes = Vec::new();
        for (kind, body) in &frames {
            bytes.extend(head(*kind, body.len()));
            bytes.extend(body);
        }
        for step in [1, 2, 3, 7, 1000] {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                buffer.extend_from_slice(piece);
                found.extend(cut(&mut buffer, 300).expect("whole frames").frames);
            }
            assert_eq!((found.as_slice(), buffer.len()), (frames.as_slice(), 0), "step {step}");
        }
    }

    #[test]
    fn lengths_are_bounded_before_their_bytes_are_there() {
        let cut = |bytes: &[u8]| cut(&mut BytesMut::from(bytes), 10).map(|cut| cut.lacking);
        assert_eq!(cut(&[0, 0, 0]), Ok(0));
        assert_eq!(cut(&[0, 0, 0, 11, 1]), Ok(10));
        assert_eq!(cut(&[0, 0, 0, 12]), Err("a frame longer than its lane allows"));
        assert_eq!(cut(&[255; 4]), Err("a frame longer than its lane allows"));
        assert_eq!(cut(&[0; 4]), Err("a frame without a kind"));
    }
}
