//! Reads one snapshot chunk by chunk, and checks every byte of it.
//! It never hands over a chunk that it has not checked, and allocates no more than the file holds.
//! Called by a starting replica, and by the transfer of a snapshot to a peer.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::SnapshotError;
use super::format::{
    self, CHUNK_BYTES_MAX, CHUNK_HEADER_BYTES, FOOTER_BYTES, FOOTER_MARK, Flaw, HEADER_BYTES,
    Totals,
};
use super::list::parse_name;
use crate::storage::disk::failed;

/// A snapshot being read.
#[derive(Debug)]
pub struct SnapshotReader {
    file: BufReader<File>,
    path: PathBuf,
    partition: u16,
    zxid: u64,
    offset: u64,
    file_bytes: u64,
    totals: Totals,
    done: bool,
}

impl SnapshotReader {
    /// Opens a snapshot and checks its header.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let file_bytes = file.metadata().map_err(failed("look at", path))?.len();
        let mut reader = Self {
            file: BufReader::with_capacity(256 << 10, file),
            path: path.to_path_buf(),
            partition: 0,
            zxid: 0,
            offset: 0,
            file_bytes,
            totals: Totals::default(),
            done: false,
        };
        if file_bytes < HEADER_BYTES as u64 {
            return Err(reader.damaged(0, Flaw::NotASnapshot));
        }
        let mut bytes = [0; HEADER_BYTES];
        reader.read(&mut bytes, 0)?;
        let header = format::decode_header(&bytes).map_err(|flaw| reader.damaged(0, flaw))?;
        let file = path.to_path_buf();
        if header.version > format::VERSION {
            return Err(SnapshotError::NewerFormat { file, found: header.version });
        }
        (reader.partition, reader.zxid) = (header.partition, header.zxid);
        let named = path.file_name().and_then(|name| name.to_str()).and_then(parse_name);
        if named.is_some_and(|named| named != (header.partition, header.zxid)) {
            let (partition, zxid) = (header.partition, header.zxid);
            return Err(SnapshotError::Misnamed { file, partition, zxid });
        }
        Ok(reader)
    }

    /// Checks a whole snapshot; returns the number of its chunks. For whoever must know before the
    /// first chunk is used.
    pub fn verify(path: &Path) -> Result<u64, SnapshotError> {
        let mut reader = Self::open(path)?;
        while reader.next_chunk()?.is_some() {}
        Ok(reader.totals.chunks)
    }

    /// The partition.
    pub fn partition(&self) -> u16 {
        self.partition
    }

    /// The zxid up to which everything is in it.
    pub fn zxid(&self) -> u64 {
        self.zxid
    }

    /// The next chunk; `None` behind the last one, when the footer has been checked too.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.done {
            return Ok(None);
        }
        let start = self.offset;
        let mut head = [0; CHUNK_HEADER_BYTES];
        self.read(&mut head, start)?;
        let (length, crc) = format::decode_chunk_header(&head);
        if length == FOOTER_MARK {
            self.check_footer(start, crc)?;
            self.done = true;
            return Ok(None);
        }
        if length as usize > CHUNK_BYTES_MAX {
            return Err(self.damaged(start, Flaw::Length(length)));
        }
        if u64::from(length) > self.file_bytes - self.offset {
            return Err(self.damaged(start, Flaw::Truncated));
        }
        let mut payload = vec![0; length as usize];
        self.read(&mut payload, start)?;
        if format::chunk_crc(self.totals.chunks, &payload) != crc {
            return Err(self.damaged(start, Flaw::Checksum));
        }
        self.totals.add(payload.len(), crc);
        Ok(Some(payload.into()))
    }

    fn check_footer(&mut self, start: u64, crc: u32) -> Result<(), SnapshotError> {
        let mut bytes = [0; FOOTER_BYTES - CHUNK_HEADER_BYTES];
        self.read(&mut bytes, start)?;
        let totals =
            format::decode_footer(crc, &bytes).map_err(|flaw| self.damaged(start, flaw))?;
        if totals != self.totals {
            return Err(self.damaged(start, Flaw::Counts));
        }
        if self.offset != self.file_bytes {
            return Err(self.damaged(self.offset, Flaw::Trailing));
        }
        Ok(())
    }

    /// Reads exactly so many bytes; `start` is the offset to blame if they are not there.
    fn read(&mut self, into: &mut [u8], start: u64) -> Result<(), SnapshotError> {
        match self.file.read_exact(into) {
            Ok(()) => {
                self.offset += into.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damaged(start, Flaw::Truncated))
            }
            Err(error) => Err(failed("read", &self.path)(error).into()),
        }
    }

    fn damaged(&self, offset: u64, flaw: Flaw) -> SnapshotError {
        SnapshotError::Damaged { file: self.path.clone(), offset, flaw }
    }
}
