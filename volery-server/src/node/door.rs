//! The way from the ports to the drive thread: events in, words and metrics answered from what it
//! says. It decides nothing about requests. Made by the node; used by the client port and by the
//! metrics endpoint.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::drive::Event;
use super::measure;
use super::queue::Queue;
use super::start::Shared;
use super::status::Asked;
use crate::admin::environment::Environment;
use crate::admin::status::{Needs, ServerStatus};
use crate::admin::words;
use crate::client_port::{Core, PortCounts, PortEvent};
use crate::config::{Config, DirectorySizes};
use crate::core::types::ConnId;
use crate::telemetry::{Metrics, Source};

/// How long a scrape waits for the drive thread. Then it gets what was known last.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Door {
    queue: Arc<Queue<Event>>,
    config: Arc<Config>,
    environment: Environment,
    metrics: Arc<Metrics>,
    counts: Arc<PortCounts>,
}

impl Door {
    pub(super) fn new(config: Arc<Config>, shared: &Shared) -> Door {
        Door {
            queue: shared.queue.clone(),
            config,
            environment: Environment::read(),
            metrics: shared.metrics.clone(),
            counts: shared.counts.clone(),
        }
    }

    async fn ask(&self, needs: Needs, word: Option<ConnId>) -> ServerStatus {
        let (reply, answer) = oneshot::channel();
        self.queue.push(Event::Ask(Box::new(Asked { needs, word, reply })));
        // Without an answer the drive thread is gone: not serving.
        let mut status = answer.await.unwrap_or_default();
        if needs.directories {
            status.directories = directories(&self.config);
        }
        if needs.metrics {
            measure::files(&mut status.stats);
            self.metrics.publish(&status.stats);
        }
        status
    }
}

impl Core for Door {
    fn event(&self, event: PortEvent) {
        match event {
            // A connection that has said nothing yet, and one that the core is through with, give
            // it nothing to do: a session would wake it four times, and so it does twice.
            PortEvent::Opened { .. } | PortEvent::Closed { finished: true, .. } => {
                self.queue.push_quietly(Event::Port(event));
            }
            _ => self.queue.push(Event::Port(event)),
        }
    }

    fn counts(&self) -> &PortCounts {
        &self.counts
    }

    async fn word(&self, conn: ConnId, word: [u8; 4]) -> String {
        let needs = words::needs(word);
        let mut status = self.ask(needs, Some(conn)).await;
        if needs.metrics {
            status.counters = self.metrics.counter_values();
            status.summaries = self.metrics.summary_values();
        }
        let answer = words::answer(word, &self.config, &self.environment, &status);
        if let Some(reset) = answer.reset {
            self.queue.push(Event::Reset(reset));
        }
        answer.text
    }

    fn entropy(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            // A guessable password is worse than no session.
            tracing::error!(%error, "the system gives no random bytes; the server ends");
            std::process::exit(71);
        }
        bytes
    }
}

impl Source for Door {
    async fn metrics(&self) -> String {
        let needs = Needs { metrics: true, ..Needs::default() };
        if tokio::time::timeout(SCRAPE_PATIENCE, self.ask(needs, None)).await.is_err() {
            tracing::warn!(
                "the drive thread does not answer; metrics are those of the last scrape"
            );
        }
        self.metrics.render()
    }
}

fn directories(config: &Config) -> DirectorySizes {
    fn size(dir: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => size(&entry.path()),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            })
            .sum()
    }
    DirectorySizes {
        data_bytes: size(&config.data_dir),
        log_bytes: size(&config.data_log_dir.join("wal")),
    }
}
