//! The figures of a load, for people and as JSON.
//! It computes averages and percentiles, and judges nothing.
//! Called by `bench::run`.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::load::{Load, Measured};
use crate::client::error::name_of;
use crate::output::Output;

const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Prints the figures.
pub(super) fn print(load: &Load, measured: &Measured, output: &Output) -> anyhow::Result<()> {
    if output.json {
        return Ok(output.document(&document(load, measured))?);
    }
    let stats = &measured.stats;
    output.line(format_args!("{:<22} {:.0}", "operations/s", rate(load, measured)))?;
    output.line(row("latency µs", &stats.latencies()))?;
    if !stats.reads.is_empty() && !stats.writes.is_empty() {
        output.line(row("  reads", &stats.reads))?;
        output.line(row("  writes", &stats.writes))?;
    }
    let errors: Vec<String> =
        stats.errors.iter().map(|(code, count)| format!("{} {count}", name_of(*code))).collect();
    let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
    output.line(format_args!("{:<22} {errors}", "errors"))?;
    output.line(format_args!("{:<22} {}", "lost", stats.lost))?;
    let client = per_operation(measured.client_cpu, stats.operations());
    output.line(format_args!("{:<22} {client:.2}", "client CPU µs/op"))?;
    if let Some(server) = measured.server_cpu {
        let server = per_operation(server, stats.operations());
        output.line(format_args!("{:<22} {server:.2}", "server CPU µs/op"))?;
    }
    if let Some(bytes) = measured.server_resident {
        output.line(format_args!("{:<22} {} MiB", "server memory", bytes >> 20))?;
    }
    Ok(())
}

fn rate(load: &Load, measured: &Measured) -> f64 {
    measured.stats.operations() as f64 / load.duration.as_secs_f64()
}

fn per_operation(time: Duration, operations: u64) -> f64 {
    time.as_micros() as f64 / operations.max(1) as f64
}

fn row(name: &str, histogram: &Histogram<u64>) -> String {
    let values: Vec<String> = PERCENTILES
        .iter()
        .map(|(label, p)| format!("{label} {}", histogram.value_at_percentile(*p)))
        .collect();
    format!("{name:<22} {}  max {}", values.join("  "), histogram.max())
}

fn latencies(histogram: &Histogram<u64>) -> Value {
    let mut map: Map<String, Value> = PERCENTILES
        .iter()
        .map(|(label, p)| ((*label).to_owned(), histogram.value_at_percentile(*p).into()))
        .collect();
    map.insert("max".into(), histogram.max().into());
    map.insert("mean".into(), (histogram.mean().round() as u64).into());
    map.into()
}

fn document(load: &Load, measured: &Measured) -> Value {
    let (stats, shape) = (&measured.stats, &load.shape);
    let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
    let errors: Map<String, Value> =
        stats.errors.iter().map(|(code, count)| (name_of(*code), (*count).into())).collect();
    let server = measured.server_cpu.map(|cpu| rounded(per_operation(cpu, stats.operations())));
    json!({
        "op": format!("{:?}", shape.op).to_lowercase(),
        "sessions": load.sessions,
        "outstanding": load.outstanding,
        "threads": load.threads,
        "size": shape.size,
        "roots": shape.roots,
        "paths": u64::from(shape.per_root) * shape.roots as u64,
        "writePercent": shape.write_percent,
        "multiPercent": shape.multi_percent,
        "rate": load.rate,
        "cross": shape.cross,
        "seconds": load.duration.as_secs_f64(),
        "operations": stats.operations(),
        "operationsPerSecond": rounded(rate(load, measured)),
        "errors": errors,
        "lost": stats.lost,
        "latencyUs": latencies(&stats.latencies()),
        "readLatencyUs": latencies(&stats.reads),
        "writeLatencyUs": latencies(&stats.writes),
        "clientCpuUsPerOp": rounded(per_operation(measured.client_cpu, stats.operations())),
        "serverCpuUsPerOp": server,
        "serverResidentBytes": measured.server_resident,
        "perSecond": stats.per_second,
    })
}
