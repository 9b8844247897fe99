//! Znodes in bulk: those that the load works on, and trees for memory and restart figures.
//! It measures only how long it took.
//! Called by `bench::run`, before the load.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, anyhow};
use tokio::task::JoinSet;
use volery_proto::zk::{ErrorCode, Request};

use super::load::Load;
use super::plan::{create, node_path, payload, root_path, set};
use super::pump::{Kind, Next, OnTheWay, Source, pump};
use super::session::{close, open_new};
use super::template::{FIRST, Template};
use crate::client::error::name_of;

/// Requests on the way while znodes are prepared.
const WINDOW: usize = 512;
/// In front of the number: with it, names have 30 characters.
const FILL_NAME: &str = "znode-of-a-fill-in-30-";

/// One request each for a list of (template, number).
struct Batch<I> {
    templates: Vec<Template>,
    rest: I,
    codes: BTreeMap<i32, u64>,
}

impl<I: Iterator<Item = (usize, u32)>> Source for Batch<I> {
    fn next(&mut self, xid: i32, now: Instant, out: &mut Vec<u8>) -> Next {
        let Some((template, number)) = self.rest.next() else { return Next::Dry };
        self.templates[template].append(out, xid, number, 0);
        Next::Sent { kind: Kind { write: true, multi: false }, since: now }
    }

    fn answered(&mut self, _: Kind, _: Instant, _: Instant, code: i32) {
        *self.codes.entry(code).or_default() += 1;
    }
}

/// Sends a batch on one session; returns how many answers had which code.
async fn send(
    host: &str,
    load: &Load,
    window: usize,
    templates: Vec<Template>,
    rest: impl Iterator<Item = (usize, u32)>,
) -> anyhow::Result<BTreeMap<i32, u64>> {
    let mut connection =
        open_new(host, load.timeout).await.with_context(|| format!("cannot connect to {host}"))?;
    let mut batch = Batch { templates, rest, codes: BTreeMap::new() };
    pump(&mut connection, window, &mut batch, &mut OnTheWay::default())
        .await
        .with_context(|| format!("lost {host} while preparing znodes"))?;
    let _ = close(&mut connection).await;
    Ok(batch.codes)
}

/// Fails on the first code that is neither success nor "exists"; returns how many existed.
fn existing(codes: &BTreeMap<i32, u64>) -> anyhow::Result<u64> {
    let exists = ErrorCode::NodeExists.code();
    match codes.iter().find(|&(&code, _)| code != 0 && code != exists) {
        Some((code, count)) => Err(anyhow!("{count} creates failed with {}", name_of(*code))),
        None => Ok(codes.get(&exists).copied().unwrap_or(0)),
    }
}

fn create_template(path: &str, size: usize) -> Template {
    Template::new(&Request::Create(create(path, payload(size))))
}

/// Creates the roots and their znodes, with data of the right size whatever was there before.
pub(super) async fn prepare(load: &Load, nodes: bool) -> anyhow::Result<()> {
    let (shape, host) = (&load.shape, &load.hosts[0]);
    let roots: Vec<Template> =
        (0..shape.roots).map(|root| create_template(&root_path(root), 0)).collect();
    let numbers = (0..shape.roots).map(|root| (root, 0));
    existing(&send(host, load, WINDOW, roots, numbers).await?)?;
    if !nodes {
        return Ok(());
    }
    let all =
        || (0..shape.per_root).flat_map(|number| (0..shape.roots).map(move |root| (root, number)));
    let paths = || (0..shape.roots).map(|root| node_path(root, FIRST));
    let creates = paths().map(|path| create_template(&path, shape.size)).collect();
    if existing(&send(host, load, WINDOW, creates, all()).await?)? > 0 {
        let sets = paths()
            .map(|path| Template::new(&Request::SetData(set(&path, payload(shape.size)))))
            .collect();
        existing(&send(host, load, WINDOW, sets, all()).await?)?;
    }
    Ok(())
}

/// Creates `count` znodes under `dirs` directories of each root, on all sessions at once.
/// Returns how many were there before.
pub(super) async fn fill(load: &Load, count: u32, dirs: usize) -> anyhow::Result<u64> {
    let roots = load.shape.roots;
    let dir_path = |index: usize| format!("{}/d-{:05}", root_path(index % roots), index / roots);
    let directories = (0..roots * dirs).map(|index| create_template(&dir_path(index), 0)).collect();
    let numbers = (0..roots * dirs).map(|index| (index, 0));
    existing(&send(&load.hosts[0], load, WINDOW, directories, numbers).await?)?;
    let sessions = load.sessions.min(count as usize).max(1);
    let mut tasks = JoinSet::new();
    for session in 0..sessions {
        let templates: Vec<Template> = (0..roots * dirs)
            .map(|at| {
                let path = format!("{}/{FILL_NAME}{FIRST}", dir_path(at));
                create_template(&path, load.shape.size)
            })
            .collect();
        let all = templates.len();
        let load = load.clone();
        tasks.spawn(async move {
            let host = &load.hosts[session % load.hosts.len()];
            let mine = (session as u32..count).step_by(sessions);
            let numbers = mine.map(|number| (number as usize % all, number));
            send(host, &load, load.outstanding, templates, numbers).await
        });
    }
    let mut there_before = 0;
    while let Some(codes) = tasks.join_next().await {
        there_before += existing(&codes??)?;
    }
    Ok(there_before)
}
