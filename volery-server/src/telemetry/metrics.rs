//! The registry of metrics: handles resolved once, so that hot paths pay one atomic operation and
//! never a look-up; gauges published from facts; the text for Prometheus. Never opens a socket.
//! Made once by `main`, shared by every room that measures.

use std::time::Duration;

use metrics::{Histogram, gauge, histogram};
use metrics_exporter_prometheus::{
    BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio_util::sync::CancellationToken;

use super::exposition;
use super::names::{self, Counters, Gauges, Summaries};
use crate::admin::counters::SpreadCell;
use crate::admin::status::{Ensemble, Mode, ServerStats, SummaryStatus};

/// ZooKeeper's provider has 0.5, 0.9 and 0.99 in 3.9, and 0.95 from 3.10 on.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];
/// The recorder's buckets grow until they are drained: nobody may be scraping.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Values are kept in thousandths: microseconds, where milliseconds are printed.
const UNIT: u64 = 1000;

/// What a summary holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Durations, printed in milliseconds.
    Millis,
    /// Numbers of things.
    Count,
}

/// A distribution: quantiles of the last minute for Prometheus, the spread since the start for
/// `mntr`.
#[derive(Debug)]
pub struct Summary {
    histogram: Histogram,
    spread: SpreadCell,
    unit: Unit,
}

impl Summary {
    pub(super) fn register(name: &'static str, unit: Unit) -> Summary {
        Summary { histogram: histogram!(name), spread: SpreadCell::default(), unit }
    }

    /// Takes one duration.
    pub fn record_time(&self, time: Duration) {
        debug_assert_eq!(self.unit, Unit::Millis);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.spread.record(micros);
        self.histogram.record(micros as f64 / UNIT as f64);
    }

    /// Takes one number.
    pub fn record_count(&self, count: u64) {
        debug_assert_eq!(self.unit, Unit::Count);
        self.spread.record(count.saturating_mul(UNIT));
        self.histogram.record(count as f64);
    }
}

/// All metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    /// Counters, by name.
    pub counters: Counters,
    /// Summaries, by name.
    pub summaries: Summaries,
    gauges: Gauges,
    recorder: Recorder,
}

struct Recorder {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Metrics {
    /// Registers everything, with a recorder of its own: several servers in one process (a test)
    /// do not mix. Nothing global is set.
    ///
    /// # Errors
    /// None with the quantiles above; the recorder's builder checks them.
    pub fn new() -> Result<Metrics, BuildError> {
        let recorder = PrometheusBuilder::new().set_quantiles(&QUANTILES)?.build_recorder();
        let handle = recorder.handle();
        let (counters, gauges, summaries) = metrics::with_local_recorder(&recorder, || {
            names::describe_labelled();
            (Counters::register(), Gauges::register(), Summaries::register())
        });
        Ok(Metrics { counters, summaries, gauges, recorder: Recorder { recorder, handle } })
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        self.recorder.handle.render()
    }

    /// Drains the recorder's buckets every five seconds until told to stop. Run it as a task:
    /// without it, memory grows with every value that is recorded and never scraped.
    pub async fn upkeep(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.recorder.handle.run_upkeep(),
            }
        }
    }

    /// Sets the gauges from the numbers of a server, before they are read.
    pub fn publish(&self, stats: &ServerStats) {
        let gauges = &self.gauges;
        let average = |sum: u64| sum as f64 / stats.latency_us.count.max(1) as f64 / UNIT as f64;
        gauges.avg_latency.set(average(stats.latency_us.sum));
        gauges.min_latency.set((stats.latency_us.min / UNIT) as f64);
        gauges.max_latency.set((stats.latency_us.max / UNIT) as f64);
        gauges.packets_received.set(stats.received as f64);
        gauges.packets_sent.set(stats.sent as f64);
        gauges.num_alive_connections.set(stats.num_alive_connections as f64);
        gauges.outstanding_requests.set(stats.outstanding as f64);
        gauges.znode_count.set(stats.znode_count as f64);
        gauges.watch_count.set(stats.watch_count as f64);
        gauges.ephemerals_count.set(stats.ephemerals_count as f64);
        gauges.approximate_data_size.set(stats.approximate_data_size as f64);
        gauges.global_sessions.set(stats.global_sessions as f64);
        gauges.open_file_descriptor_count.set(stats.open_file_descriptor_count as f64);
        gauges.max_file_descriptor_count.set(stats.max_file_descriptor_count as f64);
        gauges.uptime.set(stats.uptime_ms as f64);
        gauges.auth_failed_count.set(stats.auth_failed_count as f64);
        gauges.last_client_response_size.set(stats.last_client_response_size as f64);
        gauges.min_client_response_size.set(stats.min_client_response_size as f64);
        gauges.max_client_response_size.set(stats.max_client_response_size as f64);
        let ensemble = stats.ensemble.unwrap_or_default();
        gauges.quorum_size.set(ensemble.quorum_size as f64);
        let led = if stats.mode == Mode::Leader { ensemble } else { Ensemble::default() };
        gauges.learners.set((led.followers + led.observers) as f64);
        gauges.synced_followers.set(led.followers as f64);
        gauges.volery_partitions.set(stats.partitions.len() as f64);
        gauges.volery_connected_peers.set(stats.connected_peers as f64);
        metrics::with_local_recorder(&self.recorder.recorder, || publish_labelled(stats));
    }

    /// Counters for `mntr`. Not for hot paths: it reads what Prometheus would be given.
    #[must_use]
    pub fn counter_values(&self) -> Vec<(&'static str, u64)> {
        let text = self.render();
        let value = |name| exposition::value(&text, name).unwrap_or_default() as u64;
        Counters::NAMES.iter().map(|name| (*name, value(name))).collect()
    }

    /// Summaries for `mntr`.
    #[must_use]
    pub fn summary_values(&self) -> Vec<SummaryStatus> {
        let text = self.render();
        let quantile = |name: &str, quantile: &str| {
            let series = format!("{name}{{quantile=\"{quantile}\"}}");
            exposition::value(&text, &series).unwrap_or_default()
        };
        let status = |(name, advanced, summary): (&'static str, bool, &Summary)| SummaryStatus {
            name,
            values: summary.spread.read(),
            unit: UNIT,
            quantiles: advanced
                .then(|| ["0.5", "0.95", "0.99", "0.999"].map(|q| quantile(name, q))),
        };
        self.summaries.all().into_iter().map(status).collect()
    }
}

fn publish_labelled(stats: &ServerStats) {
    for one in &stats.partitions {
        let partition = one.partition.to_string();
        let executed = gauge!(names::PARTITION_EXECUTED, "partition" => partition.clone());
        executed.set(one.executed.0 as f64);
        let znodes = gauge!(names::PARTITION_ZNODES, "partition" => partition.clone());
        znodes.set(one.znode_count as f64);
        let waiting = gauge!(names::PARTITION_WAITING, "partition" => partition.clone());
        waiting.set(one.waiting_commands as f64);
        let outbox = gauge!(names::PARTITION_OUTBOX, "partition" => partition);
        outbox.set(one.outbox_bytes as f64);
    }
    for one in &stats.rings {
        let ring = one.ring.to_string();
        gauge!(names::RING_DECIDED, "ring" => ring.clone()).set(one.decided.0 as f64);
        gauge!(names::RING_POSITION, "ring" => ring.clone()).set(one.position.0 as f64);
        gauge!(names::RING_IN_FLIGHT, "ring" => ring.clone()).set(one.in_flight as f64);
        let coordinator = one.coordinator.map_or(0, |server| server.0);
        gauge!(names::RING_COORDINATOR, "ring" => ring).set(f64::from(coordinator));
    }
}

#[cfg(test)]
mod tests {
    use volery_proto::ids::{Instance, PartitionId, RingId, Slot, Zxid};

    use super::*;
    use crate::admin::counters::Spread;
    use crate::admin::status::{PartitionStats, RingStats};

    fn metrics() -> Metrics {
        Metrics::new().expect("the quantiles are valid")
    }

    #[test]
    fn everything_is_exposed_from_the_start() {
        let metrics = metrics();
        let text = metrics.render();
        for name in Counters::NAMES {
            assert_eq!(exposition::value(&text, name), Some(0.0), "{name}");
        }
        for name in Gauges::NAMES {
            assert_eq!(exposition::value(&text, name), Some(0.0), "{name}");
        }
        for (name, _, _) in metrics.summaries.all() {
            for series in [format!("{name}_count"), format!("{name}_sum")] {
                assert_eq!(exposition::value(&text, &series), Some(0.0), "{series}");
            }
        }
        assert!(
            text.contains("# HELP fsynctime One sync of the log, ms\n# TYPE fsynctime summary\n")
        );
    }

    #[test]
    fn summaries_have_zookeepers_quantiles() {
        let metrics = metrics();
        // The recorder drops what is older than the newest few dozen values of its first drain.
        metrics.summaries.readlatency.record_time(Duration::from_millis(50));
        let _ = metrics.render();
        for ms in 1..=100 {
            metrics.summaries.readlatency.record_time(Duration::from_millis(ms));
        }
        metrics.summaries.sync_processor_batch_size.record_count(7);
        let text = metrics.render();
        for (quantile, ms) in [("0.5", 50.0), ("0.9", 90.0), ("0.99", 99.0), ("0.999", 100.0)] {
            let series = format!("readlatency{{quantile=\"{quantile}\"}}");
            let value = exposition::value(&text, &series).unwrap_or_default();
            assert!((value - ms).abs() < 2.0, "{series} {value}");
        }
        assert_eq!(exposition::value(&text, "readlatency_count"), Some(101.0));
        assert_eq!(exposition::value(&text, "readlatency_sum"), Some(5100.0));
        let values = metrics.summary_values();
        let read = values.iter().find(|one| one.name == "readlatency").expect("registered");
        let expected = Spread { count: 101, sum: 5_100_000, min: 1000, max: 100_000 };
        assert_eq!((read.values, read.unit), (expected, 1000));
        assert!(read.quantiles.is_some_and(|values| (values[0] - 50.0).abs() < 2.0));
        let batch = values.iter().find(|one| one.name == "sync_processor_batch_size");
        assert_eq!(batch.map(|one| one.values.average(one.unit)), Some("7.0".to_owned()));
    }

    #[test]
    fn counters_and_gauges_are_published() {
        let metrics = metrics();
        metrics.counters.connection_rejected.increment(3);
        let stats = ServerStats {
            latency_us: Spread { count: 2, sum: 5000, min: 1000, max: 4000 },
            received: 9,
            mode: Mode::Leader,
            connected_peers: 2,
            ensemble: Some(Ensemble { quorum_size: 3, followers: 2, observers: 0 }),
            partitions: vec![PartitionStats {
                partition: PartitionId(2),
                executed: Zxid(65),
                ..PartitionStats::default()
            }],
            rings: vec![RingStats {
                ring: RingId(2),
                decided: Instance(5),
                position: Slot(6),
                ..RingStats::default()
            }],
            ..ServerStats::default()
        };
        metrics.publish(&stats);
        let text = metrics.render();
        let table = [
            ("connection_rejected", 3.0),
            ("packets_received", 9.0),
            ("avg_latency", 2.5),
            ("max_latency", 4.0),
            ("quorum_size", 3.0),
            ("learners", 2.0),
            ("synced_followers", 2.0),
            ("volery_partitions", 1.0),
            ("volery_connected_peers", 2.0),
            ("volery_partition_executed_zxid{partition=\"2\"}", 65.0),
            ("volery_ring_decided_instance{ring=\"2\"}", 5.0),
        ];
        for (series, expected) in table {
            assert_eq!(exposition::value(&text, series), Some(expected), "{series}");
        }
        let counters = metrics.counter_values();
        assert!(counters.contains(&("connection_rejected", 3)));
    }
}
