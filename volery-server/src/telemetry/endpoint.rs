//! The Prometheus endpoint: just enough HTTP/1.1 to answer GET /metrics, with a bound on the
//! request's head, on time and on connections. Serves nothing else, reads no body. Run as a task
//! by `node`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::MetricsConfig;

/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 8 << 10;
/// For the whole of one connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at once; a scraper needs one. Further ones are closed at once.
const MAX_CONNECTIONS: usize = 32;
/// After a failed accept (no more file descriptors), so that the task does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the text comes from.
pub trait Source: Send + Sync + 'static {
    /// All metrics as they are now.
    fn metrics(&self) -> impl Future<Output = String> + Send;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Head,
}

/// Why the endpoint does not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "metricsProvider.httpHost and httpPort: cannot listen on {host}:{port}: {source} \
     (metricsProvider.httpPort=0 turns the endpoint off)"
)]
pub struct EndpointError {
    host: String,
    port: u16,
    source: std::io::Error,
}

/// A listener of the metrics port.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    /// Listens, unless the port is 0.
    ///
    /// # Errors
    /// What the system says, with the address.
    pub async fn bind(config: &MetricsConfig) -> Result<Option<Endpoint>, EndpointError> {
        if config.port == 0 {
            return Ok(None);
        }
        let (host, port) = (config.host.clone(), config.port);
        match TcpListener::bind((host.as_str(), port)).await {
            Ok(listener) => Ok(Some(Endpoint { listener })),
            Err(source) => Err(EndpointError { host, port, source }),
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until told to stop.
    pub async fn serve(self, source: Arc<impl Source>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the metrics endpoint cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (source, stop) = (Arc::clone(&source), stop.clone());
            tokio::spawn(async move {
                // A scraper that fails is its own to know: neither errors nor time-outs are news.
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = timeout(TIMEOUT, answer(stream, &*source)) => {}
                }
                drop(place);
            });
        }
    }
}

/// One request, one reply, and the end of the connection.
async fn answer(mut stream: TcpStream, source: &impl Source) -> std::io::Result<()> {
    let mut head = Vec::new();
    let complete = loop {
        if is_complete(&head) {
            break true;
        }
        if head.len() >= MAX_HEAD_BYTES {
            break false;
        }
        let room = (MAX_HEAD_BYTES - head.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let reply = match target(&head) {
        _ if !complete => too_long(),
        Ok(method) => found(method, &source.metrics().await),
        Err(refusal) => refusal,
    };
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await?;
    // What is left unread would reset the connection before the reply is read.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn is_complete(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n")
}

/// The method, if it is a request for the metrics; else the reply.
fn target(head: &[u8]) -> Result<Method, String> {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !words.next().unwrap_or_default().starts_with("HTTP/1.") {
        return Err(text("400 Bad Request", "", "not HTTP/1\n", true));
    }
    let path = target.split('?').next().unwrap_or_default();
    match (method, path) {
        ("GET", "/metrics") => Ok(Method::Get),
        ("HEAD", "/metrics") => Ok(Method::Head),
        ("GET" | "HEAD", _) => {
            Err(text("404 Not Found", "", "there is only /metrics\n", method == "GET"))
        }
        _ => Err(text(
            "405 Method Not Allowed",
            "Allow: GET, HEAD\r\n",
            "only GET is served\n",
            true,
        )),
    }
}

fn found(method: Method, metrics: &str) -> String {
    // The version of the text format that Prometheus asks for.
    let kind = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
    text("200 OK", kind, metrics, method == Method::Get)
}

fn too_long() -> String {
    text("431 Request Header Fields Too Large", "", "the head is too long\n", true)
}

fn text(status: &str, headers: &str, body: &str, with_body: bool) -> String {
    let length = body.len();
    let body = if with_body { body } else { "" };
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_http() {
        let ask = |head: &str| match target(head.as_bytes()) {
            Ok(method) => found(method, "a 1\n"),
            Err(refusal) => refusal,
        };
        let found = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
                     Content-Length: 4\r\nConnection: close\r\n\r\n";
        assert_eq!(ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"), format!("{found}a 1\n"));
        assert_eq!(ask("GET /metrics?name=x HTTP/1.0\n\n"), format!("{found}a 1\n"));
        assert_eq!(ask("HEAD /metrics HTTP/1.1\r\n\r\n"), found);
        let table = [
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n"),
            ("GET /metricsx HTTP/1.1\r\n\r\n", "HTTP/1.1 404 Not Found\r\n"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n"),
            ("GET /metrics\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
            ("\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ];
        for (head, expected) in table {
            assert!(ask(head).starts_with(expected), "{head:?}");
        }
    }

    struct One;

    impl Source for One {
        async fn metrics(&self) -> String {
            "a 1\n".to_owned()
        }
    }

    async fn exchange(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("the endpoint listens");
        stream.write_all(request).await.expect("the endpoint reads");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.expect("the endpoint closes in order");
        String::from_utf8_lossy(&reply).into_owned()
    }

    #[tokio::test]
    async fn metrics_are_served_and_long_heads_refused() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let endpoint = Endpoint { listener };
        let address = endpoint.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let served = tokio::spawn(endpoint.serve(Arc::new(One), stop.clone()));

        let reply = exchange(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
        assert!(reply.ends_with("\r\n\r\na 1\n"), "{reply}");
        let long = vec![b'a'; MAX_HEAD_BYTES];
        let reply = exchange(address, &long).await;
        assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");

        stop.cancel();
        served.await.expect("the task ends");
    }

    #[tokio::test]
    async fn port_0_is_off_and_a_taken_port_is_told() {
        let off = MetricsConfig { host: "127.0.0.1".to_owned(), port: 0 };
        assert!(matches!(Endpoint::bind(&off).await, Ok(None)));
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let config = MetricsConfig { host: "127.0.0.1".to_owned(), port };
        let error = Endpoint::bind(&config).await.map(|_| ()).map_err(|error| error.to_string());
        let expected = format!("cannot listen on 127.0.0.1:{port}: ");
        assert!(error.is_err_and(|text| text.contains(&expected)));
    }
}
