//! Reads the keys of TLS between servers, Volery's and ZooKeeper's, and the files they name. It
//! opens no connection and understands no certificate: the peer port does. Called by `read`.

use std::path::{Path, PathBuf};

use super::{ConfigError, PeerTls, PemFile, ReadFile};
use crate::config::error::Place;
use crate::config::values::{Setting, Values};

/// `None` where it is off.
pub(super) fn read(
    file: Option<&str>,
    values: &mut Values,
    read: ReadFile<'_>,
) -> Result<Option<PeerTls>, ConfigError> {
    let is_on = match (values.setting("peer.tls"), values.setting("sslQuorum")) {
        (Some(own), Some(theirs)) if !own.value.eq_ignore_ascii_case(&theirs.value) => {
            let problem = format!("sslQuorum={} says the opposite", theirs.value);
            return Err(own.refuse(problem));
        }
        _ => values.flag("peer.tls") || values.flag("sslQuorum"),
    };
    if !is_on {
        warn_unused(values);
        return Ok(None);
    }
    let pem = |key: &'static str, store: &'static str, why: &'static str| {
        let setting = match values.setting(key) {
            Some(setting) => setting,
            None => of_store(values, store)?.ok_or_else(|| ConfigError::Missing {
                file: file.unwrap_or("the configuration").to_owned(),
                key,
                why,
            })?,
        };
        read_pem(setting, read)
    };
    let key_store = "ssl.quorum.keyStore";
    Ok(Some(PeerTls {
        cert: pem("peer.tls.cert", key_store, "the PEM file of this server's certificate")?,
        key: pem("peer.tls.key", key_store, "the PEM file of its private key")?,
        ca: pem("peer.tls.ca", "ssl.quorum.trustStore", "the PEM file of the authority")?,
        verify_host: values.flag("ssl.quorum.hostnameVerification"),
    }))
}

/// ZooKeeper's store, if it is in PEM: by its type, else by its name, as ZooKeeper itself finds it.
fn of_store<'a>(values: &'a Values, store: &str) -> Result<Option<&'a Setting>, ConfigError> {
    let Some(location) = values.setting(&format!("{store}.location")) else { return Ok(None) };
    let is_pem = match values.text(&format!("{store}.type")) {
        Some(kind) => kind.eq_ignore_ascii_case("PEM"),
        None => has_ending(&location.value, "pem"),
    };
    if is_pem {
        return Ok(Some(location));
    }
    let name = &location.value;
    let from_jks = format!(
        "`keytool -importkeystore -srckeystore {name} -destkeystore peer.p12 -deststoretype \
         PKCS12`, then "
    );
    let (first, store) = match has_ending(name, "p12") || has_ending(name, "pfx") {
        true => ("", name.as_str()),
        false => (from_jks.as_str(), "peer.p12"),
    };
    Err(location.refuse(format!(
        "Volery reads PEM only. Convert it by {first}`openssl pkcs12 -in {store} -nodes -out \
         peer.pem`, and name that file"
    )))
}

fn has_ending(name: &str, ending: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

fn read_pem(setting: &Setting, read: ReadFile<'_>) -> Result<PemFile, ConfigError> {
    let path = PathBuf::from(&setting.value);
    match read(&path) {
        Ok(content) => Ok(PemFile { path, content }),
        Err(error) => Err(setting.refuse(format!("this file cannot be read: {error}"))),
    }
}

/// Whoever names certificates and forgets to switch them on believes to be guarded.
fn warn_unused(values: &mut Values) {
    let named = ["peer.tls.cert", "peer.tls.key", "peer.tls.ca"];
    let stores = ["ssl.quorum.keyStore.location", "ssl.quorum.trustStore.location"];
    let found = named.iter().chain(&stores).filter_map(|name| values.setting(name));
    let found: Vec<(Place, String)> =
        found.map(|setting| (setting.place.clone(), setting.key.clone())).collect();
    for (place, key) in found {
        values.warn(&place, format!("{key} has no effect without peer.tls=true"));
    }
}
