//! Turns server lines and Volery's keys beside them into a [`Cluster`]: who is in it, where the
//! partitions live, who votes. Refuses what cannot work, with the place of it. Touches no file.
//! Called by `read`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use volery_proto::ids::{PartitionId, ServerId};
use xxhash_rust::xxh3::xxh3_64;

use super::cluster::{Cluster, ClusterId, GLOBAL_ACCEPTORS_MAX, Member};
use super::{ConfigError, PeerTls};
use crate::config::server_line::{self, ServerLine};
use crate::config::values::{Setting, Values, items};

/// The server lines, with where they stand.
pub(super) type Lines = BTreeMap<ServerId, (Setting, ServerLine)>;

/// Reads all server lines.
pub(super) fn server_lines(values: &mut Values) -> Result<Lines, ConfigError> {
    let settings: Vec<Setting> = values.numbered("server.").cloned().collect();
    let mut lines = Lines::new();
    for setting in settings {
        let number = setting.key.rsplit('.').next().unwrap_or_default();
        let number = number.parse().ok().filter(|id| (1..=254).contains(id));
        let id = ServerId(number.ok_or_else(|| setting.refuse("N of server.N is from 1 to 254"))?);
        let line = server_line::parse(&setting.value).map_err(|problem| setting.refuse(problem))?;
        if line.more_addresses > 0 {
            let (first, port) = (&line.host, line.peer_port);
            let warning = format!("{} has several addresses, {first}:{port} is used", setting.key);
            values.warn(&setting.place, warning);
        }
        if let Some((other, _)) = lines.insert(id, (setting.clone(), line)) {
            return Err(setting.refuse(format!("server {id} has a line already, {}", other.place)));
        }
    }
    Ok(lines)
}

/// Which server this is. `my_id` is what the file holds, if it is there.
pub(super) fn own_id(
    lines: &Lines,
    my_id: Option<ServerId>,
    file: &Path,
) -> Result<ServerId, ConfigError> {
    let path = file.to_owned();
    match (my_id, lines.len()) {
        (Some(id), 0 | 1) => Ok(id),
        (None, 0) => Ok(ServerId(1)),
        (None, 1) => Ok(lines.keys().next().copied().unwrap_or(ServerId(1))),
        (Some(id), _) if lines.contains_key(&id) => Ok(id),
        (Some(id), _) => Err(ConfigError::StrangeMyId { path, id, known: ids(lines.keys()) }),
        (None, _) => Err(ConfigError::NoMyId { path, known: ids(lines.keys()) }),
    }
}

/// The cluster, where there are several lines. `me` is one of them.
pub(super) fn cluster(
    values: &mut Values,
    lines: &Lines,
    me: ServerId,
    tls: Option<PeerTls>,
) -> Result<Option<Cluster>, ConfigError> {
    let partitions: u16 = values.number("partitions");
    if lines.len() < 2 {
        no_effect_alone(values);
        return Ok(None);
    }
    distinct_addresses(lines)?;
    let servers: BTreeMap<ServerId, Member> =
        lines.iter().map(|(id, (_, line))| (*id, member(line))).collect();
    let participants: Vec<ServerId> =
        servers.iter().filter(|(_, member)| !member.is_observer).map(|(id, _)| *id).collect();
    let (first, _) = &lines[&me];
    if participants.is_empty() {
        return Err(first.refuse("all servers are observers: somebody must vote"));
    }
    if participants.len().is_multiple_of(2) {
        let count = participants.len();
        let warning = format!("{count} voting servers survive no more than {} do", count - 1);
        values.warn(&first.place.clone(), warning);
    }
    let placement = placement(values, partitions, &servers)?;
    let global_acceptors = match values.setting("ring.0.servers") {
        Some(setting) => global_acceptors(setting, &servers)?,
        None => participants.into_iter().take(GLOBAL_ACCEPTORS_MAX).collect(),
    };
    Ok(Some(Cluster {
        id: cluster_id(values, me, &servers),
        servers,
        placement,
        global_acceptors,
        listen_on_all: values.flag("quorumListenOnAllIPs"),
        tls,
        init_limit: values.number("initLimit"),
        sync_limit: values.number("syncLimit"),
    }))
}

/// Keys that say nothing where there is one server.
fn no_effect_alone(values: &mut Values) {
    let placed = values.numbered("partition.").filter(|one| one.key.ends_with(".servers"));
    let others = ["ring.0.servers", "clusterId", "peer.tls", "sslQuorum"];
    let others = others.iter().filter_map(|name| values.setting(name));
    let found: Vec<Setting> = placed.chain(others).cloned().collect();
    for setting in found {
        let warning = format!("{} has no effect: there is one server", setting.key);
        values.warn(&setting.place, warning);
    }
}

fn member(line: &ServerLine) -> Member {
    Member {
        host: line.host.clone(),
        peer_port: line.peer_port,
        election_port: line.election_port,
        is_observer: line.is_observer,
        client: line.client.as_ref().map(|part| (part.address.clone(), part.port)),
    }
}

fn distinct_addresses(lines: &Lines) -> Result<(), ConfigError> {
    let mut taken = BTreeMap::new();
    for (id, (setting, line)) in lines {
        let address = (line.host.to_ascii_lowercase(), line.peer_port);
        if let Some(other) = taken.insert(address, *id) {
            let problem = format!("server {other} has the same host and first port");
            return Err(setting.refuse(problem));
        }
    }
    Ok(())
}

fn placement(
    values: &Values,
    partitions: u16,
    servers: &BTreeMap<ServerId, Member>,
) -> Result<BTreeMap<PartitionId, Vec<ServerId>>, ConfigError> {
    let all: Vec<ServerId> = servers.keys().copied().collect();
    let mut placement: BTreeMap<_, _> =
        (1..=partitions).map(|partition| (PartitionId(partition), all.clone())).collect();
    let mut given = BTreeSet::new();
    for setting in values.numbered("partition.").filter(|one| one.key.ends_with(".servers")) {
        let number = setting.key.split('.').rev().nth(1).and_then(|number| number.parse().ok());
        let partition = number.map(PartitionId);
        let Some((partition, place)) =
            partition.and_then(|p| placement.get_mut(&p).map(|s| (p, s)))
        else {
            let problem = format!("N of partition.N.servers is from 1 to {partitions}");
            return Err(setting.refuse(problem));
        };
        if !given.insert(partition) {
            return Err(setting.refuse(format!("partition {partition} is placed twice")));
        }
        let hosts = known_servers(setting, servers)?;
        if hosts.iter().all(|id| servers[id].is_observer) {
            return Err(setting.refuse("all of these are observers: somebody must vote"));
        }
        *place = hosts;
    }
    Ok(placement)
}

fn global_acceptors(
    setting: &Setting,
    servers: &BTreeMap<ServerId, Member>,
) -> Result<Vec<ServerId>, ConfigError> {
    let acceptors = known_servers(setting, servers)?;
    if let Some(id) = acceptors.iter().find(|id| servers[id].is_observer) {
        return Err(setting.refuse(format!("server {id} is an observer: it does not vote")));
    }
    if acceptors.len() > GLOBAL_ACCEPTORS_MAX {
        return Err(setting.refuse(format!("{GLOBAL_ACCEPTORS_MAX} servers at most are expected")));
    }
    Ok(acceptors)
}

/// The servers of a list, ascending: each has a line and is there once, and there is one.
fn known_servers(
    setting: &Setting,
    servers: &BTreeMap<ServerId, Member>,
) -> Result<Vec<ServerId>, ConfigError> {
    let mut found = BTreeSet::new();
    for item in items(&setting.value) {
        let id = item.parse().ok().map(ServerId).filter(|id| servers.contains_key(id));
        let Some(id) = id else {
            let known = ids(servers.keys());
            let problem = format!("{item} is none of the servers, which are {known}");
            return Err(setting.refuse(problem));
        };
        if !found.insert(id) {
            return Err(setting.refuse(format!("server {id} is there twice")));
        }
    }
    if found.is_empty() {
        return Err(setting.refuse("at least one server is expected"));
    }
    Ok(found.into_iter().collect())
}

/// `clusterId`: a number as it is, any other text by its hash. Without the key a hash of the server
/// lines, which are the same at all servers, but for one custom: a server may write 0.0.0.0 or
/// localhost for itself. Where this one does, hosts are left out; the others do as it does.
fn cluster_id(values: &Values, me: ServerId, servers: &BTreeMap<ServerId, Member>) -> ClusterId {
    if let Some(text) = values.text("clusterId") {
        let number = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        let number = number.unwrap_or_else(|| xxh3_64(text.as_bytes()));
        return ClusterId { number, is_configured: true };
    }
    let only_here = |host: &str| {
        let address = host.parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.is_unspecified() || address.is_loopback())
    };
    let others_are_elsewhere =
        servers.iter().any(|(id, member)| *id != me && !only_here(&member.host));
    let without_hosts = only_here(&servers[&me].host) && others_are_elsewhere;
    let mut text = String::new();
    for (id, member) in servers {
        let host = if without_hosts { "" } else { member.host.as_str() };
        text += &format!("{id}={}:{}\n", host.to_ascii_lowercase(), member.peer_port);
    }
    ClusterId { number: xxh3_64(text.as_bytes()), is_configured: false }
}

fn ids<'a>(ids: impl Iterator<Item = &'a ServerId>) -> String {
    ids.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
