//! An asynchronous client of ZooKeeper's protocol: a cheap handle in front of a session task.
//!
//! It never retries a write by itself: a lost connection is reported, and the caller decides.
//! Called by the commands.

pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod error;
pub(crate) mod operations;
pub(crate) mod session;
pub(crate) mod walk;
pub(crate) mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::{mpsc, oneshot};
use volery_proto::jute::{DecodeError, Jute, Reader};
use volery_proto::zk::Request;

use address::Servers;
use error::ClientError;
use session::{Call, Ended, Reply, Session};
use watch::Event;

/// Calls that wait for the session task.
const CALL_QUEUE: usize = 1024;
/// Events that wait for their reader.
const EVENT_QUEUE: usize = 64 << 10;

/// How to reach the service.
#[derive(Clone, Debug)]
pub(crate) struct ClientOptions {
    pub(crate) servers: Servers,
    /// Session time-out to ask for, and the longest wait for a connection.
    pub(crate) timeout: Duration,
    /// (scheme, data), sent on every connection.
    pub(crate) auth: Vec<(String, String)>,
}

/// A session of the service. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    calls: mpsc::Sender<Call>,
    ended: Arc<OnceLock<Ended>>,
    chroot: Arc<str>,
    session: i64,
}

/// A request that is on its way. Answers come in the order of the requests.
#[derive(Debug)]
pub(crate) struct Pending {
    reply: oneshot::Receiver<Result<Reply, ClientError>>,
    path: String,
}

impl Client {
    /// Opens a session at the first server that takes it.
    pub(crate) async fn connect(
        options: ClientOptions,
    ) -> Result<(Client, mpsc::Receiver<Event>), ClientError> {
        let (calls, call_queue) = mpsc::channel(CALL_QUEUE);
        let (event_queue, events) = mpsc::channel(EVENT_QUEUE);
        let ended = Arc::new(OnceLock::new());
        let chroot: Arc<str> = options.servers.chroot.as_str().into();
        let mut session = Session::new(options, call_queue, event_queue, Arc::clone(&ended));
        let connection = session.connect().await?;
        let id = session.credentials.session;
        tokio::spawn(session.run(connection));
        Ok((Client { calls, ended, chroot, session: id }, events))
    }

    /// Its id.
    pub(crate) fn session(&self) -> i64 {
        self.session
    }

    /// Puts a request on its way and returns: await the answers in order to pipeline.
    /// `path` is for error messages; the request's own paths are full ones.
    pub(crate) async fn start(&self, path: &str, request: Request) -> Result<Pending, ClientError> {
        let (sender, reply) = oneshot::channel();
        match self.calls.send(Call { request, reply: sender }).await {
            Ok(()) => Ok(Pending { reply, path: path.to_owned() }),
            Err(_) => Err(self.end_error()),
        }
    }

    /// Ends the session: its ephemerals go.
    pub(crate) async fn close(&self) -> Result<(), ClientError> {
        self.start("", Request::CloseSession).await?.done().await
    }

    /// Waits until the session ends by itself: expired, or its credentials refused.
    pub(crate) async fn ended(&self) {
        self.calls.closed().await;
    }

    /// Why it ended.
    pub(crate) fn end_error(&self) -> ClientError {
        session::end_error(self.ended.get().copied().unwrap_or(Ended::Closed), self.session)
    }

    /// A path of the user, with the chroot in front.
    pub(crate) fn full(&self, path: &str) -> ByteString {
        match (self.chroot.is_empty(), path) {
            (true, _) => path.into(),
            (false, "/") => self.chroot.as_ref().into(),
            _ => format!("{}{path}", self.chroot).into(),
        }
    }

    /// A path of the server, without the chroot.
    pub(crate) fn local(&self, path: &str) -> String {
        session::strip(&self.chroot, path)
    }
}

impl Pending {
    /// The answer, decoded by `read`.
    pub(crate) async fn decode_with<T>(
        self,
        read: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<T, ClientError> {
        let reply = self.reply.await.map_err(|_| ClientError::Closed)??;
        if reply.err != 0 {
            return Err(ClientError::Server { code: reply.err, path: self.path });
        }
        read(&mut Reader::new(reply.body)).map_err(|e| ClientError::decode(&reply.address, &e))
    }

    /// The answer's record.
    pub(crate) async fn decode<T: Jute>(self) -> Result<T, ClientError> {
        self.decode_with(T::read).await
    }

    /// An answer without a body that matters.
    pub(crate) async fn done(self) -> Result<(), ClientError> {
        self.decode_with(|_| Ok(())).await
    }
}
