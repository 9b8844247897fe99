//! Random requests on a small hot set of paths that lie in all partitions.
//! It knows no state of the service. Used by the clients.

use bytes::Bytes;
use volery_proto::zk::{
    AddWatchRequest, CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest,
    GetEphemeralsRequest, MultiOp, PathRequest, ReadOp, Request, SetAclRequest, SetDataRequest,
    WatchedPathRequest, WatchesRequest,
};

use crate::model::world;
use crate::prng::Prng;
use crate::profile::Profile;

/// The paths that are used most.
pub(crate) const PATHS: [&str; 14] = [
    "/a", "/a/x", "/a/y", "/a/x/1", "/b", "/b/x", "/b/y", "/c", "/c/x", "/c/y", "/d", "/e",
    "/a/x/1/2", "/b/x/1",
];

/// Makes requests; every payload is its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workload {
    payloads: u64,
    /// Requests of a steady workload, which begins with what is there.
    created: usize,
}

impl Workload {
    fn path(prng: &mut Prng) -> &'static str {
        let at = prng.below(PATHS.len() as u64).min(prng.below(PATHS.len() as u64));
        PATHS[at as usize]
    }

    fn data(&mut self, prng: &mut Prng) -> Option<Bytes> {
        self.payloads += 1;
        match prng.below(40) {
            0 => None,
            1 => Some(Bytes::new()),
            _ => Some(Bytes::from(format!("payload {}", self.payloads))),
        }
    }

    fn version(prng: &mut Prng) -> i32 {
        if prng.permille(600) { -1 } else { prng.below(3) as i32 }
    }

    fn perms(prng: &mut Prng) -> i32 {
        match prng.below(40) {
            0 => 30, // nobody may read
            1 => 29, // nobody may write
            2 => 27, // no children
            _ => 31,
        }
    }

    fn create(&mut self, prng: &mut Prng) -> CreateRequest {
        let flags = *prng.pick(&[0, 0, 0, 0, 1, 2, 3]);
        CreateRequest {
            path: match flags {
                2 | 3 => format!("{}/s-", Self::path(prng)).into(),
                _ => Self::path(prng).into(),
            },
            data: self.data(prng),
            acl: world(Self::perms(prng)),
            flags,
        }
    }

    fn create_ttl(&mut self, prng: &mut Prng) -> CreateTtlRequest {
        let CreateRequest { path, data, acl, flags } = self.create(prng);
        let flags = if matches!(flags, 2 | 3) { 6 } else { 5 };
        CreateTtlRequest { path, data, acl, flags, ttl: prng.range(1, 300) as i64 }
    }

    fn set_data(&mut self, prng: &mut Prng) -> SetDataRequest {
        let (path, version) = (Self::path(prng).into(), Self::version(prng));
        SetDataRequest { path, data: self.data(prng), version }
    }

    fn delete(prng: &mut Prng) -> DeleteRequest {
        DeleteRequest { path: Self::path(prng).into(), version: Self::version(prng) }
    }

    fn multi(&mut self, prng: &mut Prng) -> Request {
        let count = prng.range(1, 4);
        let ops = (0..count).map(|_| match prng.below(10) {
            0..=2 => {
                let create = self.create(prng);
                if prng.permille(500) { MultiOp::Create(create) } else { MultiOp::Create2(create) }
            }
            3..=6 => {
                let set = self.set_data(prng);
                MultiOp::SetData(SetDataRequest { version: -1, ..set })
            }
            7 => MultiOp::Delete(Self::delete(prng)),
            8 => MultiOp::CreateTtl(self.create_ttl(prng)),
            _ => MultiOp::Check(CheckVersionRequest {
                path: Self::path(prng).into(),
                version: Self::version(prng),
            }),
        });
        Request::Multi(ops.collect())
    }

    fn write(&mut self, prng: &mut Prng, multis: u64) -> Request {
        if prng.permille(multis) {
            return self.multi(prng);
        }
        match prng.below(20) {
            0..=3 => Request::Create(self.create(prng)),
            4..=6 => Request::Create2(self.create(prng)),
            7 => Request::CreateContainer(CreateRequest { flags: 0, ..self.create(prng) }),
            8 => Request::CreateTtl(self.create_ttl(prng)),
            9..=11 => Request::Delete(Self::delete(prng)),
            12 => Request::SetAcl(SetAclRequest {
                path: Self::path(prng).into(),
                acl: world(Self::perms(prng)),
                version: Self::version(prng),
            }),
            _ => Request::SetData(self.set_data(prng)),
        }
    }

    fn read(prng: &mut Prng, watches: u64) -> Request {
        let path = if prng.permille(30) { "/" } else { Self::path(prng) };
        let watched = WatchedPathRequest { path: path.into(), watch: prng.permille(watches) };
        match prng.below(20) {
            0..=3 => Request::Exists(watched),
            4..=8 => Request::GetData(watched),
            9 | 10 => Request::GetChildren(watched),
            11 | 12 => Request::GetChildren2(watched),
            13 => Request::GetAcl(PathRequest { path: path.into() }),
            14 => Request::GetEphemerals(GetEphemeralsRequest { prefix: None }),
            15 | 16 => {
                let count = prng.range(1, 4);
                let ops = (0..count).map(|_| {
                    let r = WatchedPathRequest { path: Self::path(prng).into(), watch: false };
                    if prng.permille(700) { ReadOp::GetData(r) } else { ReadOp::GetChildren(r) }
                });
                Request::MultiRead(ops.collect())
            }
            17 if watches > 0 => {
                let mode = prng.below(2) as i32;
                Request::AddWatch(AddWatchRequest { path: path.into(), mode })
            }
            18 if watches > 0 => {
                let watcher_type = prng.range(1, 5) as i32;
                Request::RemoveWatches(WatchesRequest { path: path.into(), watcher_type })
            }
            19 => Request::Sync(PathRequest { path: path.into() }),
            _ => Request::GetData(watched),
        }
    }

    /// Requests that touch one znode each, or two of those that only multis touch: so what one
    /// of them waits for holds up no other.
    fn steady(&mut self, prng: &mut Prng, watches: u64) -> Request {
        const SINGLE: [&str; 5] = ["/a", "/b", "/c", "/d", "/e"];
        const TOGETHER: [&str; 3] = ["/a/x", "/b/x", "/c/x"];
        let at = self.created;
        self.created += 1;
        if let Some(path) = SINGLE.iter().chain(&TOGETHER).nth(at / 3) {
            let (path, data, acl) = ((*path).into(), self.data(prng), world(31));
            return Request::Create(CreateRequest { path, data, acl, flags: 0 });
        }
        let set = |path: &str, data| SetDataRequest { path: path.into(), data, version: -1 };
        let path = *prng.pick(&SINGLE);
        match prng.below(20) {
            0..=8 => Request::SetData(set(path, self.data(prng))),
            9..=10 => {
                let skipped = prng.below(3) as usize;
                let paths = TOGETHER.iter().enumerate().filter(|(at, _)| *at != skipped);
                Request::Multi(
                    paths.map(|(_, path)| MultiOp::SetData(set(path, self.data(prng)))).collect(),
                )
            }
            _ => Request::GetData(WatchedPathRequest {
                path: path.into(),
                watch: prng.permille(watches),
            }),
        }
    }

    /// A client's next request.
    pub(crate) fn next(&mut self, prng: &mut Prng, profile: &Profile) -> Request {
        if profile.steady {
            return self.steady(prng, profile.watches);
        }
        if prng.permille(8) {
            return Request::CloseSession;
        }
        if prng.permille(profile.writes) {
            self.write(prng, profile.multis)
        } else {
            Self::read(prng, profile.watches)
        }
    }

    /// What a client asks for at the end: it must see everything that was ever acknowledged.
    pub(crate) fn last_words() -> Vec<Request> {
        let mut requests = vec![Request::Sync(PathRequest { path: "/".into() })];
        for path in PATHS {
            let path: bytestring::ByteString = path.into();
            let watched = WatchedPathRequest { path, watch: false };
            requests.push(Request::GetData(watched.clone()));
            requests.push(Request::GetChildren2(watched));
        }
        requests
    }
}
