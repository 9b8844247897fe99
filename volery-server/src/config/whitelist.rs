//! Which four-letter words are answered. Knows no word's answer. Held by the configuration, asked
//! by `admin`.

use std::collections::BTreeSet;
use std::fmt;

use volery_proto::zk::is_four_letter_word;

/// The value of `4lw.commands.whitelist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whitelist {
    /// `*`.
    All,
    /// These.
    Words(BTreeSet<[u8; 4]>),
}

impl Whitelist {
    /// The list of some items, and the items that are no word of ZooKeeper's.
    #[must_use]
    pub fn new(items: &[String]) -> (Whitelist, Vec<String>) {
        if items.iter().any(|item| item == "*") {
            return (Whitelist::All, Vec::new());
        }
        let mut words = BTreeSet::new();
        let mut unknown = Vec::new();
        for item in items {
            match <[u8; 4]>::try_from(item.as_bytes()) {
                Ok(word) if is_four_letter_word(word) => {
                    words.insert(word);
                }
                _ => unknown.push(item.clone()),
            }
        }
        (Whitelist::Words(words), unknown)
    }

    /// Whether `word` may be answered. `srvr` always is: `zkServer.sh status` depends on it.
    #[must_use]
    pub fn allows(&self, word: [u8; 4]) -> bool {
        match self {
            Whitelist::All => true,
            Whitelist::Words(words) => &word == b"srvr" || words.contains(&word),
        }
    }
}

impl fmt::Display for Whitelist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whitelist::All => f.write_str("*"),
            Whitelist::Words(words) => {
                let words: Vec<_> =
                    words.iter().map(|word| String::from_utf8_lossy(word)).collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srvr_is_answered_whatever_the_list_says() {
        for items in [&[][..], &["ruok".to_owned()]] {
            let (list, unknown) = Whitelist::new(items);
            assert!(unknown.is_empty() && list.allows(*b"srvr") && !list.allows(*b"stat"));
            assert_eq!(list.allows(*b"ruok"), !items.is_empty());
        }
    }
}
