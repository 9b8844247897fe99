//! The rules of the partition map: how many partitions, which patterns spread, which prefixes are
//! pinned; their checks and their canonical text. Never evaluates a path (the map beside it does)
//! and touches no file. Called by the configuration, by the map, and by the data directory's check.

use std::fmt;

use volery_proto::ids::PartitionId;
use volery_proto::limits::MAX_PARTITIONS;
use volery_proto::path;

/// Rules that one map may hold, spread and prefix rules together.
pub const MAX_RULES: usize = 1024;

/// First line of the canonical text; a later form gets another number.
const FORMAT_LINE: &str = "format=1";
const HEADING: &str =
    "# Volery's partition map. The tree in this directory is laid out by it: do not edit.\n";

/// The rules, checked and in canonical order (spread and prefixes sorted by path).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapRules {
    /// Number of partitions; they are 1..=partitions.
    pub partitions: u16,
    /// Patterns whose matches are spread by hash, with all below each match: `/*`,
    /// `/clickhouse/tables/*/*`.
    pub spread: Vec<String>,
    /// Subtrees that are pinned to a partition.
    pub prefixes: Vec<(PartitionId, String)>,
}

/// What is wrong with a set of rules, or with their text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// No partition, or too many.
    #[error("partitions is {0}, allowed are 1 to {MAX_PARTITIONS}")]
    Partitions(u64),
    /// A prefix names a partition that does not exist.
    #[error("prefix {prefix}: partition {partition} does not exist, there are {partitions}")]
    NoSuchPartition {
        /// The prefix.
        prefix: String,
        /// The partition it names.
        partition: u16,
        /// How many there are.
        partitions: u16,
    },
    /// A pattern or prefix that cannot be one.
    #[error("{pattern:?}: {problem}")]
    BadPattern {
        /// As it was given.
        pattern: String,
        /// Why not, as a sentence.
        problem: &'static str,
    },
    /// The same path twice.
    #[error("{0} is given twice")]
    Duplicate(String),
    /// More than [`MAX_RULES`].
    #[error("{0} rules, at most {MAX_RULES} are allowed")]
    TooMany(usize),
    /// A line of the text that is not one of ours.
    #[error("line {line}: {problem}")]
    BadText {
        /// From 1.
        line: usize,
        /// What was expected.
        problem: String,
    },
}

impl Default for MapRules {
    /// Four partitions, the children of `/` spread over them.
    fn default() -> MapRules {
        MapRules { partitions: 4, spread: vec!["/*".to_owned()], prefixes: Vec::new() }
    }
}

impl MapRules {
    /// Checks the rules and puts them into canonical order.
    ///
    /// # Errors
    /// The first rule that is wrong.
    pub fn new(
        partitions: u16,
        mut spread: Vec<String>,
        mut prefixes: Vec<(PartitionId, String)>,
    ) -> Result<MapRules, RulesError> {
        if partitions == 0 || partitions > MAX_PARTITIONS {
            return Err(RulesError::Partitions(u64::from(partitions)));
        }
        if spread.len() + prefixes.len() > MAX_RULES {
            return Err(RulesError::TooMany(spread.len() + prefixes.len()));
        }
        for pattern in &spread {
            check_spread(pattern).map_err(|problem| bad_pattern(pattern, problem))?;
        }
        for (partition, prefix) in &prefixes {
            check_prefix(prefix).map_err(|problem| bad_pattern(prefix, problem))?;
            if partition.0 == 0 || partition.0 > partitions {
                return Err(RulesError::NoSuchPartition {
                    prefix: prefix.clone(),
                    partition: partition.0,
                    partitions,
                });
            }
        }
        spread.sort();
        prefixes.sort_by(|a, b| a.1.cmp(&b.1));
        if let Some(pair) = spread.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RulesError::Duplicate(pair[0].clone()));
        }
        if let Some(pair) = prefixes.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            return Err(RulesError::Duplicate(pair[0].1.clone()));
        }
        Ok(MapRules { partitions, spread, prefixes })
    }

    /// Reads the canonical text.
    ///
    /// # Errors
    /// The line that is not understood, or the rule that is wrong.
    pub fn parse(text: &str) -> Result<MapRules, RulesError> {
        let mut partitions = None;
        let mut spread = Vec::new();
        let mut prefixes = Vec::new();
        let mut format_seen = false;
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |problem: String| RulesError::BadText { line: index + 1, problem };
            if !format_seen {
                if line != FORMAT_LINE {
                    return Err(bad(format!("expected {FORMAT_LINE}, found {line:?}")));
                }
                format_seen = true;
                continue;
            }
            match line.split_once('=') {
                Some(("partitions", count)) if partitions.is_none() => {
                    partitions =
                        Some(count.parse().map_err(|_| bad(format!("bad count {count:?}")))?);
                }
                Some(("spread", pattern)) => spread.push(pattern.to_owned()),
                Some(("prefix", rule)) => {
                    let (partition, prefix) = split_prefix(rule)
                        .ok_or_else(|| bad(format!("expected prefix=N /path, found {line:?}")))?;
                    prefixes.push((partition, prefix.to_owned()));
                }
                _ => return Err(bad(format!("not a rule: {line:?}"))),
            }
        }
        match partitions {
            Some(partitions) => MapRules::new(partitions, spread, prefixes),
            None => Err(RulesError::BadText {
                line: text.lines().count(),
                problem: "the text ends without partitions=".to_owned(),
            }),
        }
    }
}

/// The canonical text: equal rules have equal texts.
impl fmt::Display for MapRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADING)?;
        writeln!(f, "{FORMAT_LINE}\npartitions={}", self.partitions)?;
        for pattern in &self.spread {
            writeln!(f, "spread={pattern}")?;
        }
        for (partition, prefix) in &self.prefixes {
            writeln!(f, "prefix={partition} {prefix}")?;
        }
        Ok(())
    }
}

fn bad_pattern(pattern: &str, problem: &'static str) -> RulesError {
    RulesError::BadPattern { pattern: pattern.to_owned(), problem }
}

fn split_prefix(rule: &str) -> Option<(PartitionId, &str)> {
    let (partition, prefix) = rule.split_once(' ')?;
    Some((PartitionId(partition.parse().ok()?), prefix))
}

/// A spread rule is an absolute path with at least one component `*`.
fn check_spread(pattern: &str) -> Result<(), &'static str> {
    path::validate(pattern)?;
    if pattern == "/" {
        return Err("the root itself cannot be spread, its children can: /*");
    }
    let mut stars = 0;
    for component in pattern[1..].split('/') {
        match component {
            "*" => stars += 1,
            name if name.contains('*') => {
                return Err("* stands for a whole component, not for a part of one");
            }
            _ => {}
        }
    }
    if stars == 0 {
        return Err("a spread rule has a component *; to pin a subtree give it as a prefix");
    }
    Ok(())
}

/// A prefix is an absolute path of plain names, and not the root.
fn check_prefix(prefix: &str) -> Result<(), &'static str> {
    path::validate(prefix)?;
    if prefix == "/" {
        return Err("the root cannot be moved to a partition");
    }
    if prefix.contains('*') {
        return Err("a prefix has no *; patterns belong into the spread rules");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(
        partitions: u16,
        spread: &[&str],
        prefixes: &[(u16, &str)],
    ) -> Result<MapRules, String> {
        let spread = spread.iter().map(ToString::to_string).collect();
        let prefixes = prefixes.iter().map(|(p, path)| (PartitionId(*p), path.to_string()));
        MapRules::new(partitions, spread, prefixes.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn text_is_canonical_and_reads_back() {
        let one = rules(4, &["/clickhouse/tables/*/*", "/*"], &[(3, "/kafka"), (2, "/a b")]);
        let two = rules(4, &["/*", "/clickhouse/tables/*/*"], &[(2, "/a b"), (3, "/kafka")]);
        let text = one.as_ref().map(ToString::to_string);
        assert_eq!(one, two);
        assert_eq!(
            text.as_deref(),
            Ok("# Volery's partition map. The tree in this directory is laid out by it: do not \
                edit.\nformat=1\npartitions=4\nspread=/*\nspread=/clickhouse/tables/*/*\n\
                prefix=2 /a b\nprefix=3 /kafka\n")
        );
        assert_eq!(MapRules::parse(&text.unwrap_or_default()).map_err(|e| e.to_string()), one);
    }

    #[test]
    fn default_rules_are_valid() {
        let default = MapRules::default();
        let checked = MapRules::new(default.partitions, default.spread.clone(), Vec::new());
        assert_eq!(checked, Ok(default));
    }

    #[test]
    fn wrong_rules_are_refused_with_a_reason() {
        let table = [
            (rules(0, &[], &[]), "partitions is 0, allowed are 1 to 512"),
            (rules(513, &[], &[]), "partitions is 513, allowed are 1 to 512"),
            (rules(4, &["a/*"], &[]), "\"a/*\": a path starts with /"),
            (
                rules(4, &["/a*/b"], &[]),
                "\"/a*/b\": * stands for a whole component, not for a part of one",
            ),
            (
                rules(4, &["/"], &[]),
                "\"/\": the root itself cannot be spread, its children can: /*",
            ),
            (
                rules(4, &["/a/b"], &[]),
                "\"/a/b\": a spread rule has a component *; to pin a subtree give it as a prefix",
            ),
            (rules(4, &["/*/../a"], &[]), "\"/*/../a\": a path has no relative component"),
            (rules(4, &["/*", "/*"], &[]), "/* is given twice"),
            (rules(4, &[], &[(5, "/a")]), "prefix /a: partition 5 does not exist, there are 4"),
            (rules(4, &[], &[(0, "/a")]), "prefix /a: partition 0 does not exist, there are 4"),
            (rules(4, &[], &[(1, "/a"), (2, "/a")]), "/a is given twice"),
            (rules(4, &[], &[(1, "/a/")]), "\"/a/\": a path does not end with /"),
            (rules(4, &[], &[(1, "/")]), "\"/\": the root cannot be moved to a partition"),
            (
                rules(4, &[], &[(1, "/a/*")]),
                "\"/a/*\": a prefix has no *; patterns belong into the spread rules",
            ),
        ];
        for (result, expected) in table {
            assert_eq!(result, Err(expected.to_owned()));
        }
    }

    #[test]
    fn foreign_text_is_refused_with_its_line() {
        let table = [
            ("", "line 0: the text ends without partitions="),
            ("format=2\n", "line 1: expected format=1, found \"format=2\""),
            ("format=1\npartitions=x\n", "line 2: bad count \"x\""),
            ("format=1\npartitions=1\npartitions=2\n", "line 3: not a rule: \"partitions=2\""),
            ("# c\nformat=1\nprefix=/a\n", "line 3: expected prefix=N /path, found \"prefix=/a\""),
            ("format=1\nfoo\n", "line 2: not a rule: \"foo\""),
        ];
        for (text, expected) in table {
            let result = MapRules::parse(text).map_err(|error| error.to_string());
            assert_eq!(result, Err(expected.to_owned()), "{text:?}");
        }
    }
}
