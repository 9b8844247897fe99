//! Prometheus' text once more: reads values back out of it for `mntr`, as the recorder has no other
//! way to be asked. Never used on a hot path. Called by the registry.

/// The value of a series, given with its labels as printed: `name` or `name{label="x"}`.
pub(super) fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn series_are_found_by_their_whole_names() {
        let text = "# TYPE a gauge\na_b 1\na{q=\"0.5\"} 2.5\na 3\n";
        assert_eq!(value(text, "a"), Some(3.0));
        assert_eq!(value(text, "a{q=\"0.5\"}"), Some(2.5));
        assert_eq!(value(text, "b"), None);
    }
}
