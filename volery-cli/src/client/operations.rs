//! The operations of the protocol as methods: paths below the chroot in, records out.
//! It holds no state and decides nothing.
//! Called by the commands.

use bytes::Bytes;
use volery_proto::jute::Jute;
use volery_proto::zk::{
    Acl, AddWatchRequest, Create2Response, CreateRequest, CreateTtlRequest, DeleteRequest,
    GetAclResponse, GetChildren2Response, GetDataResponse, GetEphemeralsRequest,
    GetEphemeralsResponse, MultiOp, MultiResult, PathRequest, Request, SetAclRequest,
    SetDataRequest, Stat, WatchedPathRequest, WhoAmIResponse,
};

use super::error::ClientError;
use super::watch::WatchMode;
use super::{Client, Pending};

/// What kind of znode to create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CreateMode {
    pub(crate) ephemeral: bool,
    pub(crate) sequential: bool,
    pub(crate) container: bool,
    /// Time to live in milliseconds.
    pub(crate) ttl_ms: Option<i64>,
}

/// Flag bits of a create.
const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;
const CONTAINER: i32 = 4;
const TTL: i32 = 5;

impl CreateMode {
    /// The operation of a multi that creates this; as a request of its own it has the same body.
    pub(crate) fn operation(self, create: CreateRequest) -> MultiOp {
        let CreateRequest { path, data, acl, .. } = create;
        if let Some(ttl) = self.ttl_ms {
            let flags = TTL + i32::from(self.sequential);
            return MultiOp::CreateTtl(CreateTtlRequest { path, data, acl, flags, ttl });
        }
        if self.container {
            return MultiOp::CreateContainer(CreateRequest { path, data, acl, flags: CONTAINER });
        }
        let ephemeral = if self.ephemeral { EPHEMERAL } else { 0 };
        let flags = ephemeral | if self.sequential { SEQUENTIAL } else { 0 };
        MultiOp::Create2(CreateRequest { path, data, acl, flags })
    }

    fn request(self, create: CreateRequest) -> Request {
        match self.operation(create) {
            MultiOp::CreateTtl(create) => Request::CreateTtl(create),
            MultiOp::CreateContainer(create) => Request::CreateContainer(create),
            MultiOp::Create2(create) => Request::Create2(create),
            other => Request::Multi(vec![other]),
        }
    }
}

impl Client {
    async fn call<T: Jute>(&self, path: &str, request: Request) -> Result<T, ClientError> {
        self.start(path, request).await?.decode().await
    }

    fn watched(&self, path: &str) -> WatchedPathRequest {
        WatchedPathRequest { path: self.full(path), watch: false }
    }

    /// Data and Stat.
    pub(crate) async fn get(&self, path: &str) -> Result<GetDataResponse, ClientError> {
        self.call(path, Request::GetData(self.watched(path))).await
    }

    /// Asks for the Stat.
    pub(crate) async fn start_stat(&self, path: &str) -> Result<Pending, ClientError> {
        self.start(path, Request::Exists(self.watched(path))).await
    }

    /// Stat.
    pub(crate) async fn stat(&self, path: &str) -> Result<Stat, ClientError> {
        self.start_stat(path).await?.decode().await
    }

    /// Asks for names of the children and Stat.
    pub(crate) async fn start_children(&self, path: &str) -> Result<Pending, ClientError> {
        self.start(path, Request::GetChildren2(self.watched(path))).await
    }

    /// Names of the children and Stat.
    pub(crate) async fn children(&self, path: &str) -> Result<GetChildren2Response, ClientError> {
        self.start_children(path).await?.decode().await
    }

    /// Replaces the data.
    pub(crate) async fn set(
        &self,
        path: &str,
        data: Bytes,
        version: i32,
    ) -> Result<Stat, ClientError> {
        let request = SetDataRequest { path: self.full(path), data: Some(data), version };
        self.call(path, Request::SetData(request)).await
    }

    /// Creates a znode; returns its final path and Stat.
    pub(crate) async fn create(
        &self,
        path: &str,
        data: Option<Bytes>,
        acl: Vec<Acl>,
        mode: CreateMode,
    ) -> Result<(String, Stat), ClientError> {
        let create = CreateRequest { path: self.full(path), data, acl, flags: 0 };
        let made: Create2Response = self.call(path, mode.request(create)).await?;
        Ok((self.local(&made.path), made.stat))
    }

    /// Asks for a delete.
    pub(crate) async fn start_delete(
        &self,
        path: &str,
        version: i32,
    ) -> Result<Pending, ClientError> {
        let request = DeleteRequest { path: self.full(path), version };
        self.start(path, Request::Delete(request)).await
    }

    /// ACL and Stat.
    pub(crate) async fn get_acl(&self, path: &str) -> Result<GetAclResponse, ClientError> {
        self.call(path, Request::GetAcl(PathRequest { path: self.full(path) })).await
    }

    /// Replaces the ACL.
    pub(crate) async fn set_acl(
        &self,
        path: &str,
        acl: Vec<Acl>,
        version: i32,
    ) -> Result<Stat, ClientError> {
        let request = SetAclRequest { path: self.full(path), acl, version };
        self.call(path, Request::SetAcl(request)).await
    }

    /// Waits until this server has all that was written before.
    pub(crate) async fn sync(&self, path: &str) -> Result<(), ClientError> {
        let request = Request::Sync(PathRequest { path: self.full(path) });
        self.start(path, request).await?.done().await
    }

    /// Several writes, all or nothing; `operations` have full paths.
    pub(crate) async fn multi(
        &self,
        operations: Vec<MultiOp>,
    ) -> Result<Vec<MultiResult>, ClientError> {
        let pending = self.start("the multi", Request::Multi(operations)).await?;
        pending.decode_with(MultiResult::read_all).await
    }

    /// Identities of the connection.
    pub(crate) async fn who_am_i(&self) -> Result<WhoAmIResponse, ClientError> {
        self.call("whoAmI", Request::WhoAmI).await
    }

    /// Ephemerals of this session below a path.
    pub(crate) async fn ephemerals(&self, path: &str) -> Result<Vec<String>, ClientError> {
        let request = GetEphemeralsRequest { prefix: Some(self.full(path)) };
        let found: GetEphemeralsResponse = self.call(path, Request::GetEphemerals(request)).await?;
        Ok(found.ephemerals.iter().map(|path| self.local(path)).collect())
    }

    /// Registers a persistent watch; events come on the session's stream.
    pub(crate) async fn add_watch(&self, path: &str, mode: WatchMode) -> Result<(), ClientError> {
        let request = AddWatchRequest { path: self.full(path), mode: mode as i32 };
        self.start(path, Request::AddWatch(request)).await?.done().await
    }
}
