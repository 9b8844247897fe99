//! The partition map: path → partition, and operation → the partitions that own its paths.
//! It looks at paths alone, never at the tree, and answers for any string.
//! Called by the front end (to choose a ring) and by executors (to know their part).

mod plan;
pub mod rules;

pub use plan::{Destination, Target};

use volery_proto::ids::PartitionId;
use xxhash_rust::xxh3::xxh3_64;

use crate::core::mutation::mutated;

/// Where everything lives that no rule matches: the root, and `/zookeeper`.
pub const ROOT_PARTITION: PartitionId = PartitionId(1);

/// One rule of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// `None` matches any component (`*`).
    components: Vec<Option<String>>,
    /// `None`: by hash of the matched prefix.
    partition: Option<PartitionId>,
}

impl Rule {
    fn parse(pattern: &str, partition: Option<PartitionId>) -> Rule {
        let components = pattern
            .split('/')
            .filter(|c| !c.is_empty())
            .map(|c| (c != "*").then(|| c.to_owned()))
            .collect();
        Rule { components, partition }
    }

    /// The length of the prefix of `path` that the rule matches, in bytes.
    fn matches(&self, path: &str) -> Option<usize> {
        let mut end = 0;
        for wanted in &self.components {
            let rest = path[end..].strip_prefix('/')?;
            let component = rest.split('/').next().unwrap_or(rest);
            match wanted {
                Some(name) if name != component => return None,
                // A `*` stands for a name; the root itself has none.
                None if component.is_empty() => return None,
                _ => {}
            }
            end += 1 + component.len();
        }
        Some(end)
    }

    /// Whether the rule can match something strictly below `path`.
    fn may_match_below(&self, path: &str) -> bool {
        let mut wanted = self.components.iter();
        for component in path.split('/').filter(|c| !c.is_empty()) {
            match wanted.next() {
                Some(Some(name)) if name != component => return false,
                Some(_) => {}
                None => return false,
            }
        }
        wanted.next().is_some()
    }
}

/// The partition map. The longest rule that matches wins; a whole subtree below a match stays
/// together. DESIGN section 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMap {
    version: u32,
    partitions: u16,
    /// Longest first; at equal length a fixed prefix before a spread rule.
    rules: Vec<Rule>,
}

impl PartitionMap {
    /// A map of `partitions` partitions. Patterns are `/`-separated; `*` matches any component.
    #[must_use]
    pub fn new(
        version: u32,
        partitions: u16,
        spread: &[String],
        prefixes: &[(PartitionId, String)],
    ) -> PartitionMap {
        let mut rules: Vec<Rule> = prefixes
            .iter()
            .map(|(partition, prefix)| Rule::parse(prefix, Some(*partition)))
            .chain(spread.iter().map(|pattern| Rule::parse(pattern, None)))
            .collect();
        let service = Rule::parse("/zookeeper", Some(ROOT_PARTITION));
        if !rules.iter().any(|rule| rule.components == service.components) {
            rules.push(service);
        }
        rules.sort_by_key(|rule| {
            let stars = rule.components.iter().filter(|c| c.is_none()).count();
            (std::cmp::Reverse(rule.components.len()), stars)
        });
        PartitionMap { version, partitions, rules }
    }

    /// The map that checked rules describe.
    #[must_use]
    pub fn from_rules(version: u32, rules: &rules::MapRules) -> PartitionMap {
        PartitionMap::new(version, rules.partitions, &rules.spread, &rules.prefixes)
    }

    /// Its version; commands carry the one they were planned with.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (1..=self.partitions).map(PartitionId)
    }

    /// The partition that owns the znode at `path`.
    #[must_use]
    pub fn owner(&self, path: &str) -> PartitionId {
        for rule in &self.rules {
            if let Some(end) = rule.matches(path) {
                return rule.partition.unwrap_or_else(|| self.spread(&path[..end]));
            }
        }
        ROOT_PARTITION
    }

    /// The partition that owns the entry of `path` in its parent's child list.
    #[must_use]
    pub fn entry_owner(&self, path: &str) -> PartitionId {
        self.owner(volery_proto::path::split(path).map_or("/", |(parent, _)| parent))
    }

    /// Every partition that may own a znode strictly below `path`, in order.
    #[must_use]
    pub fn owners_below(&self, path: &str) -> Vec<PartitionId> {
        let mut owners = vec![self.owner(path)];
        for rule in self.rules.iter().filter(|rule| rule.may_match_below(path)) {
            match rule.partition {
                Some(partition) => owners.push(partition),
                None => return self.partitions().collect(),
            }
        }
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// A sequential znode's partition is known before its number: a trailing number is ignored.
    fn spread(&self, prefix: &str) -> PartitionId {
        let hash = xxh3_64(without_sequence(prefix).as_bytes());
        PartitionId((hash % u64::from(self.partitions)) as u16 + 1)
    }
}

/// `path` without a trailing `-?[0-9]{10}`.
fn without_sequence(path: &str) -> &str {
    if mutated!(NumberSpreads) {
        return path;
    }
    let Some(at) = path.len().checked_sub(10) else { return path };
    if !path.as_bytes()[at..].iter().all(u8::is_ascii_digit) {
        return path;
    }
    let head = &path[..at];
    head.strip_suffix('-').unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(spread: &[&str], prefixes: &[(u16, &str)]) -> PartitionMap {
        let spread: Vec<String> = spread.iter().map(|s| (*s).to_owned()).collect();
        let prefixes: Vec<_> =
            prefixes.iter().map(|(p, s)| (PartitionId(*p), (*s).to_owned())).collect();
        PartitionMap::new(1, 4, &spread, &prefixes)
    }

    #[test]
    fn the_longest_rule_wins_and_a_subtree_stays_together() {
        let map = map(&["/*", "/clickhouse/tables/*/*"], &[(2, "/kafka"), (3, "/kafka/brokers")]);
        assert_eq!(map.owner("/"), ROOT_PARTITION);
        assert_eq!(map.owner("/zookeeper/quota/x"), ROOT_PARTITION);
        assert_eq!(map.owner("/kafka/topics/a"), PartitionId(2));
        assert_eq!(map.owner("/kafka/brokers/1"), PartitionId(3));
        assert_eq!(map.owner("/app/a"), map.owner("/app/b/c"));
        assert_eq!(map.owner("/clickhouse/tables/1"), map.owner("/clickhouse"));
        assert_eq!(map.owner("/clickhouse/tables/1/a/x"), map.owner("/clickhouse/tables/1/a"));
        let spread: std::collections::BTreeSet<_> =
            (0..64).map(|i| map.owner(&format!("/dir{i}"))).collect();
        assert_eq!(spread.len(), 4);
    }

    /// ATTACKS row 19.
    #[test]
    fn a_sequence_number_does_not_move_a_znode() {
        let map = map(&["/locks/*"], &[]);
        let planned = map.owner("/locks/n-0000000000");
        assert_eq!(map.owner("/locks/n-2147483647"), planned);
        assert_eq!(map.owner("/locks/n--2147483648"), planned);
        assert_eq!(without_sequence("/locks/n0000000001"), "/locks/n");
    }

    #[test]
    fn owners_below_are_those_of_every_border() {
        let map = map(&["/a/*"], &[(3, "/b/c"), (4, "/d")]);
        assert_eq!(map.owners_below("/").len(), 4);
        assert_eq!(map.owners_below("/a").len(), 4);
        assert_eq!(map.owners_below("/b"), [PartitionId(1), PartitionId(3)]);
        assert_eq!(map.owners_below("/b/c/x"), [PartitionId(3)]);
        assert_eq!(map.owners_below("/a/x").len(), 1);
    }

    #[test]
    fn any_string_has_an_owner() {
        let map = map(&["/*"], &[]);
        for path in ["", "a", "//", "/a//", "///x", "/é/\u{0}"] {
            let _ = (map.owner(path), map.entry_owner(path), map.owners_below(path));
        }
    }
}
