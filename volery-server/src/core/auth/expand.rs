//! The ACL that a client gives, made into the one that is stored (ZOOKEEPER.md 2.6).
//! Never looks at the tree; decides from the entries and the connection's identities alone.
//! Called by `apply` for every create and setACL.

use std::collections::BTreeSet;
use std::sync::Arc;

use volery_proto::zk::{Acl, ErrorCode, Id};

use super::{address, is_world, scheme};

/// Removes duplicates, replaces `auth` by the connection's identities, and checks every entry.
///
/// # Errors
/// `InvalidAcl`: nothing is left, or an entry is not valid.
pub fn expand_acl(given: &[Acl], identities: &[Id]) -> Result<Arc<[Acl]>, ErrorCode> {
    let mut seen: BTreeSet<(i32, &str, &str)> = BTreeSet::new();
    let mut expanded = Vec::with_capacity(given.len());
    for entry in given {
        // A set, not a search per entry: a client may send a hundred thousand of them.
        if !seen.insert((entry.perms, entry.id.scheme.as_ref(), entry.id.id.as_ref())) {
            continue;
        }
        if entry.id.scheme == scheme::AUTH {
            let before = expanded.len();
            let authenticated = identities.iter().filter(|id| is_authenticated(id));
            expanded.extend(authenticated.map(|id| Acl { perms: entry.perms, id: id.clone() }));
            if expanded.len() == before {
                return Err(ErrorCode::InvalidAcl);
            }
        } else if is_world(&entry.id) || is_valid(&entry.id) {
            expanded.push(entry.clone());
        } else {
            return Err(ErrorCode::InvalidAcl);
        }
    }
    if expanded.is_empty() { Err(ErrorCode::InvalidAcl) } else { Ok(expanded.into()) }
}

/// Whether the identity was proved, and not only seen as an address is.
fn is_authenticated(id: &Id) -> bool {
    matches!(id.scheme.as_ref(), scheme::DIGEST | scheme::SASL | scheme::X509)
}

fn is_valid(id: &Id) -> bool {
    match id.scheme.as_ref() {
        scheme::DIGEST => id.id.matches(':').count() == 1,
        scheme::IP => address::is_valid(&id.id),
        scheme::SASL => is_principal(&id.id),
        scheme::X509 => id.id.contains('='),
        // world with another id, super, and whatever has no provider.
        _ => false,
    }
}

/// A Kerberos principal: `name`, or `name[/host]@realm`.
fn is_principal(text: &str) -> bool {
    match text.split_once('@') {
        None => true,
        Some((name, realm)) => name.matches('/').count() <= 1 && !realm.contains(['@', '/']),
    }
}
