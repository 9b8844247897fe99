//! The file of single answers: what happened when, for whoever looks at an outage.
//! It computes nothing.
//! Called by `bench::run`, after the load.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::stats::Sample;

/// Writes a line for each answer: when it came in Unix microseconds, its latency in microseconds,
/// the session's number, the server's in `--server` (both from 0), and the reply's code.
pub(super) fn write(path: &Path, samples: &[Sample]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let (now, unix) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH));
    let unix = unix.map_err(io::Error::other)?;
    writeln!(file, "unix_us,latency_us,session,server,code")?;
    for sample in samples {
        let at = unix.saturating_sub(now - sample.at).as_micros();
        let latency = sample.latency.as_micros();
        writeln!(file, "{at},{latency},{},{},{}", sample.session, sample.host, sample.code)?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_for_each_answer() {
        let path = std::env::temp_dir().join(format!("volery-samples-{}", std::process::id()));
        let latency = Duration::from_micros(250);
        let at = Instant::now();
        let sample = Sample { at, latency, session: 3, host: 1, code: -101 };
        write(&path, &[sample, Sample { session: 4, ..sample }]).expect("a writable directory");
        let text = std::fs::read_to_string(&path).expect("written");
        std::fs::remove_file(&path).expect("there");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with(",250,3,1,-101") && lines[2].ends_with(",250,4,1,-101"));
    }
}
