//! Reads the value of a `server.N` line as far as one server needs it: the client part. Never
//! resolves a name. Called by the configuration's reader.

/// The client part of a server line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientPart {
    /// The address, if one is given.
    pub(crate) address: Option<String>,
    /// The port.
    pub(crate) port: u16,
}

/// `host:port:port[:role][;[address:]clientPort]`; `|` separates addresses of one server.
pub(crate) fn parse(value: &str) -> Result<Option<ClientPart>, &'static str> {
    let mut parts = value.split(';');
    for address in parts.next().unwrap_or_default().split('|') {
        check_address(address)?;
    }
    let client = parts.next().map(str::trim).filter(|client| !client.is_empty());
    // A third part (3.10) is the secure client port, which has no effect yet.
    client.map(client_part).transpose()
}

fn check_address(address: &str) -> Result<(), &'static str> {
    let (_, rest) = split_host(address.trim())?;
    let mut fields = rest.split(':');
    for _ in 0..2 {
        let port = fields.next().and_then(|port| port.trim().parse::<u16>().ok());
        port.ok_or("host:port:port is expected, then :role and ;clientPort if wanted")?;
    }
    match fields.next().map(str::to_ascii_lowercase).as_deref() {
        None | Some("participant" | "observer") => Ok(()),
        Some(_) => Err("the role is participant or observer"),
    }
}

fn client_part(client: &str) -> Result<ClientPart, &'static str> {
    const PORT: &str = "the client part after ; is a port, or address:port";
    let (address, port) = match client.contains(':') {
        true => split_host(client).map(|(host, port)| (Some(host.to_owned()), port))?,
        false => (None, client),
    };
    let port = port.trim().parse().map_err(|_| PORT)?;
    Ok(ClientPart { address, port })
}

/// Splits `host:rest` or `[v6]:rest`.
fn split_host(text: &str) -> Result<(&str, &str), &'static str> {
    let split = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once("]:"),
        None => text.split_once(':'),
    };
    match split {
        Some((host, rest)) if !host.is_empty() => Ok((host, rest)),
        _ => Err("host:port:port is expected, an IPv6 host in brackets"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_parts_are_found() {
        let part = |address: Option<&str>, port| {
            Ok(Some(ClientPart { address: address.map(str::to_owned), port }))
        };
        let table = [
            ("localhost:2888:3888", Ok(None)),
            ("localhost:2888:3888;2181", part(None, 2181)),
            ("localhost:2888:3888:participant;2181", part(None, 2181)),
            ("[::1]:2888:3888:OBSERVER;[fe80::1]:2182", part(Some("fe80::1"), 2182)),
            ("a:1:2|b:3:4;0.0.0.0:2181;2281", part(Some("0.0.0.0"), 2181)),
            ("a:1:2;;2281", Ok(None)),
            ("a", Err("host:port:port is expected, an IPv6 host in brackets")),
            ("a:1", Err("host:port:port is expected, then :role and ;clientPort if wanted")),
            ("a:1:2:king", Err("the role is participant or observer")),
            ("a:1:2;x", Err("the client part after ; is a port, or address:port")),
        ];
        for (value, expected) in table {
            assert_eq!(parse(value), expected, "{value}");
        }
    }
}
