//! CPU time and memory of a process, from /proc.
//! It never touches the process.
//! Called by the load generator for itself and for the server.

use std::fs;
use std::ops::Add;
use std::time::Duration;

use anyhow::{Context, anyhow};

/// Clock ticks a second: fixed at 100 in what Linux shows to user space.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads so far, the finished ones included.
pub(super) fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let file = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    parse_cpu_time(&text).ok_or_else(|| anyhow!("{file} looks different here"))
}

fn parse_cpu_time(text: &str) -> Option<Duration> {
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th behind it.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * (ticks()? + ticks()?))
}

/// Resident memory in bytes.
pub(super) fn resident(process: u32) -> anyhow::Result<u64> {
    let file = format!("/proc/{process}/status");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.ok_or_else(|| anyhow!("{file} looks different here"))? * 1024)
}

/// A figure of several processes together; `None` where there is no process.
pub(super) fn sum<T: Default + Add<Output = T>>(
    processes: &[u32],
    figure: impl Fn(u32) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    if processes.is_empty() {
        return Ok(None);
    }
    let mut sum = T::default();
    for &process in processes {
        sum = sum + figure(process)?;
    }
    Ok(Some(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_hold_anything() {
        let text = "7 (a) b) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 5 6 20 0 1 0 9";
        assert_eq!(parse_cpu_time(text), Some(Duration::from_secs(2)));
        assert!(cpu_time(std::process::id()).is_ok());
        assert!(resident(std::process::id()).is_ok_and(|bytes| bytes > 0));
    }
}
