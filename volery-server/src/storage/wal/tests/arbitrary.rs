//! Properties: whatever was written comes back, and no bytes whatever make the scan fail badly.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::storage::wal::recover::scan_bytes;

/// Writes as the writer would: the first record of each write carries the flag.
fn encode_segment(writes: &[Vec<Vec<u8>>]) -> (Vec<u8>, Vec<usize>) {
    let mut data = format::encode_header(IDENTITY, 0).to_vec();
    let mut ends = vec![data.len()];
    for write in writes {
        for (index, payload) in write.iter().enumerate() {
            let flags = if index == 0 { format::FLAG_AFTER_SYNC } else { 0 };
            let lsn = data.len() as u64;
            format::encode_record(&mut data, lsn, flags, payload);
        }
        ends.push(data.len());
    }
    data.resize(data.len().next_multiple_of(4096), 0);
    (data, ends)
}

fn writes() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    vec(vec(vec(1_u8.., 0..700), 1..4), 1..6)
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_scanned_without_a_panic(bytes in vec(any::<u8>(), 0..2048)) {
        let _ = scan_bytes(&bytes);
        let mut segment = format::encode_header(IDENTITY, 4096).to_vec();
        segment.extend_from_slice(&bytes);
        let report = scan_bytes(&segment).unwrap();
        prop_assert!(report.payload_bytes <= bytes.len() as u64);
    }

    #[test]
    fn a_segment_with_changed_bytes_is_scanned_without_a_panic(
        writes in writes(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
    ) {
        let (mut data, _) = encode_segment(&writes);
        for (index, byte) in changes {
            let at = index.index(data.len());
            data[at] = byte;
        }
        let _ = scan_bytes(&data);
    }

    /// Any subset of the last write's sectors reaches the disk: the writes before it are all there,
    /// and it is never taken for damage, nor for a loss of what was synced.
    #[test]
    fn a_power_loss_in_the_last_write_costs_at_most_that_write(
        writes in writes(),
        arrived in any::<u64>(),
    ) {
        let (whole, ends) = encode_segment(&writes);
        let start = ends[ends.len() - 2];
        let mut data = whole.clone();
        for (number, sector) in data.chunks_mut(512).enumerate() {
            let from = start.saturating_sub(number * 512).min(512);
            if arrived >> (number % 64) & 1 == 0 {
                sector[from..].fill(0);
            }
        }
        let synced: usize = writes[..writes.len() - 1].iter().map(Vec::len).sum();
        let report = scan_bytes(&data).unwrap();
        prop_assert!(report.records as usize >= synced);
        match report.end {
            SegmentEnd::Open { .. } => {}
            SegmentEnd::Torn { synced_record_may_be_lost, .. } => {
                prop_assert!(!synced_record_may_be_lost);
            }
            end => prop_assert!(false, "{end:?}"),
        }
    }

    /// One wrong byte in anything but the last write is damage, and is found where it is.
    #[test]
    fn a_wrong_byte_before_the_last_write_is_damage(
        writes in writes(),
        place in any::<prop::sample::Index>(),
        wrong in 1_u8..,
    ) {
        let (mut data, ends) = encode_segment(&writes);
        let before_last = ends[ends.len() - 2];
        prop_assume!(before_last > HEADER_BYTES);
        let offset = HEADER_BYTES + place.index(before_last - HEADER_BYTES);
        let good = scan_bytes(&data).unwrap();
        data[offset] ^= wrong;
        let report = scan_bytes(&data).unwrap();
        match report.end {
            SegmentEnd::Damaged { at, later, .. } => prop_assert!(at <= offset && offset < later),
            // Padding is covered by nothing, and means nothing.
            _ => prop_assert_eq!(report, good),
        }
    }
}
