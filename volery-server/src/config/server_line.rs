//! Reads the value of a `server.N` line, in ZooKeeper's syntax. Never resolves a name, and knows no
//! other line. Called by the configuration's reader.

/// One server line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerLine {
    /// Name or address, without brackets.
    pub(crate) host: String,
    /// ZooKeeper's quorum port.
    pub(crate) peer_port: u16,
    /// ZooKeeper's election port.
    pub(crate) election_port: u16,
    /// The role is `observer`.
    pub(crate) is_observer: bool,
    /// Addresses beside the first, which are passed over.
    pub(crate) more_addresses: usize,
    /// What stands after the semicolon.
    pub(crate) client: Option<ClientPart>,
}

/// The client part of a server line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientPart {
    /// The address, if one is given.
    pub(crate) address: Option<String>,
    /// The port.
    pub(crate) port: u16,
}

/// `host:port:port[:role][;[address:]clientPort]`; `|` separates addresses of one server.
pub(crate) fn parse(value: &str) -> Result<ServerLine, &'static str> {
    let mut parts = value.split(';');
    let mut addresses = parts.next().unwrap_or_default().split('|');
    let mut line = address(addresses.next().unwrap_or_default())?;
    for other in addresses {
        // The role stands behind the last address.
        line.is_observer |= address(other)?.is_observer;
        line.more_addresses += 1;
    }
    let client = parts.next().map(str::trim).filter(|client| !client.is_empty());
    // A third part (3.10) is the secure client port, which has no effect yet.
    line.client = client.map(client_part).transpose()?;
    Ok(line)
}

fn address(text: &str) -> Result<ServerLine, &'static str> {
    let (host, rest) = split_host(text.trim())?;
    let mut fields = rest.split(':');
    let mut port = || {
        let port = fields.next().and_then(|port| port.trim().parse::<u16>().ok());
        port.filter(|port| *port > 0)
            .ok_or("host:port:port is expected, then :role and ;clientPort if wanted")
    };
    let (peer_port, election_port) = (port()?, port()?);
    let is_observer = match fields.next().map(|role| role.trim().to_ascii_lowercase()).as_deref() {
        None | Some("participant") => false,
        Some("observer") => true,
        Some(_) => return Err("the role is participant or observer"),
    };
    let host = host.to_owned();
    let (more_addresses, client) = (0, None);
    Ok(ServerLine { host, peer_port, election_port, is_observer, more_addresses, client })
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
    fn lines_are_read_as_zookeeper_writes_them() {
        type Client<'a> = Option<(Option<&'a str>, u16)>;
        let line = |host: &str, ports, is_observer, more_addresses, client: Client<'_>| {
            let part = |(address, port): (Option<&str>, u16)| {
                let address = address.map(str::to_owned);
                ClientPart { address, port }
            };
            let client = client.map(part);
            let (host, (peer_port, election_port)) = (host.to_owned(), ports);
            Ok(ServerLine { host, peer_port, election_port, is_observer, more_addresses, client })
        };
        let ports = (2888, 3888);
        let table = [
            ("localhost:2888:3888", line("localhost", ports, false, 0, None)),
            ("a:2888:3888;2181", line("a", ports, false, 0, Some((None, 2181)))),
            ("a:2888:3888:participant;2181", line("a", ports, false, 0, Some((None, 2181)))),
            (
                "[::1]:2888:3888:OBSERVER;[fe80::1]:2182",
                line("::1", ports, true, 0, Some((Some("fe80::1"), 2182))),
            ),
            (
                "a:1:2|b:3:4:observer;0.0.0.0:2181;2281",
                line("a", (1, 2), true, 1, Some((Some("0.0.0.0"), 2181))),
            ),
            ("a:1:2;;2281", line("a", (1, 2), false, 0, None)),
            ("a", Err("host:port:port is expected, an IPv6 host in brackets")),
            ("a:1", Err("host:port:port is expected, then :role and ;clientPort if wanted")),
            ("a:0:1", Err("host:port:port is expected, then :role and ;clientPort if wanted")),
            ("a:1:2:king", Err("the role is participant or observer")),
            ("a:1:2|b", Err("host:port:port is expected, an IPv6 host in brackets")),
            ("a:1:2;x", Err("the client part after ; is a port, or address:port")),
        ];
        for (value, expected) in table {
            assert_eq!(parse(value), expected, "{value}");
        }
    }
}
