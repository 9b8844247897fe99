//! An auth request: credentials in, proved identities out.
//! Never closes a connection and never logs a credential: the front end acts on the result.
//! Called by the front end for opcode 100.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use sha1::{Digest as _, Sha1};
use volery_proto::zk::{AuthPacket, ErrorCode, Id};

use super::scheme;

/// What the server's configuration and the connection say about authentication.
#[derive(Clone, Copy, Debug)]
pub struct AuthConfig<'a> {
    /// The digest provider can be switched off.
    pub digest_enabled: bool,
    /// `DigestAuthenticationProvider.superDigest`: `user:BASE64(SHA1(user:password))`.
    pub super_digest: Option<&'a str>,
    /// The connection's remote address, as text.
    pub remote_address: &'a str,
}

/// The identities that a packet proves; they add to those the connection has.
///
/// # Errors
/// `AuthFailed`: an unknown scheme, or one that is switched off or cannot be proved this way.
pub fn authenticate(packet: &AuthPacket, config: &AuthConfig) -> Result<Vec<Id>, ErrorCode> {
    let id = |scheme: &'static str, id: &str| Id {
        scheme: ByteString::from_static(scheme),
        id: id.into(),
    };
    match packet.scheme.as_ref() {
        scheme::DIGEST if config.digest_enabled => {
            let credentials = packet.auth.as_deref().ok_or(ErrorCode::AuthFailed)?;
            let digest = digest_of(&String::from_utf8_lossy(credentials));
            let mut proved = Vec::with_capacity(2);
            if config.super_digest == Some(digest.as_str()) {
                proved.push(id(scheme::SUPER, ""));
            }
            proved.push(id(scheme::DIGEST, &digest));
            Ok(proved)
        }
        scheme::IP => Ok(vec![id(scheme::IP, config.remote_address)]),
        _ => Err(ErrorCode::AuthFailed),
    }
}

/// The digest scheme's id of `user:password`: the user, and the hash of the whole string.
#[must_use]
pub fn digest_of(credentials: &str) -> String {
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{user}:{}", STANDARD.encode(Sha1::digest(credentials.as_bytes())))
}
