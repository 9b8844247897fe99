//! ZooKeeper's keys that have no effect here, so that a warning can tell them from a slip of the
//! pen; and which of them guard something. Never interprets a value. Called by the reader.

use crate::config::keys::KEYS;

/// Names, or beginnings of names where they end with a dot.
const KNOWN: &[&str] = &[
    "admin.",
    "allowSaslFailedClients",
    "audit.",
    "authProvider.",
    "autopurge.purgeInterval",
    "client.",
    "closeSessionTxn.enabled",
    "cnxTimeout",
    "commitLogCount",
    "commitProcessor.",
    "connectToLearnerMasterLimit",
    "connection_throttle_",
    "datadir.autocreate",
    "db.autocreate",
    "digest.enabled",
    "DigestAuthenticationProvider.digestAlg",
    "electionAlg",
    "electionPortBindRetry",
    "emulate353TTLNodes",
    "enableEagerACLCheck",
    "enforce.auth.",
    "enforceQuota",
    "ensembleAuthName",
    "fastleader.",
    "fips-mode",
    "flushDelay",
    "follower.",
    "group.",
    "IPAuthenticationProvider.",
    "java.security.",
    "jute.maxbuffer.",
    "jvm.pause.",
    "kerberos.",
    "largeRequest",
    "leader.",
    "leaderServes",
    "learner.",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "maxBatchSize",
    "maxGetChildrenResponseCacheSize",
    "maxResponseCacheSize",
    "maxWriteQueuePollTime",
    "metricsProvider.",
    "multiAddress.",
    "netty.",
    "nio.",
    "observer.",
    "observerMasterPort",
    "oraclePath",
    "peerType",
    "portUnification",
    "quorum.",
    "quorumCnxnTimeoutMs",
    "readonlymode.enabled",
    "reconfigEnabled",
    "request_stale_",
    "request_throttle_",
    "sasl.",
    "secureClientPort",
    "secureClientPortAddress",
    "serializeLastProcessedZxid.enabled",
    "serverCnxnFactory",
    "sessionRequireClientSASLAuth",
    "skipDigest",
    "snapSizeLimitInKb",
    "snapshot.",
    "ssl.",
    "sslQuorumReloadCertFiles",
    "standaloneEnabled",
    "superUser",
    "syncEnabled",
    "throttled_op_wait_time",
    "txnLogSizeLimitInKb",
    "warnings.",
    "watchManagerName",
    "watcherClean",
    "weight.",
    "X509AuthenticationProvider.",
    "zookeeper.",
];

/// Those whose absence leaves something unprotected.
const GUARDS: &[&str] = &[
    "authProvider.",
    "client.portUnification",
    "enforce.auth.",
    "java.security.",
    "quorum.auth.",
    "secureClientPort",
    "sessionRequireClientSASLAuth",
    "ssl.",
    "X509AuthenticationProvider.",
];

/// The one warning that a key without effect is worth.
#[must_use]
pub(super) fn no_effect(name: &str) -> String {
    if matches(GUARDS, name) {
        return format!("{name} has no effect in Volery yet: nothing is guarded by it");
    }
    if matches(KNOWN, name) {
        return format!("{name} has no effect in Volery yet");
    }
    match KEYS.iter().find(|key| key.name.eq_ignore_ascii_case(name)) {
        Some(key) => format!("{name} has no effect: did you mean {}?", key.name),
        None => format!("{name} has no effect: neither ZooKeeper nor Volery knows it"),
    }
}

fn matches(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| {
        *known == name
            || (known.ends_with(['.', '_']) && name.starts_with(known))
            || (matches!(*known, "largeRequest" | "watcherClean" | "superUser")
                && name.starts_with(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_tell_known_keys_from_slips() {
        let table = [
            ("electionAlg", "electionAlg has no effect in Volery yet"),
            ("enforceQuota", "enforceQuota has no effect in Volery yet"),
            ("watcherCleanThreadsNum", "watcherCleanThreadsNum has no effect in Volery yet"),
            (
                "ssl.keyStore.location",
                "ssl.keyStore.location has no effect in Volery yet: nothing is guarded by it",
            ),
            ("ticktime", "ticktime has no effect: did you mean tickTime?"),
            ("foo", "foo has no effect: neither ZooKeeper nor Volery knows it"),
            ("", " has no effect: neither ZooKeeper nor Volery knows it"),
        ];
        for (name, expected) in table {
            assert_eq!(no_effect(name), expected);
        }
    }
}
