//! What a command or a read touches in a partition, computed from its paths alone, so that all
//! replicas decide alike which commands keep their order. Conservative: it never looks at a tree,
//! and names what the checks could read and the changes could write, whoever owns it.
//!
//! | unit | taken alone by | shared by |
//! | --- | --- | --- |
//! | a znode | its create, delete, setData, setACL; a child's create, delete | check |
//! | its existence | its create, delete | the create, delete of all that is below |
//! | a numbered name | the sequential create of this prefix | all that may name what comes |
//!
//! A znode is its data, ACL, Stat and child list: all that one read shows.
//! Existence is a unit of its own, or a create under `/` would hold up all others; and it is
//! needed: a partition that owns znodes far below a border must not hear of them before it has
//! heard of the border.

use bytestring::ByteString;
use volery_proto::path;
use volery_proto::zk::Request;

use crate::core::apply::{Touch, TouchKind, touches};
use crate::core::mutation::mutated;

/// What of a path a unit stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aspect {
    Znode,
    Existence,
    /// The path is a prefix, and a number follows.
    Numbered,
}

/// How many aspects there are.
pub(super) const ASPECTS: usize = 3;

/// Something that one command at a time may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) aspect: Aspect,
    pub(super) path: ByteString,
    /// Changed, not only looked at.
    pub(super) alone: bool,
}

/// All units of a command, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Footprint {
    pub(super) units: Vec<Unit>,
}

/// A znode that the end of a session may remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Removal {
    pub(super) path: ByteString,
    /// A number follows that is not known yet.
    pub(super) sequential: bool,
}

/// What a read looks at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// One znode.
    Znode(&'a str),
    /// A znode and all below it.
    Subtree(&'a str),
    /// The whole partition.
    Everything,
}

impl Footprint {
    /// Of a client's write.
    pub(in super::super) fn of_write(request: &Request) -> Footprint {
        let mut footprint = Footprint::default();
        touches(request, &mut |Touch { path, kind }| match kind {
            TouchKind::Create { sequential, .. } => footprint.entry(path, sequential),
            TouchKind::Delete => footprint.entry(path, false),
            TouchKind::Set => footprint.znode(path, true),
            TouchKind::Check => footprint.znode(path, false),
        });
        footprint.finish()
    }

    /// Of what the end of a session removes.
    pub(in super::super) fn of_removals(removals: &[Removal]) -> Footprint {
        let mut footprint = Footprint::default();
        for removal in removals {
            footprint.entry(&removal.path, removal.sequential);
        }
        footprint.finish()
    }

    /// A znode comes or goes.
    fn entry(&mut self, path: &ByteString, sequential: bool) {
        if sequential {
            if !mutated!(NumbersPass) {
                self.add(Aspect::Numbered, path.clone(), true);
            }
        } else {
            self.znode(path, true);
            self.add(Aspect::Existence, path.clone(), true);
        }
        let Some(parent) = path::parent_of(path) else { return };
        if !mutated!(ParentsPass) {
            self.znode(&parent, true);
        }
        let mut above = parent;
        loop {
            self.shape(&above);
            self.add(Aspect::Existence, above.clone(), false);
            match path::parent_of(&above) {
                Some(next) if next.len() < above.len() => above = next,
                _ => return,
            }
        }
    }

    fn znode(&mut self, path: &ByteString, alone: bool) {
        self.shape(path);
        self.add(Aspect::Znode, path.clone(), alone);
    }

    /// The sequential creates that could have made this path.
    fn shape(&mut self, path: &ByteString) {
        for stem in stems(path) {
            self.add(Aspect::Numbered, path.slice_ref(stem), false);
        }
    }

    fn add(&mut self, aspect: Aspect, path: ByteString, alone: bool) {
        self.units.push(Unit { aspect, path, alone });
    }

    fn finish(mut self) -> Footprint {
        self.units.sort_unstable_by(|a, b| {
            (a.aspect, &a.path, !a.alone).cmp(&(b.aspect, &b.path, !b.alone))
        });
        self.units.dedup_by(|b, a| a.aspect == b.aspect && a.path == b.path);
        self
    }
}

impl Removal {
    pub(in super::super) fn of(path: ByteString) -> Removal {
        Removal { path, sequential: false }
    }

    pub(in super::super) fn numbered(path: ByteString) -> Removal {
        Removal { path, sequential: true }
    }

    pub(in super::super) fn path(&self) -> &ByteString {
        &self.path
    }

    /// A path that it may come to: any number will do to find its owner.
    pub(in super::super) fn example(&self) -> String {
        let number = if self.sequential { path::sequence_suffix(0) } else { String::new() };
        format!("{}{number}", self.path)
    }

    /// Whether this is the znode, or may have become it.
    pub(in super::super) fn covers(&self, path: &str) -> bool {
        if self.sequential {
            stems(path).any(|stem| stem == &self.path[..])
        } else {
            *path == self.path[..]
        }
    }
}

/// What stays of a path without a number as `path::sequence_suffix` writes it: ten characters,
/// all digits or a sign and nine; or a sign and ten digits. None, one or two readings.
pub(super) fn stems(path: &str) -> impl Iterator<Item = &str> {
    let bytes = path.as_bytes();
    let digits = bytes.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let sign = |digits: usize| bytes.len() > digits && bytes[bytes.len() - digits - 1] == b'-';
    let ten = digits >= 10 || (digits == 9 && sign(9));
    let eleven = digits == 10 && sign(10);
    let cut = |wanted: bool, len: usize| wanted.then(|| &path[..path.len() - len]);
    cut(ten, 10).into_iter().chain(cut(eleven, 11))
}

#[cfg(test)]
mod tests {
    use volery_proto::path::sequence_suffix;

    use super::*;

    #[test]
    fn a_number_leaves_its_prefix() {
        for prefix in ["/a/n-", "/a/n", "/a/", "/a/7"] {
            for number in [0, 7, i32::MAX, -1, -999_999_999, -1_000_000_000, i32::MIN] {
                let path = format!("{prefix}{}", sequence_suffix(number));
                assert!(stems(&path).any(|stem| stem == prefix), "{path}");
                assert!(Removal::numbered(prefix.into()).covers(&path));
            }
        }
        for path in ["", "/a", "/a/n-00000000", "/a/000000001", "/é-00000001"] {
            assert_eq!(stems(path).count(), 0, "{path}");
        }
    }

    #[test]
    fn each_unit_once_and_alone_if_it_ever_is() {
        let ops = vec![
            volery_proto::zk::MultiOp::Check(volery_proto::zk::CheckVersionRequest {
                path: "/a/b".into(),
                version: -1,
            }),
            volery_proto::zk::MultiOp::Delete(volery_proto::zk::DeleteRequest {
                path: "/a/b".into(),
                version: -1,
            }),
        ];
        let footprint = Footprint::of_write(&Request::Multi(ops));
        let units: Vec<_> =
            footprint.units.iter().map(|u| (u.aspect, &u.path[..], u.alone)).collect();
        let wanted = [
            (Aspect::Znode, "/a", true),
            (Aspect::Znode, "/a/b", true),
            (Aspect::Existence, "/", false),
            (Aspect::Existence, "/a", false),
            (Aspect::Existence, "/a/b", true),
        ];
        assert_eq!(units, wanted);
    }
}
