//! Reads the text of a zoo.cfg by the rules of java.util.Properties and keeps the line numbers.
//! Never interprets a key or a value and touches no file. Called by the configuration's reader.

/// One `key=value` of the file, unescaped, and trimmed as ZooKeeper trims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The line it begins on, from 1.
    pub line: usize,
    /// Unescaped key.
    pub key: String,
    /// Unescaped value, without surrounding blanks.
    pub value: String,
}

/// An escape that java.util.Properties refuses too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct PropertiesError {
    /// The line that the entry begins on, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// All entries in the order of the file; a key may come more than once (the last one counts).
///
/// The bytes are UTF-8 if they can be, else ISO-8859-1, as Java reads them always: pure ASCII
/// files are the same either way, and a path in UTF-8 means what its author saw.
///
/// # Errors
/// A malformed `\u` escape.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, PropertiesError> {
    let text = decode(bytes);
    let mut properties = Vec::new();
    for (line, logical) in logical_lines(&text) {
        let (key, value) = split(&logical);
        let unescaped = |raw| unescape(raw).map_err(|problem| PropertiesError { line, problem });
        let (key, value) = (unescaped(key)?, unescaped(value)?);
        properties.push(Property {
            line,
            key: key.trim_matches(java_trims).to_owned(),
            value: value.trim_matches(java_trims).to_owned(),
        });
    }
    Ok(properties)
}

fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Blank, as java.util.Properties sees it.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// What `String.trim` drops.
fn java_trims(c: char) -> bool {
    c <= ' '
}

/// Splits at `\n`, `\r` and `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let after = &text[end..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..end])
    })
}

/// Joins continued lines, drops comments and blank lines. Comments are not continued, and a `#`
/// after a continuation belongs to the value.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = natural_lines(text).enumerate();
    let mut logical_lines = Vec::new();
    while let Some((index, line)) = lines.next() {
        let mut part = line.trim_start_matches(is_blank);
        if part.is_empty() || part.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = String::new();
        loop {
            let Some(head) = without_continuation(part) else {
                logical.push_str(part);
                break;
            };
            logical.push_str(head);
            match lines.next() {
                Some((_, next)) => part = next.trim_start_matches(is_blank),
                None => break,
            }
        }
        logical_lines.push((index + 1, logical));
    }
    logical_lines
}

/// The line without its last backslash, if an odd number of them ends it.
fn without_continuation(line: &str) -> Option<&str> {
    let backslashes = line.len() - line.trim_end_matches('\\').len();
    (backslashes % 2 == 1).then(|| &line[..line.len() - 1])
}

/// Key and value, both still escaped: the key ends at the first `=`, `:` or blank that no
/// backslash escapes; blanks around one separator are dropped.
fn split(logical: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = logical.find(|c| {
        let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.unwrap_or(logical.len());
    let rest = logical[end..].trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&logical[..end], value.trim_start_matches(is_blank))
}

fn unescape(raw: &str) -> Result<String, &'static str> {
    if !raw.contains('\\') {
        return Ok(raw.to_owned());
    }
    let mut units: Vec<u16> = Vec::with_capacity(raw.len());
    let mut buffer = [0; 2];
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' {
            match chars.next() {
                Some('u') => {
                    units.push(hex_unit(&mut chars)?);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            }
        } else {
            c
        };
        units.extend_from_slice(c.encode_utf16(&mut buffer));
    }
    String::from_utf16(&units).map_err(|_| "a \\u escape is half of a surrogate pair")
}

fn hex_unit(chars: &mut std::str::Chars<'_>) -> Result<u16, &'static str> {
    let mut unit = 0;
    for _ in 0..4 {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        let digit = digit.ok_or("malformed \\uXXXX: four hexadecimal digits are expected")?;
        unit = unit * 16 + digit as u16;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_java_reads_them() {
        // Expected pairs as java.util.Properties gives them, then trimmed as ZooKeeper does.
        let table: &[(&str, &str, &str)] = &[
            ("a=b", "a", "b"),
            ("a:b", "a", "b"),
            ("a b", "a", "b"),
            ("a\tb", "a", "b"),
            ("  a  =  b  ", "a", "b"),
            ("a = = b", "a", "= b"),
            ("a", "a", ""),
            ("a=", "a", ""),
            ("=b", "", "b"),
            ("a\\=b=c", "a=b", "c"),
            ("a\\:b:c", "a:b", "c"),
            ("a\\ b c", "a b", "c"),
            ("a\\\\=b", "a\\", "b"),
            ("a=b\\\n   c", "a", "bc"),
            ("a=b\\\r\n\tc", "a", "bc"),
            ("a=b\\\rc", "a", "bc"),
            ("a=b\\\\\n", "a", "b\\"),
            ("a=b\\\n#c", "a", "b#c"),
            ("a=b\\\n\n", "a", "b"),
            ("a=b\\", "a", "b"),
            ("a=\\t\\u0041\\q", "a", "Aq"),
            ("a=x\\ty", "a", "x\ty"),
            ("a=\\uD83D\\uDE00", "a", "\u{1f600}"),
            ("server.1=h:1:2;[::]:3", "server.1", "h:1:2;[::]:3"),
            ("a=b # not a comment", "a", "b # not a comment"),
            ("a=gr\u{fc}n", "a", "gr\u{fc}n"),
            ("\u{feff}a=b", "a", "b"),
        ];
        for (text, key, value) in table {
            let read = parse(text.as_bytes());
            let expected = Property { line: 1, key: (*key).to_owned(), value: (*value).to_owned() };
            assert_eq!(read, Ok(vec![expected]), "{text:?}");
        }
    }

    #[test]
    fn comments_and_blank_lines_count_as_lines() {
        let text = "# c \\\n\n ! d\r\na=1\rb=2\\\n 3\nc=4";
        let read = parse(text.as_bytes()).unwrap_or_default();
        let read: Vec<_> =
            read.iter().map(|p| (p.line, p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(read, [(4, "a", "1"), (5, "b", "23"), (7, "c", "4")]);
    }

    #[test]
    fn latin_1_is_read_where_utf_8_fails() {
        let read = parse(b"a=gr\xfcn").unwrap_or_default();
        assert_eq!(read[0].value, "gr\u{fc}n");
    }

    #[test]
    fn malformed_escapes_are_refused() {
        let malformed = "malformed \\uXXXX: four hexadecimal digits are expected";
        let half = "a \\u escape is half of a surrogate pair";
        for (text, problem) in
            [("\na=\\u12", malformed), ("\na=\\u12g4", malformed), ("\na=\\ud800", half)]
        {
            assert_eq!(parse(text.as_bytes()), Err(PropertiesError { line: 2, problem }));
        }
    }
}
