//! What waits for a link's socket, bounded in bytes; and the pieces that are written at once. It
//! touches no socket. Filled by [`super::PeerHandle`], emptied by `link`.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Frame, Lane, wire};

/// Bytes that are taken out at once: they no longer count as waiting.
const BATCH_BYTES: usize = 1 << 20;
/// Bodies below this are copied together: a system call costs more than the copy.
const COPY_BELOW: usize = 4 << 10;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Queued,
    /// There is no link.
    Down,
    /// There is no room.
    Full,
    /// It is longer than the lane allows.
    TooLong,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    is_open: bool,
}

/// What waits for one link.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    overflowed: Notify,
    lane: Lane,
    max_frame: usize,
    max_bytes: usize,
}

impl Outbox {
    pub(super) fn new(lane: Lane, limits: &super::LaneLimits) -> Outbox {
        Outbox {
            state: Mutex::default(),
            filled: Notify::new(),
            overflowed: Notify::new(),
            lane,
            // A length has 32 bits.
            max_frame: limits.max_frame.min(u32::MAX as usize - 1),
            max_bytes: limits.send_bytes,
        }
    }

    /// Adds a frame, if there is a link and room. The control lane is closed where there is none.
    pub(super) fn push(&self, kind: u8, body: Bytes) -> Pushed {
        if body.len() > self.max_frame {
            return Pushed::TooLong;
        }
        let mut state = self.state.lock();
        if !state.is_open {
            return Pushed::Down;
        }
        let bytes = state.bytes + wire::HEAD + body.len();
        if bytes > self.max_bytes && !state.frames.is_empty() {
            if self.lane == Lane::Control {
                state.is_open = false;
                drop(state);
                self.overflowed.notify_one();
            }
            return Pushed::Full;
        }
        state.bytes = bytes;
        state.frames.push_back((kind, body));
        drop(state);
        self.filled.notify_one();
        Pushed::Queued
    }

    /// The link is there.
    pub(super) fn open(&self) {
        self.state.lock().is_open = true;
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().is_open
    }

    /// The link is gone, and what waited with it: so many frames.
    pub(super) fn close(&self) -> usize {
        std::mem::take(&mut *self.state.lock()).frames.len()
    }

    /// Waits until a frame did not fit the control lane.
    pub(super) async fn overflow(&self) {
        loop {
            self.overflowed.notified().await;
            // One left over from an earlier link does not count.
            if !self.is_open() {
                return;
            }
        }
    }

    /// Waits for frames, and takes as many as are written at once.
    pub(super) async fn take(&self, batch: &mut Batch) {
        loop {
            let is_filled = {
                let mut state = self.state.lock();
                while batch.bytes < BATCH_BYTES
                    && let Some((kind, body)) = state.frames.pop_front()
                {
                    state.bytes -= wire::HEAD + body.len();
                    batch.add(kind, body);
                }
                batch.seal();
                batch.bytes > 0
            };
            if is_filled {
                return;
            }
            self.filled.notified().await;
        }
    }
}

/// Pieces that are written at once: small frames copied together, large bodies as they are.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pieces: VecDeque<Bytes>,
    small: BytesMut,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, kind: u8, body: Bytes) {
        self.bytes += wire::HEAD + body.len();
        self.small.extend_from_slice(&wire::head(kind, body.len()));
        if body.len() < COPY_BELOW {
            self.small.extend_from_slice(&body);
        } else {
            self.seal();
            self.pieces.push_back(body);
        }
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push_back(self.small.split().freeze());
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pairs = slices.iter_mut().zip(&self.pieces);
        pairs.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        while let Some(piece) = self.pieces.front_mut() {
            if written < piece.len() {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::peer_port::LaneLimits;

    fn outbox(lane: Lane) -> Outbox {
        let patience = Duration::from_secs(1);
        Outbox::new(
            lane,
            &LaneLimits { max_frame: 100, send_bytes: 100, receive_bytes: 1, patience },
        )
    }

    #[test]
    fn what_waits_is_bounded() {
        let (ring, body) = (outbox(Lane::Ring), || Bytes::from(vec![0; 45]));
        assert_eq!(ring.push(1, body()), Pushed::Down);
        ring.open();
        assert_eq!(ring.push(1, vec![0; 101].into()), Pushed::TooLong);
        assert_eq!((ring.push(1, body()), ring.push(1, body())), (Pushed::Queued, Pushed::Queued));
        assert_eq!((ring.push(1, Bytes::new()), ring.is_open()), (Pushed::Full, true));
        assert_eq!((ring.close(), ring.is_open()), (2, false));
        // A frame above the bound goes alone.
        ring.open();
        assert_eq!(ring.push(1, vec![0; 100].into()), Pushed::Queued);
        assert_eq!(ring.push(1, Bytes::new()), Pushed::Full);
    }

    #[tokio::test]
    async fn a_full_control_lane_is_closed() {
        let control = outbox(Lane::Control);
        control.open();
        assert_eq!(control.push(1, vec![0; 100].into()), Pushed::Queued);
        assert_eq!(control.push(1, Bytes::new()), Pushed::Full);
        assert_eq!(control.push(1, Bytes::new()), Pushed::Down);
        control.overflow().await;
    }

    #[tokio::test]
    async fn batches_are_the_frames_in_order() {
        let ring = Outbox::new(Lane::Ring, &super::super::PeerLimits::default().lanes[1]);
        ring.open();
        let sizes = [0, 5, COPY_BELOW - 1, COPY_BELOW, 3, 2 * BATCH_BYTES, 1];
        let mut expected = Vec::new();
        for (kind, size) in (0..).zip(sizes) {
            let body = Bytes::from(vec![kind + 100; size]);
            expected.extend(wire::head(kind, size));
            expected.extend(&body);
            assert_eq!(ring.push(kind, body), Pushed::Queued);
        }
        let (mut batch, mut found, mut batches) = (Batch::default(), Vec::<u8>::new(), 0);
        while found.len() < expected.len() {
            ring.take(&mut batch).await;
            batches += 1;
            while batch.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 2];
                let filled = batch.chunks_vectored(&mut slices);
                // Partial writes: odd pieces, across slices too.
                let all: Vec<u8> =
                    slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
                let step = all.len().min(70_001);
                found.extend(&all[..step]);
                batch.advance(step);
            }
        }
        assert_eq!(batches, 2);
        assert!(found == expected);
    }
}
