//! TLS between servers: both sides show a certificate of an authority that both believe. The
//! provider of the ciphers is named here and nowhere else. Made by the node from PEM files, used
//! by `link` and `inbound`.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// A file in PEM.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// What is in it.
    pub content: &'a [u8],
}

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not in PEM, or not whole.
    #[error("{file}: {problem}")]
    Malformed {
        /// Its name.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// Nothing of what is needed is in the file.
    #[error("{file} holds no {wanted} in PEM (-----BEGIN {mark}-----)")]
    Nothing {
        /// Its name.
        file: String,
        /// What it should hold.
        wanted: &'static str,
        /// How that begins.
        mark: &'static str,
    },
    /// The private key is guarded by a password.
    #[error(
        "{file}: the private key is encrypted. Write it without a password, readable by the \
         server alone: openssl pkcs8 -in {file} -out key.pem"
    )]
    EncryptedKey {
        /// Its name.
        file: String,
    },
    /// The parts are there and do not fit.
    #[error("{file}: {problem}")]
    Unusable {
        /// The file at fault, most likely.
        file: String,
        /// What is wrong.
        problem: Error,
    },
}

/// Both roles of this server.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    verify_host: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Puts certificate, key and authorities together. With `verify_host` every server, the one
    /// that is dialed and the one that dials, must show a certificate for the host of its server
    /// line: or any of them could pass for any other.
    ///
    /// # Errors
    /// A file that does not hold what it should, or a key that is not the certificate's.
    pub fn new(
        cert: Pem<'_>,
        key: Pem<'_>,
        ca: Pem<'_>,
        verify_host: bool,
    ) -> Result<Tls, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(cert)?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(ca)? {
            roots.add(authority).map_err(|problem| unusable(ca, problem))?;
        }
        let roots = Arc::new(roots);
        let of_ca = |problem: &dyn fmt::Display| unusable(ca, Error::General(problem.to_string()));
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|problem| of_ca(&problem))?;
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|problem| of_ca(&problem))?;
        let own_key = private_key(key)?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|problem| unusable(cert, problem))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain.clone(), own_key.clone_key())
            .map_err(|problem| unusable(key, problem))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|problem| unusable(cert, problem))?;
        let client = match verify_host {
            true => client.with_webpki_verifier(servers),
            false => {
                client.dangerous().with_custom_certificate_verifier(Arc::new(AnyHost(servers)))
            }
        };
        let client = client
            .with_client_auth_cert(chain, own_key)
            .map_err(|problem| unusable(key, problem))?;
        let (connector, acceptor) = (Arc::new(client).into(), Arc::new(server).into());
        Ok(Tls { connector, acceptor, verify_host })
    }

    pub(super) async fn connect(
        &self,
        host: &str,
        socket: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        self.connector.connect(server_name(host)?, socket).await
    }

    pub(super) async fn accept(
        &self,
        socket: TcpStream,
    ) -> io::Result<server::TlsStream<TcpStream>> {
        self.acceptor.accept(socket).await
    }

    /// Whether who dialed may be the server on this host, by the certificate that it showed: whose
    /// authority signed it has been looked at, and here is whom it names.
    pub(super) fn is_for_host(&self, certificate: Option<&CertificateDer<'_>>, host: &str) -> bool {
        if !self.verify_host {
            return true;
        }
        let names = |certificate, name| {
            let certificate = ParsedCertificate::try_from(certificate)?;
            verify_server_name(&certificate, name)
        };
        match (certificate, server_name(host)) {
            (Some(certificate), Ok(name)) => names(certificate, &name).is_ok(),
            _ => false,
        }
    }
}

/// A host of a server line, as a certificate would name it.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(host.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{host} is no host's name"))
        }),
    }
}

/// What went wrong with a connection, and what it most likely means.
pub(super) fn words(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    let hint = match (cause, error.kind()) {
        (Some(Error::InvalidCertificate(CertificateError::UnknownIssuer)), _) => {
            " (no authority in peer.tls.ca has signed the other server's certificate)"
        }
        (Some(Error::AlertReceived(AlertDescription::UnknownCA)), _) => {
            " (the other server does not know the authority of this one's certificate)"
        }
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            " (does the other server have peer.tls=true?)"
        }
        _ => "",
    };
    format!("{error}{hint}")
}

fn unusable(file: Pem<'_>, problem: Error) -> TlsError {
    TlsError::Unusable { file: file.name.to_owned(), problem }
}

fn malformed(file: Pem<'_>, problem: &pem::Error) -> TlsError {
    TlsError::Malformed { file: file.name.to_owned(), problem: problem.to_string() }
}

/// All certificates of a file; one at least.
fn certificates(file: Pem<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(file.content).collect();
    let found = found.map_err(|problem| malformed(file, &problem))?;
    if found.is_empty() {
        let (wanted, mark) = ("certificate", "CERTIFICATE");
        return Err(TlsError::Nothing { file: file.name.to_owned(), wanted, mark });
    }
    Ok(found)
}

fn private_key(file: Pem<'_>) -> Result<PrivateKeyDer<'static>, TlsError> {
    let name = || file.name.to_owned();
    match PrivateKeyDer::from_pem_slice(file.content) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
            if file.content.windows(encrypted.len()).any(|window| window == encrypted) {
                return Err(TlsError::EncryptedKey { file: name() });
            }
            let (wanted, mark) = ("private key", "PRIVATE KEY");
            Err(TlsError::Nothing { file: name(), wanted, mark })
        }
        Err(problem) => Err(malformed(file, &problem)),
    }
}

/// Believes the authority alone: the host that a certificate names does not matter. The name is
/// looked at last, after the chain and the dates.
#[derive(Debug)]
struct AnyHost(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
