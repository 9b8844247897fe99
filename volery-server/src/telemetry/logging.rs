//! Sets the log of messages up: text or JSON on standard error, the level from the configuration
//! or from VOLERY_LOG. Never writes a message itself. Called once by `main`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat};

/// Overrides `log.level`, and may name modules: `info,volery_server::core::ring=debug`.
pub const VARIABLE: &str = "VOLERY_LOG";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The variable or the level is not understood.
    #[error("{directives:?} is not a filter such as info,volery_server=debug: {source}")]
    Filter {
        /// As given.
        directives: String,
        /// What is wrong.
        source: ParseError,
    },
    /// It is set up already.
    #[error("the log cannot be set up: {0}")]
    Init(#[from] TryInitError),
}

/// Sets the process' log up; `variable` is the content of [`VARIABLE`].
///
/// # Errors
/// A filter that is not understood, or a log that is set up already.
pub fn init(config: &LogConfig, variable: Option<&str>) -> Result<(), LogError> {
    let filter = filter(config, variable)?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            subscriber.with_ansi(colours).finish().try_init()?;
        }
        LogFormat::Json => subscriber.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

fn filter(config: &LogConfig, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    let directives = match variable.map(str::trim) {
        None | Some("") => config.level.as_str(),
        Some(directives) => directives,
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LogError::Filter { directives: directives.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_wins_over_the_configuration() {
        let config = LogConfig { format: LogFormat::Text, level: "warn".to_owned() };
        let shown = |variable| filter(&config, variable).map(|filter| filter.to_string()).ok();
        assert_eq!(shown(None).as_deref(), Some("warn"));
        assert_eq!(shown(Some(" ")).as_deref(), Some("warn"));
        assert_eq!(shown(Some("debug")).as_deref(), Some("debug"));
        assert_eq!(shown(Some("info,a::b=trace")).as_deref(), Some("a::b=trace,info"));
        let error = filter(&config, Some("a=b=c")).map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| text.starts_with("\"a=b=c\" is not a filter")));
    }
}
