//! The house rules that a machine can check, over the whole tree of sources: sizes, headers, which
//! room may use which, what the core may not touch, left-over markers, and files nobody knows of.
//! It changes nothing. Belongs to the server crate; every failure names file and line.

#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const WIDTH_MAX: usize = 100;
const FILE_LINES_GOOD: usize = 500;
const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that may be longer, as (file, function, reason).
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// Documents that the sources name and that are still to come.
const COMING: &[&str] = &["DESIGN.md", "ZOOKEEPER.md"];

/// Room of the server → the rooms that it may use. `node` puts them all together.
const ROOMS: &[(&str, &[&str])] = &[
    ("admin", &["config"]),
    ("client_port", &["core"]),
    ("config", &["core"]),
    ("core", &[]),
    ("node", &["admin", "client_port", "config", "core", "peer_port", "storage", "telemetry"]),
    ("peer_port", &[]),
    ("storage", &[]),
    ("telemetry", &["admin", "config"]),
];

/// Inner rooms that know nothing of one another.
const STRANGERS: &[&str] = &["ring", "merge", "tree"];

/// The crates that the core may use, besides `std`; in its tests also proptest.
const CORE_CRATES: &[&str] = &[
    "base64",
    "bytes",
    "bytestring",
    "hashbrown",
    "prost",
    "sha1",
    "thiserror",
    "volery-proto",
    "xxhash-rust",
];

/// What the core may not touch: the world outside, chance, and orders that differ between runs.
const CORE_FORBIDDEN: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "std::sync::Mutex",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "HashMap",
    "HashSet",
    "RandomState",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "println!",
    "eprintln!",
];

struct Source {
    /// From the root of the project, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(number, line)| (number + 1, line))
    }

    /// Lines without comments. A string with two slashes is cut short, which does no harm.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
    }

    fn is_test(&self) -> bool {
        let path = &self.path;
        path.contains("/tests/") || path.ends_with("tests.rs") || path.ends_with("test_tree.rs")
    }

    /// The room of the server it belongs to.
    fn room(&self) -> Option<&str> {
        let inner = self.path.strip_prefix("volery-server/src/")?;
        let room = inner.split('/').next()?;
        Some(room.strip_suffix(".rs").unwrap_or(room))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files that git would keep, by their endings.
fn files(ending: &str) -> Vec<Source> {
    fn walk(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let generated = ["target", "corpus", "artifacts", "node_modules"];
            if path.is_dir() {
                if !name.starts_with('.') && !generated.contains(&name.as_str()) {
                    walk(&path, ending, found);
                }
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, ending, &mut found);
    found.sort();
    let found = found.into_iter().map(|path| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/"),
    });
    found.collect()
}

fn sources() -> Vec<Source> {
    let found = files(".rs");
    assert!(found.len() > 100, "only {} sources: is this the root?", found.len());
    found
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn is_word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands as a whole word.
fn find_word(line: &str, word: &str) -> Option<usize> {
    line.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let goes_on = word.ends_with(is_word_character) && after.is_some_and(is_word_character);
        !before.is_some_and(is_word_character) && !goes_on
    })
}

#[test]
fn lines_fit_the_width() {
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            let width = line.chars().count();
            if width > WIDTH_MAX {
                faults.push(format!("{}:{number}: {width} wide", source.path));
            }
            if line.ends_with(' ') || line.contains('\t') {
                faults.push(format!("{}:{number}: a tab, or blanks at the end", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn files_are_short() {
    let mut faults = Vec::new();
    for source in sources() {
        let count = source.text.lines().count();
        if count > FILE_LINES_MAX {
            faults.push(format!("{}: {count} lines", source.path));
        } else if count > FILE_LINES_GOOD {
            println!("{}: {count} lines; beyond {FILE_LINES_GOOD} think of a room", source.path);
        }
    }
    report(&faults);
}

/// The function that a line begins: its indentation and name.
fn function_at(line: &str) -> Option<(usize, &str)> {
    let indent = line.len() - line.trim_start().len();
    let mut words = line.split_whitespace();
    let modifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
    let is_modifier = |word: &&str| modifiers.contains(word) || word.starts_with("pub(");
    if words.by_ref().find(|word| !is_modifier(word))? != "fn" {
        return None;
    }
    let rest = &line[line.find("fn ")? + 3..];
    Some((indent, rest.split(|c| !is_word_character(c)).next()?))
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    let mut allowed: Vec<_> = LONG_FUNCTIONS.iter().map(|(file, name, _)| (*file, *name)).collect();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some((indent, name)) = function_at(line) else { continue };
            if line.ends_with(';') || line.ends_with('}') {
                continue;
            }
            // rustfmt puts the last line of a function below its first.
            let is_end = |line: &&str| {
                let own = line.get(indent..).unwrap_or_default();
                line.len() - line.trim_start().len() == indent
                    && (own.starts_with('}') || own.starts_with(')') && own.ends_with(';'))
            };
            let count = 2 + lines[start + 1..].iter().take_while(|line| !is_end(line)).count();
            if count <= FUNCTION_LINES_MAX {
                continue;
            }
            match allowed.iter().position(|long| *long == (source.path.as_str(), name)) {
                Some(at) => drop(allowed.remove(at)),
                None => {
                    faults.push(format!("{}:{}: {name}: {count} lines", source.path, start + 1));
                }
            }
        }
    }
    let stale = allowed.iter().map(|(file, name)| format!("{file}: {name} is no longer long"));
    faults.extend(stale);
    report(&faults);
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let mut faults = Vec::new();
    for source in sources() {
        let first = source.text.lines().find(|line| !line.starts_with("#!")).unwrap_or_default();
        if !first.starts_with("//! ") {
            faults.push(format!("{}: no //! header", source.path));
        }
    }
    report(&faults);
}

#[test]
fn nothing_is_left_over() {
    // Put together here, or this file would find itself.
    let markers = ["FIX", "XX", "TO"].into_iter().zip(["ME", "X", "DO"]);
    let mut words: Vec<String> = markers.map(|(a, b)| format!("{a}{b}")).collect();
    words.extend(["todo", "unimplemented", "dbg"].map(|name| format!("{name}!")));
    let bare_ignore = format!("#[{}]", "ignore");
    let mut faults = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            for word in words.iter().filter(|word| find_word(line, word).is_some()) {
                faults.push(format!("{}:{number}: {word}", source.path));
            }
            if line.contains(&bare_ignore) {
                faults.push(format!("{}:{number}: ignored without a reason", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let rooms: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut faults = Vec::new();
    for source in sources() {
        let Some(room) = source.room() else { continue };
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let Some(may) = rooms.get(room) else {
            faults.push(format!("{}: the room {room} is not in the table", source.path));
            continue;
        };
        for (number, line) in source.code() {
            for other in rooms.keys().filter(|other| **other != room && !may.contains(other)) {
                if line.contains(&format!("crate::{other}::")) {
                    faults.push(format!("{}:{number}: {room} uses {other}", source.path));
                }
            }
            if line.contains("crate::{") {
                faults.push(format!("{}:{number}: one `use` a room, please", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn ring_merge_and_tree_are_strangers() {
    let mut faults = Vec::new();
    for source in sources() {
        let inner = source.path.strip_prefix("volery-server/src/core/");
        let Some(room) = inner.and_then(|path| path.split('/').next()) else { continue };
        if !STRANGERS.contains(&room) {
            continue;
        }
        for (number, line) in source.code() {
            for other in STRANGERS.iter().filter(|other| **other != room) {
                if line.contains(&format!("core::{other}")) {
                    faults.push(format!("{}:{number}: {room} uses {other}", source.path));
                }
            }
        }
    }
    report(&faults);
}

/// The names of a manifest's dependencies.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_core_uses_no_crate_that_touches_the_world() {
    let manifest = fs::read_to_string(root().join("volery-server/Cargo.toml")).unwrap();
    let known = dependencies(&manifest);
    assert!(known.iter().any(|name| name == "tokio"), "{known:?}");
    let forbidden = known.iter().filter(|name| !CORE_CRATES.contains(&name.as_str()));
    let forbidden: Vec<String> = forbidden.map(|name| name.replace('-', "_") + "::").collect();
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.room() == Some("core")) {
        for (number, line) in source.code() {
            for name in forbidden.iter().filter(|name| find_word(line, name).is_some()) {
                faults.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    report(&faults);
}

#[test]
fn the_core_has_no_clock_no_file_and_no_chance() {
    let addresses = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr"];
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.room() == Some("core")) {
        for (number, line) in source.code().filter(|_| !source.is_test()) {
            for word in CORE_FORBIDDEN.iter().filter(|word| find_word(line, word).is_some()) {
                faults.push(format!("{}:{number}: {word}", source.path));
            }
            let net = line.split_once("std::net::").map(|(_, names)| names);
            let names = net.into_iter().flat_map(|names| names.split(|c| !is_word_character(c)));
            let types = names.filter(|name| name.starts_with(char::is_uppercase));
            for name in types.filter(|name| !addresses.contains(name)) {
                faults.push(format!("{}:{number}: std::net::{name}", source.path));
            }
        }
    }
    report(&faults);
}

/// A file that no module declares is not compiled, and its tests do not run.
#[test]
fn every_source_is_declared_as_a_module() {
    let all: BTreeMap<String, String> =
        sources().into_iter().map(|source| (source.path, source.text)).collect();
    let mut faults = Vec::new();
    for path in all.keys().filter(|path| path.starts_with("volery-") && path.contains("/src/")) {
        let stem = path.strip_suffix("/mod.rs").or(path.strip_suffix(".rs")).unwrap();
        let (dir, name) = stem.rsplit_once('/').unwrap();
        if ["lib", "main"].contains(&name) {
            continue;
        }
        let parents = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].map(|end| format!("{dir}{end}"));
        let is_declared = |parent: &String| {
            let text = all.get(parent)?;
            text.lines()
                .any(|line| line.trim_end().ends_with(&format!("mod {name};")))
                .then_some(())
        };
        let by_path = format!("#[path = \"{name}.rs\"]");
        let beside = |(other, text): (&String, &String)| {
            other.starts_with(&format!("{dir}/")) && text.contains(&by_path)
        };
        let is_known = parents.iter().any(|parent| is_declared(parent).is_some());
        if !is_known && !all.iter().any(beside) {
            faults.push(format!("{path}: no module declares it"));
        }
    }
    report(&faults);
}

/// What a document calls by a file's name: `like/this.rs`.
fn named_files(text: &str) -> impl Iterator<Item = &str> {
    let endings = ["md", "rs", "py", "toml", "txt", "proto", "c", "java", "cfg", "yml"];
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(move |name| {
        name.rsplit_once('.').is_some_and(|(stem, ending)| {
            !stem.is_empty() && endings.contains(&ending) && !name.contains(['*', ' ', '<', '$'])
        })
    })
}

#[test]
fn documents_name_only_files_that_exist() {
    let root = root();
    let mut faults = Vec::new();
    for document in files(".md") {
        let beside = root.join(&document.path).parent().unwrap().to_owned();
        // As one speaks of them, without the crate.
        let bases = ["", "volery-proto", "volery-server/src", "volery-cli/src"];
        let exists = |name: &str| {
            bases
                .iter()
                .map(|base| root.join(base))
                .chain([beside.clone()])
                .any(|base| base.join(name).exists())
        };
        for name in named_files(&document.text).filter(|name| !COMING.contains(name)) {
            // A configuration that the reader writes is not ours.
            let is_ours = name.contains('/') || !name.ends_with(".cfg");
            if is_ours && !exists(name) {
                faults.push(format!("{}: {name} does not exist", document.path));
            }
        }
    }
    for source in sources() {
        // Beside the source, or in a directory above it.
        let exists = |name: &str| {
            let above = Path::new(&source.path).ancestors().skip(1);
            above.map(|dir| root.join(dir)).any(|dir| dir.join(name).exists())
        };
        for (number, line) in source.lines() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let words = comment.split(|c: char| !is_word_character(c) && !"./-".contains(c));
            let documents = words.map(|word| word.trim_end_matches('.'));
            for name in documents.filter(|word| word.len() > 3 && word.ends_with(".md")) {
                if !COMING.contains(&name) && !exists(name) {
                    faults.push(format!("{}:{number}: {name} does not exist", source.path));
                }
            }
        }
    }
    report(&faults);
}
