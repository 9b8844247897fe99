//! Work on whole subtrees with bounded pipelining: reading them, and deleting them.
//! It never has more than a window of requests on the way.
//! Called by ls -R, tree, delete -R and the load generator's clean-up.

use std::collections::VecDeque;

use volery_proto::jute::{Jute, Reader};
use volery_proto::path::join;
use volery_proto::zk::{ErrorCode, GetChildren2Response, Stat};

use super::Client;
use super::error::ClientError;

/// Requests on the way at once.
const WINDOW: usize = 256;
/// How often a delete walks again because others create below it.
const DELETE_ROUNDS: usize = 5;

/// A znode of a subtree.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) path: String,
    /// Below the start.
    pub(crate) depth: usize,
    pub(crate) stat: Stat,
}

/// All znodes at and below `root` (to `max_depth`), parents before children, level by level.
/// Znodes that go meanwhile are left out. `progress` hears how many were found so far.
pub(crate) async fn walk(
    client: &Client,
    root: &str,
    max_depth: usize,
    mut progress: impl FnMut(usize),
) -> Result<Vec<Node>, ClientError> {
    let mut found = Vec::new();
    let mut todo = VecDeque::from([(root.to_owned(), 0)]);
    let mut on_the_way = VecDeque::new();
    loop {
        while on_the_way.len() < WINDOW {
            let Some((path, depth)) = todo.pop_front() else { break };
            // At the last level the names would be read for nothing.
            let pending = match depth < max_depth {
                true => client.start_children(&path).await?,
                false => client.start_stat(&path).await?,
            };
            on_the_way.push_back((path, depth, pending));
        }
        let Some((path, depth, pending)) = on_the_way.pop_front() else { return Ok(found) };
        let last = depth == max_depth;
        let read = |r: &mut Reader| match last {
            true => Stat::read(r).map(|stat| GetChildren2Response { children: Vec::new(), stat }),
            false => GetChildren2Response::read(r),
        };
        let GetChildren2Response { mut children, stat } = match pending.decode_with(read).await {
            Ok(response) => response,
            Err(error) if depth > 0 && error.code() == Some(ErrorCode::NoNode) => continue,
            Err(error) => return Err(error),
        };
        children.sort_unstable();
        todo.extend(children.iter().map(|name| (join(&path, name), depth + 1)));
        found.push(Node { path, depth, stat });
        progress(found.len());
    }
}

/// Deletes `root` and all below it, children before parents; returns how many went.
/// `progress` hears the number of deleted znodes and of all that were found.
pub(crate) async fn delete_all(
    client: &Client,
    root: &str,
    mut progress: impl FnMut(usize, usize),
) -> Result<usize, ClientError> {
    let mut deleted = 0;
    for round in 1.. {
        let nodes = walk(client, root, usize::MAX, |found| progress(deleted, found)).await?;
        let total = deleted + nodes.len();
        let mut left = nodes.iter().rev().map(|node| node.path.as_str());
        let mut on_the_way = VecDeque::new();
        let mut refilled = None;
        loop {
            while on_the_way.len() < WINDOW {
                let Some(path) = left.next() else { break };
                on_the_way.push_back((path, client.start_delete(path, -1).await?));
            }
            let Some((path, pending)) = on_the_way.pop_front() else { break };
            match pending.done().await {
                Ok(()) => deleted += 1,
                Err(error) if error.code() == Some(ErrorCode::NotEmpty) => refilled = Some(error),
                Err(error) if error.code() == Some(ErrorCode::NoNode) && path != root => {}
                Err(error) => return Err(error),
            }
            progress(deleted, total);
        }
        match refilled {
            None => return Ok(deleted),
            Some(error) if round == DELETE_ROUNDS || error.code().is_none() => return Err(error),
            Some(_) => {}
        }
    }
    Ok(deleted)
}
