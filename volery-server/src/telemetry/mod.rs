//! What the server says about itself while it runs: the log of messages, and metrics with their
//! Prometheus endpoint. Decides nothing about the service. Started by `main`; handles are given to
//! every room that measures something.

pub mod endpoint;
mod exposition;
pub mod logging;
mod metrics;
pub mod names;

pub use endpoint::{Endpoint, EndpointError, Source};
pub use logging::LogError;
pub use metrics::{Metrics, Summary, Unit};
