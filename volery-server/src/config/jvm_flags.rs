//! Takes `-Dname=value` out of SERVER_JVMFLAGS and JVMFLAGS, which is how most deployments of
//! ZooKeeper set the super user and jute.maxbuffer. Never reads the environment itself. Called by
//! the configuration's reader, before the file, so that the file wins.

use crate::config::error::Place;
use crate::config::values::Setting;

/// Properties whose full names do not begin with `zookeeper.`.
const FULL_NAMES: [&str; 6] = [
    "jute.maxbuffer",
    "znode.container.",
    "readonlymode.enabled",
    "fsync.warningthresholdms",
    "java.security.auth.login.config",
    "zookeeper.",
];

/// The settings that the flags hold, in their order (a later one wins). Flags of the JVM itself
/// and properties of other Java libraries are none of ours, and are passed over.
pub(crate) fn settings(variable: &str, flags: &str) -> Vec<Setting> {
    let place = Place { source: variable.to_owned(), line: None };
    let mut settings = Vec::new();
    for word in words(flags) {
        let Some(property) = word.strip_prefix("-D") else { continue };
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        let ours = FULL_NAMES
            .iter()
            .any(|full| *full == name || (full.ends_with('.') && name.starts_with(full)));
        // zkServer.sh itself passes the log settings along.
        if !ours || name.starts_with("zookeeper.log") || name == "zookeeper.root.logger" {
            continue;
        }
        let (key, value) = (name.to_owned(), value.trim().to_owned());
        settings.push(Setting { place: place.clone(), key, value });
    }
    settings
}

/// Splits as a shell does: blanks separate, quotes and backslashes protect.
fn words(flags: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = flags.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(c),
            (_, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_taken_out_of_the_flags() {
        let flags = "-Xmx1g -Dzookeeper.DigestAuthenticationProvider.superDigest=super:a+b= \
                     -Djute.maxbuffer=0x400000 '-Dzookeeper.a=x y' -Dzookeeper.b=\"x \\\" 'y\" \
                     -Dcom.sun.management.jmxremote -Dzookeeper.log.dir=/l -Dzookeeper.c";
        let settings = settings("JVMFLAGS", flags);
        let read: Vec<_> =
            settings.iter().map(|one| (one.key.as_str(), one.value.as_str())).collect();
        assert_eq!(
            read,
            [
                ("zookeeper.DigestAuthenticationProvider.superDigest", "super:a+b="),
                ("jute.maxbuffer", "0x400000"),
                ("zookeeper.a", "x y"),
                ("zookeeper.b", "x \" 'y"),
                ("zookeeper.c", ""),
            ]
        );
    }
}
