//! The log's tests, and the few helpers they share. They never sleep: a test that must hold the
//! writer up blocks in its durable callback.

#![allow(clippy::unwrap_used, reason = "a failed setup is a failed test")]

mod append;
mod arbitrary;
mod damage;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;

use super::*;

/// The identity of the logs under test.
const IDENTITY: u64 = 0x0A11_CE00_0B0B;

fn small() -> WalOptions {
    WalOptions { segment_bytes: 4096, ..WalOptions::new(IDENTITY) }
}

/// A log open for appending, with what it reported.
struct Log {
    wal: WalHandle,
    recovered: Recovered,
    replayed: Vec<Record>,
    durable: Receiver<(u64, u64)>,
    token: u64,
}

impl Log {
    fn open(dir: &Path) -> Result<Self, WalError> {
        Self::open_with(dir, small())
    }

    fn open_with(dir: &Path, options: WalOptions) -> Result<Self, WalError> {
        let mut replayed = Vec::new();
        let (report, durable) = channel();
        let (wal, recovered) = Wal::open(
            dir,
            options,
            |record| {
                replayed.push(record);
                Ok(())
            },
            Box::new(move |token, lsn| {
                let _ = report.send((token, lsn));
            }),
        )?;
        Ok(Self { wal, recovered, replayed, durable, token: 0 })
    }

    /// Appends one write and waits until it is durable; returns the lsn behind it.
    fn write(&mut self, payloads: &[&[u8]]) -> u64 {
        self.token += 1;
        let batch = payloads.iter().map(|payload| Bytes::copy_from_slice(payload)).collect();
        self.wal.append(batch, self.token).unwrap();
        let (token, lsn) = self.durable.recv().unwrap();
        assert_eq!(token, self.token);
        lsn
    }

    fn payloads(&self) -> Vec<&[u8]> {
        self.replayed.iter().map(|record| record.payload.as_ref()).collect()
    }
}

/// The segments on disk, oldest first, unused ones included.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| segment::parse_name(path.file_name().unwrap().to_str().unwrap()).is_some())
        .collect();
    paths.sort();
    paths
}

fn flip(path: &Path, offset: usize) {
    let mut data = fs::read(path).unwrap();
    data[offset] ^= 0x10;
    fs::write(path, data).unwrap();
}

/// Writes the records given, each in a write of its own, and closes the log.
fn write_log(dir: &Path, payloads: &[&[u8]]) {
    let mut log = Log::open(dir).unwrap();
    for payload in payloads {
        log.write(&[payload]);
    }
}
