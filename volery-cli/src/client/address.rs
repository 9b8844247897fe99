//! Connect strings: `host:port[,host:port][/chroot]`.
//! It resolves no name and opens no socket.
//! Called by the argument parser and by everything that connects.

use std::fmt;
use std::str::FromStr;

/// Port where a host names none.
const DEFAULT_PORT: u16 = 2181;

/// Where the service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Servers {
    /// Each as `host:port`; never empty.
    pub(crate) hosts: Vec<String>,
    /// Put in front of every path; empty: none.
    pub(crate) chroot: String,
}

impl FromStr for Servers {
    type Err = String;

    fn from_str(text: &str) -> Result<Servers, String> {
        let (hosts, chroot) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let chroot = chroot.trim_end_matches('/');
        if !chroot.is_empty() {
            volery_proto::path::validate(chroot).map_err(|why| format!("{chroot}: {why}"))?;
        }
        let hosts = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(with_port)
            .collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            return Err("no host given".into());
        }
        Ok(Servers { hosts, chroot: chroot.to_owned() })
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.hosts.join(","), self.chroot)
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; a bare v6 address is taken as a host.
fn with_port(host: &str) -> Result<String, String> {
    let port = match host.rsplit_once(':') {
        Some((name, _)) if name.contains(':') && !name.ends_with(']') => None,
        Some((_, port)) if !host.ends_with(']') => Some(port),
        _ => None,
    };
    match port {
        Some(port) => match port.parse::<u16>() {
            Ok(1..) => Ok(host.to_owned()),
            _ => Err(format!("{host}: not a port: {port}")),
        },
        None if host.contains(':') && !host.starts_with('[') => {
            Ok(format!("[{host}]:{DEFAULT_PORT}"))
        }
        None => Ok(format!("{host}:{DEFAULT_PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Servers {
        text.parse().expect(text)
    }

    #[test]
    fn lists_and_chroot() {
        let servers = parse("a:1,b,[::1]:3,::1/x/y");
        assert_eq!(servers.hosts, ["a:1", "b:2181", "[::1]:3", "[::1]:2181"]);
        assert_eq!(servers.chroot, "/x/y");
        assert_eq!(parse("a/").chroot, "");
        assert_eq!(parse("a:1,b/c").to_string(), "a:1,b:2181/c");
    }

    #[test]
    fn wrong_ones_are_refused() {
        for text in ["", ",", "a:0", "a:x", "a:99999", "/x", "a//b"] {
            assert!(text.parse::<Servers>().is_err(), "{text}");
        }
    }
}
