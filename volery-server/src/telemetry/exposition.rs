//! Prometheus' text once more: reads values back out of it for `mntr`, as the recorder has no other
//! way to be asked, and mends one habit of its writer. Never used on a hot path. Called by the
//! registry.

/// The value of a series, given with its labels as printed: `name` or `name{label="x"}`.
pub(super) fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The writer puts no `_count` behind the name of a summary that ends so itself, which leaves its
/// count without a name that a scraper knows: `x_count` must come out as `x_count_count`.
pub(super) fn with_count_suffixes<'a>(
    mut text: String,
    summaries: impl Iterator<Item = &'a str>,
) -> String {
    for name in summaries.filter(|name| name.ends_with("_count")) {
        text = text.replace(&format!("\n{name} "), &format!("\n{name}_count "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{value, with_count_suffixes};

    #[test]
    fn counts_have_names_of_their_own() {
        let text =
            "# TYPE a_count summary\na_count{quantile=\"0.5\"} 1\na_count_sum 2\na_count 3\n";
        let mended = with_count_suffixes(text.to_owned(), ["a_count"].into_iter());
        assert_eq!(mended, text.replace("\na_count 3", "\na_count_count 3"));
    }

    #[test]
    fn series_are_found_by_their_whole_names() {
        let text = "# TYPE a gauge\na_b 1\na{q=\"0.5\"} 2.5\na 3\n";
        assert_eq!(value(text, "a"), Some(3.0));
        assert_eq!(value(text, "a{q=\"0.5\"}"), Some(2.5));
        assert_eq!(value(text, "b"), None);
    }
}
