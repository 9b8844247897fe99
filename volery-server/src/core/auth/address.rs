//! The ip scheme: addresses with an optional prefix length, v4 and v6.
//! Resolves no names and opens nothing: it compares text that the front end or a client gave.
//! Called by the checks of `auth` only.

use core::net::Ipv6Addr;

/// An address as bytes: 4 or 16 of them.
fn parse(text: &str) -> Option<Vec<u8>> {
    if text.contains(':') {
        // A scope (`fe80::1%eth0`) names an interface of one machine, not the peer.
        let address = text.split('%').next()?.parse::<Ipv6Addr>().ok()?;
        return Some(match address.to_ipv4_mapped() {
            Some(v4) => v4.octets().to_vec(),
            None => address.octets().to_vec(),
        });
    }
    // Not `Ipv4Addr::from_str`: Java accepts leading zeros, and reads them as decimal.
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 4 {
        return None;
    }
    parts.into_iter().map(parse_octet).collect()
}

fn parse_octet(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse::<u8>().ok() } else { None }
}

/// An entry's id: the address and how many of its bits count.
fn parse_prefix(text: &str) -> Option<(Vec<u8>, usize)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (parse(address)?, Some(bits.parse::<usize>().ok()?)),
        None => (parse(text)?, None),
    };
    let all = address.len() * 8;
    let bits = bits.unwrap_or(all);
    (bits <= all).then_some((address, bits))
}

/// Whether the id may stand in an ACL.
pub(super) fn is_valid(id: &str) -> bool {
    parse_prefix(id).is_some()
}

/// Whether the connection's address lies within the entry's prefix.
pub(super) fn matches(remote: &str, wanted: &str) -> bool {
    let Some((wanted, bits)) = parse_prefix(wanted) else { return false };
    let Some(remote) = parse(remote).filter(|r| r.len() == wanted.len()) else { return false };
    let (whole, rest) = (bits / 8, bits % 8);
    if remote[..whole] != wanted[..whole] {
        return false;
    }
    rest == 0 || (remote[whole] ^ wanted[whole]) >> (8 - rest) == 0
}
