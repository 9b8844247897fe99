//! TLS between servers: who is let in by whose authority, what is said to whoever is not, and PEM
//! files that do not hold what they should.

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// An authority, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for a host.
    fn sign(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([host.to_owned()]).expect("a name");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        (cert.pem(), key.serialize_pem())
    }

    fn tls(&self, host: &str, verify_host: bool) -> Tls {
        let (cert, key) = self.sign(host);
        made(&cert, &key, &self.pem, verify_host).expect("they fit")
    }
}

fn made(cert: &str, key: &str, ca: &str, verify_host: bool) -> Result<Tls, TlsError> {
    let pem = |name, content: &'static str| Pem { name, content: content.as_bytes() };
    // Names in messages live as long as the texts: leaked, it is a test.
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    Tls::new(
        pem("cert.pem", leak(cert)),
        pem("key.pem", leak(key)),
        pem("ca.pem", leak(ca)),
        verify_host,
    )
}

fn guarded(me: u8, tls: Option<Tls>) -> PeerPortOptions {
    PeerPortOptions { tls, ..options(me) }
}

const HERE: &str = "127.0.0.1";

#[tokio::test]
async fn servers_of_one_authority_talk() {
    let authority = Authority::new("ours");
    let tls = || Some(authority.tls(HERE, true));
    let (mut one, mut two) = pair(guarded(1, tls()), guarded(2, tls()));
    one.all_connected(Way::Out).await;
    for n in 0..100 {
        assert!(one.handle.send(ServerId(2), Lane::Ring, n, Bytes::from(vec![n; 100_000])));
    }
    let found = two.frames(Lane::Ring, 100).await;
    let is_whole = |(n, (kind, body)): (u8, &Frame)| *kind == n && *body == vec![n; 100_000];
    assert!((0..).zip(&found).all(is_whole) && found.len() == 100);
}

#[tokio::test]
async fn servers_of_another_authority_are_refused() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (one, two) =
        pair(guarded(1, Some(theirs.tls(HERE, true))), guarded(2, Some(ours.tls(HERE, true))));
    one.trouble("server 1 cannot connect to server 2").await;
    one.trouble("TLS: invalid peer certificate: UnknownIssuer (no authority in peer.tls.ca").await;
    two.trouble("is refused: TLS: received fatal alert: UnknownCA (the other server does not")
        .await;

    // One that believes ours, and has nothing that ours signed: the dialed server must object, and
    // nobody dials the other way.
    let (cert, key) = theirs.sign(HERE);
    let intruder = made(&cert, &key, &ours.pem, true).expect("they fit");
    let mut intruder = bind(guarded(1, Some(intruder)));
    let two = bind(guarded(2, Some(ours.tls(HERE, true))));
    direct(&mut intruder, 2, port_of(&two));
    let (intruder, two) = (Server::start(intruder), Server::start(two));
    let said = intruder.trouble("TLS: received fatal alert: UnknownCA (the other server").await;
    assert!(said.starts_with("server 1 cannot connect to server 2 "), "{said}");
    let said = two.trouble("TLS: invalid peer certificate: UnknownIssuer").await;
    assert!(said.starts_with("a connection from 127.0.0.1 is refused: "), "{said}");
    assert_eq!((intruder.handle.connected().len(), two.handle.connected().len()), (0, 0));
}

#[tokio::test]
async fn tls_on_one_side_only_is_refused_in_words() {
    let authority = Authority::new("ours");
    let (plain, tls) = pair(guarded(1, None), guarded(2, Some(authority.tls(HERE, true))));
    let words = "server 2 demands TLS and server 1 does not use it: peer.tls differs";
    plain.trouble(&format!("it refuses: {words}")).await;
    tls.trouble(words).await;
    plain.trouble("it uses TLS, which is off here: peer.tls differs").await;
    tls.trouble("(does the other server have peer.tls=true?)").await;
}

#[tokio::test]
async fn certificates_for_another_host_are_refused_if_hosts_are_verified() {
    let authority = Authority::new("ours");
    let elsewhere = |verify| Some(authority.tls("zoo9.example", verify));
    let (one, _two) = pair(guarded(1, elsewhere(true)), guarded(2, elsewhere(true)));
    one.trouble("TLS: invalid peer certificate: certificate not valid for name").await;
    let (mut one, _two) = pair(guarded(1, elsewhere(false)), guarded(2, elsewhere(false)));
    one.all_connected(Way::Out).await;
    // The authority counts all the same.
    let other = Authority::new("theirs");
    let (one, _two) =
        pair(guarded(1, elsewhere(false)), guarded(2, Some(other.tls("zoo9.example", false))));
    one.trouble("TLS: invalid peer certificate: UnknownIssuer").await;
}

/// Every server has a certificate that the others believe. It must not do to pass for another one:
/// who dials is held to the host of the server that it says it is, like who is dialed.
#[tokio::test]
async fn a_server_with_the_certificate_of_another_host_is_not_believed() {
    let authority = Authority::new("ours");
    // Server 3 is elsewhere, and says here that it is server 1.
    let dial = |verify: bool, verified_there: bool| {
        let mut one = bind(guarded(1, Some(authority.tls("zoo3.example", verify))));
        let two = bind(guarded(2, Some(authority.tls(HERE, verified_there))));
        direct(&mut one, 2, port_of(&two));
        (Server::start(one), Server::start(two))
    };
    let (one, two) = dial(true, true);
    let words = "the certificate is not for 127.0.0.1, the host of server 1 in the server lines";
    one.trouble(&format!("it refuses: {words}")).await;
    two.trouble(&format!("server 1 from 127.0.0.1 is refused: {words}")).await;
    assert_eq!((one.handle.connected().len(), two.handle.connected().len()), (0, 0));
    // Whoever does not verify hosts does not.
    let (mut one, _two) = dial(true, false);
    one.all_connected(Way::Out).await;
}

#[test]
fn files_that_do_not_hold_what_they_should_are_named() {
    let authority = Authority::new("ours");
    let (cert, key) = authority.sign(HERE);
    let (_, other_key) = authority.sign(HERE);
    let said = |cert: &str, key: &str, ca: &str| match made(cert, key, ca, true) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    };
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let ca = authority.pem.as_str();
    // One file may hold both, as ZooKeeper's key stores in PEM do.
    let both = format!("{key}{cert}");
    assert_eq!(said(&both, &both, ca), "accepted");
    let table = [
        (said("", &key, ca), "cert.pem holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        (said(&cert, &cert, ca), "key.pem holds no private key in PEM (-----BEGIN PRIVATE KEY"),
        (said(&cert, encrypted, ca), "key.pem: the private key is encrypted. Write it without"),
        (said(&cert, &key, "nonsense"), "ca.pem holds no certificate in PEM"),
        (said(&cert, &other_key, ca), "key.pem: keys may not be consistent: KeyMismatch"),
        (said(&cert[..200], &key, ca), "cert.pem: "),
    ];
    for (found, expected) in table {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}
