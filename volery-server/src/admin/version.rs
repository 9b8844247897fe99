//! What the server says it is. Computes nothing at run time. Called by the four-letter words and
//! the command line.

/// ZooKeeper's version whose behaviour is offered; clients choose by it what they dare to send.
pub const ZOOKEEPER_VERSION: &str = "3.9.4";

/// `3.9.4-volery-0.1.0, built on MM/DD/YYYY HH:MM UTC`.
pub const FULL_VERSION: &str =
    concat!("3.9.4-volery-", env!("CARGO_PKG_VERSION"), ", built on ", env!("VOLERY_BUILT"));

#[cfg(test)]
mod tests {
    use super::*;

    /// The shapes that kazoo (digits before the first `-`) and go-zk (old style of date) expect.
    #[test]
    fn clients_can_parse_the_version() {
        let (version, built) = FULL_VERSION.split_once(", built on ").unwrap_or_default();
        assert_eq!(version.split('-').next(), Some(ZOOKEEPER_VERSION));
        assert!(version.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)));
        let shape: String =
            built.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "00/00/0000 00:00 UTC");
    }
}
