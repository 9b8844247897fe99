//! One TCP connection with its handshake done: raw frames in and out.
//! It never reconnects and knows neither xids nor watches.
//! Called by the session, and by the load generator for its raw sessions.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use volery_proto::jute::frame::{Frame, Framer};
use volery_proto::jute::{Jute, Reader, Writer};
use volery_proto::zk::{ConnectRequest, ConnectResponse};

/// Longest reply that is accepted: servers do not limit their replies by `jute.maxbuffer`.
pub(crate) const MAX_REPLY_BYTES: usize = 256 << 20;

/// What a client shows to come back to its session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// 0: a new session.
    pub(crate) session: i64,
    pub(crate) password: Bytes,
    /// Highest zxid that the client saw in a reply.
    pub(crate) last_zxid: i64,
}

/// A connection after its handshake.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: String,
    pub(crate) stream: TcpStream,
    /// Bytes that arrived and are not yet cut into frames.
    pub(crate) input: BytesMut,
    /// What the server granted. `timeout_ms` is 0 where the session is gone.
    pub(crate) granted: ConnectResponse,
}

impl Connection {
    /// Connects to one server and shakes hands, all within `limit`.
    pub(crate) async fn open(
        address: &str,
        credentials: &Credentials,
        session_timeout: Duration,
        limit: Duration,
    ) -> io::Result<Connection> {
        match timeout(limit, Self::shake_hands(address, credentials, session_timeout)).await {
            Ok(result) => result,
            Err(_) => {
                let text = format!("no answer within {}", humantime::format_duration(limit));
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    async fn shake_hands(
        address: &str,
        credentials: &Credentials,
        session_timeout: Duration,
    ) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&connect_frame(credentials, session_timeout)).await?;
        let mut input = BytesMut::with_capacity(16 << 10);
        let frame = loop {
            if let Some(frame) = next_frame(&mut input)? {
                break frame;
            }
            if stream.read_buf(&mut input).await? == 0 {
                let text = "the server closed the connection during the handshake \
                            (not serving, or it does not know our last zxid)";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
        };
        let granted = ConnectResponse::read(&mut Reader::new(frame)).map_err(io::Error::other)?;
        Ok(Connection { address: address.to_owned(), stream, input, granted })
    }
}

/// The handshake's first frame.
fn connect_frame(credentials: &Credentials, session_timeout: Duration) -> Bytes {
    let password = match credentials.password.is_empty() {
        true => Bytes::from_static(&[0; 16]),
        false => credentials.password.clone(),
    };
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: credentials.last_zxid,
        timeout_ms: i32::try_from(session_timeout.as_millis()).unwrap_or(i32::MAX),
        session: credentials.session,
        password: Some(password),
        read_only: Some(false),
    };
    let mut w = Writer::new();
    w.frame(|w| request.write(w));
    w.finish()
}

/// The next frame of the bytes that arrived, if it is whole.
pub(crate) fn next_frame(input: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let framer = Framer { max: MAX_REPLY_BYTES, words: false };
    match framer.next(input) {
        Ok(Some(Frame::Message(frame))) => Ok(Some(frame)),
        Ok(Some(Frame::Word(_)) | None) => Ok(None),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}
