//! Who a connection is, and what an ACL lets it do: pure functions of identities and entries.
//! Keeps no state and reads no configuration beyond its arguments; skipACL is the caller's flag.
//! Called by `apply`, `read` and `watch` for checks, by the front end for auth requests.

mod address;
mod expand;
mod packet;

#[cfg(test)]
mod tests;

use bytestring::ByteString;
use volery_proto::zk::{Acl, ClientInfo, Id};

pub use expand::expand_acl;
pub use packet::{AuthConfig, authenticate, digest_of};

/// ZooKeeper's scheme names.
pub(crate) mod scheme {
    pub(crate) const WORLD: &str = "world";
    pub(crate) const AUTH: &str = "auth";
    pub(crate) const IP: &str = "ip";
    pub(crate) const DIGEST: &str = "digest";
    pub(crate) const SASL: &str = "sasl";
    pub(crate) const X509: &str = "x509";
    pub(crate) const SUPER: &str = "super";
}

/// The one id of the world scheme.
const ANYONE: &str = "anyone";

/// Whether one of `identities` has one of the `needed` permission bits. An empty ACL lets
/// everybody pass, and an identity of scheme `super` passes everywhere.
#[must_use]
pub fn permits(acl: &[Acl], needed: i32, identities: &[Id]) -> bool {
    acl.is_empty()
        || identities.iter().any(|id| id.scheme == scheme::SUPER)
        || acl.iter().any(|entry| entry.perms & needed != 0 && entry_matches(entry, identities))
}

/// The permission bits that `identities` have by `acl`, `super` apart; `None` where the ACL is
/// empty and nothing is checked.
#[must_use]
pub(crate) fn granted(acl: &[Acl], identities: &[Id]) -> Option<i32> {
    if acl.is_empty() {
        return None;
    }
    let matching = acl.iter().filter(|entry| entry_matches(entry, identities));
    Some(matching.fold(0, |perms, entry| perms | entry.perms))
}

/// An ACL that gives everybody exactly these bits.
#[must_use]
pub(crate) fn world_acl(perms: i32) -> Acl {
    Acl {
        perms,
        id: Id {
            scheme: ByteString::from_static(scheme::WORLD),
            id: ByteString::from_static(ANYONE),
        },
    }
}

fn is_world(id: &Id) -> bool {
    id.scheme == scheme::WORLD && id.id == ANYONE
}

fn entry_matches(entry: &Acl, identities: &[Id]) -> bool {
    let wanted = &entry.id;
    is_world(wanted)
        || identities
            .iter()
            .filter(|identity| identity.scheme == wanted.scheme)
            .any(|identity| id_matches(&wanted.scheme, &identity.id, &wanted.id))
}

/// Whether the id of a connection matches the id of an entry of the same scheme.
fn id_matches(scheme: &str, identity: &str, wanted: &str) -> bool {
    match scheme {
        scheme::DIGEST | scheme::X509 => identity == wanted,
        scheme::IP => address::matches(identity, wanted),
        scheme::SASL => identity == "super" || identity == wanted,
        // No provider: an entry of such a scheme matches nobody.
        _ => false,
    }
}

/// What getACL shows of an entry to those without ADMIN: a digest's password becomes `x`.
#[must_use]
pub fn mask_digest(entry: &Acl) -> Acl {
    match entry.id.id.split_once(':') {
        Some((user, _)) if entry.id.scheme == scheme::DIGEST => Acl {
            perms: entry.perms,
            id: Id { scheme: entry.id.scheme.clone(), id: format!("{user}:x").into() },
        },
        _ => entry.clone(),
    }
}

/// What whoAmI answers: scheme and user name of every identity. `super` has no provider that
/// would know a name.
#[must_use]
pub fn client_infos(identities: &[Id]) -> Vec<ClientInfo> {
    let user = |id: &Id| match id.scheme.as_ref() {
        scheme::DIGEST => id.id.split(':').next().unwrap_or_default().into(),
        scheme::IP | scheme::SASL | scheme::X509 => id.id.clone(),
        _ => ByteString::new(),
    };
    identities.iter().map(|id| ClientInfo { scheme: id.scheme.clone(), user: user(id) }).collect()
}
