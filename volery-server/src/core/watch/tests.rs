//! Watches: which event reaches whom, and what setWatches catches up.

use std::sync::Arc;

use volery_proto::ids::Zxid;
use volery_proto::zk::{Acl, ErrorCode, Id, SetWatches, SetWatches2, perms};

use super::*;
use crate::core::test_tree::{TestTree, acl, identity, open};
use crate::core::types::{Change, ConnId, Part};

/// `1 data /a`: connection 1 watches the data of `/a`.
fn table(watches: &[&str]) -> WatchTable {
    let mut table = WatchTable::new(false);
    for text in watches {
        let words: Vec<&str> = text.split(' ').collect();
        table.add(words[2], conn(words[0]), kind(words[1]));
    }
    table
}

fn conn(text: &str) -> ConnId {
    ConnId(text.parse().expect("a number"))
}

fn kind(text: &str) -> WatchKind {
    match text {
        "data" => WatchKind::Data,
        "child" => WatchKind::Child,
        "persistent" => WatchKind::Persistent,
        "recursive" => WatchKind::Recursive,
        other => panic!("{other}"),
    }
}

/// `create /a`, `delete /a`, `set /a`, `acl /a`.
fn change(text: &str) -> Change {
    let (what, path) = text.split_once(' ').expect("two words");
    let path = path.into();
    match what {
        "create" => Change::Create { path, data: None, acl: open().into(), owner: 0 },
        "delete" => Change::Delete { path },
        "set" => Change::SetData { path, data: None },
        "acl" => Change::SetAcl { path, acl: open().into() },
        other => panic!("{other}"),
    }
}

fn show(event: &Event) -> String {
    let kind = match event.kind {
        EventType::NodeCreated => "created",
        EventType::NodeDeleted => "deleted",
        EventType::NodeDataChanged => "data",
        EventType::NodeChildrenChanged => "children",
    };
    format!("{} {kind} {}", event.conn.0, event.path)
}

fn fire(table: &mut WatchTable, text: &str, part: Part) -> Vec<String> {
    let open = open();
    let mut events = Vec::new();
    let acls = (open.as_slice(), open.as_slice());
    table.fire_change(0, &change(text), part, &acls, &mut events);
    let ranks = events.iter().map(|event| event.rank);
    assert!(ranks.is_sorted(), "{events:?}");
    events.iter().map(show).collect()
}

/// Goal: 2.5, which change fires which watch, once per connection. Method: watches, a change,
/// the events in order, and what is still registered then (as `watch_count`).
#[test]
fn changes_fire_watches() {
    type Line<'a> = (&'a [&'a str], &'a str, &'a [&'a str], usize);
    let lines: &[Line<'_>] = &[
        (&[], "create /a", &[], 0),
        (&["1 data /a"], "create /a", &["1 created /a"], 0),
        (&["1 data /a"], "set /a", &["1 data /a"], 0),
        (&["1 data /a"], "delete /a", &["1 deleted /a"], 0),
        (&["1 data /a", "1 child /a"], "acl /a", &[], 2),
        (&["1 child /a"], "set /a", &[], 1),
        (&["1 child /a"], "create /a", &[], 1),
        (&["1 child /a"], "delete /a", &["1 deleted /a"], 0),
        (&["1 child /a"], "create /a/b", &["1 children /a"], 0),
        (&["1 child /a"], "delete /a/b", &["1 children /a"], 0),
        (&["1 child /"], "create /a", &["1 children /"], 0),
        (&["1 data /a"], "create /a/b", &[], 1),
        (&["1 data /a"], "create /ab", &[], 1),
        // A delete uses up both one-shots, with one event.
        (&["1 data /a", "1 child /a"], "delete /a", &["1 deleted /a"], 0),
        (&["2 data /a", "1 child /a"], "delete /a", &["2 deleted /a", "1 deleted /a"], 0),
        // Created before the parent's children changed; deleted likewise.
        (&["1 child /a", "1 data /a/b"], "create /a/b", &["1 created /a/b", "1 children /a"], 0),
        (
            &["2 child /a/b", "1 child /a", "3 data /a/b"],
            "delete /a/b",
            &["3 deleted /a/b", "2 deleted /a/b", "1 children /a"],
            0,
        ),
        // Persistent: both tables, and it stays.
        (&["1 persistent /a"], "create /a", &["1 created /a"], 2),
        (&["1 persistent /a"], "set /a", &["1 data /a"], 2),
        (&["1 persistent /a"], "delete /a", &["1 deleted /a"], 2),
        (&["1 persistent /a"], "create /a/b", &["1 children /a"], 2),
        (&["1 persistent /a"], "set /a/b", &[], 2),
        (&["1 persistent /a", "1 data /a", "1 child /a"], "set /a", &["1 data /a"], 2),
        (&["1 persistent /a", "1 data /a", "1 child /a"], "delete /a", &["1 deleted /a"], 2),
        // Recursive: the znode and all below, never children changed.
        (&["1 recursive /a"], "create /a", &["1 created /a"], 1),
        (&["1 recursive /a"], "create /a/b/c", &["1 created /a/b/c"], 1),
        (&["1 recursive /a"], "set /a/b", &["1 data /a/b"], 1),
        (&["1 recursive /a"], "delete /a/b", &["1 deleted /a/b"], 1),
        (&["1 recursive /a"], "create /ab", &[], 1),
        (&["1 recursive /a"], "set /", &[], 1),
        (&["1 recursive /"], "set /", &["1 data /"], 1),
        (&["1 recursive /"], "set /a", &["1 data /a"], 1),
        // Whatever the modes and ancestors, one event for each pass.
        (
            &["1 recursive /", "1 recursive /a", "1 data /a/b", "2 recursive /a"],
            "set /a/b",
            &["1 data /a/b", "2 data /a/b"],
            3,
        ),
        (&["1 recursive /", "1 child /a"], "delete /a", &["1 deleted /a"], 1),
        (&["1 recursive /", "1 child /a"], "delete /a/b", &["1 deleted /a/b", "1 children /a"], 1),
        (
            &["1 recursive /a", "1 persistent /a"],
            "create /a/b",
            &["1 created /a/b", "1 children /a"],
            2,
        ),
    ];
    for (watches, change, wanted, left) in lines {
        let mut table = table(watches);
        assert_eq!(fire(&mut table, change, Part::WHOLE), *wanted, "{watches:?} {change}");
        assert_eq!(table.watch_count(), *left, "{watches:?} {change}");
        check_indexes(&table);
    }
}

/// Goal: at a border each owner fires its half, and together they fire the whole once.
#[test]
fn owners_fire_their_halves() {
    let watches = ["1 recursive /", "1 child /a", "2 data /a/b", "2 child /a/b"];
    let (node, entry) = (Part { node: true, entry: false }, Part { node: false, entry: true });
    for change in ["create /a/b", "delete /a/b", "set /a/b"] {
        let whole = fire(&mut table(&watches), change, Part::WHOLE);
        let mut halves = fire(&mut table(&watches), change, node);
        halves.extend(fire(&mut table(&watches), change, entry));
        assert_eq!(halves, whole, "{change}");
    }
    assert_eq!(fire(&mut table(&watches), "create /a/b", entry), ["1 children /a"]);
}

/// Goal: events go only to those who may READ, by the ACL of the right znode; a filtered
/// one-shot is consumed all the same.
#[test]
fn events_are_filtered() {
    let private = vec![acl(perms::READ, "digest:u:h")];
    let closed = vec![acl(perms::WRITE, "world:anyone")];
    let watches = ["1 data /a/b", "2 data /a/b", "3 data /a/b", "1 child /a", "2 child /a"];
    let run = |node: &[Acl], parent: &[Acl], skip: bool| {
        let mut table = table(&watches);
        table.skip_acl = skip;
        let ids: Arc<[Id]> = [identity("digest:u:h")].into();
        table.set_identities(ConnId(1), ids);
        table.set_identities(ConnId(3), [identity("super:")].into());
        let mut events = Vec::new();
        let change = change("create /a/b");
        table.fire_change(4, &change, Part::WHOLE, &(node, parent), &mut events);
        assert_eq!(table.watch_count(), 0);
        assert!(events.iter().all(|event| event.rank.operation == 4));
        events.iter().map(show).collect::<Vec<_>>()
    };
    let created = |conns: &[u64]| conns.iter().map(|c| format!("{c} created /a/b")).collect();
    let with = |mut events: Vec<String>, more: &[&str]| {
        events.extend(more.iter().map(|e| (*e).to_owned()));
        events
    };
    let open = open();
    let all = with(created(&[1, 2, 3]), &["1 children /a", "2 children /a"]);
    assert_eq!(run(&open, &open, false), all);
    let children = ["1 children /a", "2 children /a"];
    assert_eq!(run(&private, &open, false), with(created(&[1, 3]), &children));
    assert_eq!(run(&open, &private, false), with(created(&[1, 2, 3]), &["1 children /a"]));
    assert_eq!(run(&closed, &closed, false), with(created(&[3]), &[]));
    assert_eq!(run(&closed, &closed, true), all);
}

/// Goal: removal and look-up by type (2.5); modes add up and go one by one.
#[test]
fn removal_by_type() {
    let watches = ["1 data /a", "1 child /a", "1 persistent /a", "1 recursive /a"];
    // Type, then the watch_count that is left of 4: the data table and the child table.
    let lines = [
        (WatcherType::Data, ["data"].as_slice()),
        (WatcherType::Children, &["child"]),
        (WatcherType::Persistent, &["persistent"]),
        (WatcherType::Recursive, &["recursive"]),
        (WatcherType::Any, &["data", "child", "persistent", "recursive"]),
    ];
    for (watcher_type, kinds) in lines {
        let mut table = table(&watches);
        assert!(table.contains("/a", ConnId(1), watcher_type));
        assert!(table.remove("/a", ConnId(1), watcher_type));
        assert!(!table.contains("/a", ConnId(1), watcher_type));
        assert!(!table.remove("/a", ConnId(1), watcher_type));
        assert!(!table.remove("/a", ConnId(2), watcher_type));
        assert!(!table.remove("/b", ConnId(1), watcher_type));
        let left = watches.iter().filter(|w| !kinds.iter().any(|k| w.contains(&format!(" {k} "))));
        let left: Vec<&str> = left.copied().collect();
        let expected = self::table(&left);
        assert_eq!(table.paths, expected.paths);
        assert_eq!(table.watch_count(), expected.watch_count());
        check_indexes(&table);
    }
}

/// Goal: the numbers of the wire.
#[test]
fn wire_numbers() {
    let types: Vec<bool> = (0..7).map(|n| WatcherType::from_i32(n).is_ok()).collect();
    assert_eq!(types, [false, true, true, true, true, true, false]);
    assert_eq!(WatcherType::from_i32(0), Err(ErrorCode::MarshallingError));
    assert_eq!(added_kind(0), Ok(WatchKind::Persistent));
    assert_eq!(added_kind(1), Ok(WatchKind::Recursive));
    assert_eq!(added_kind(2), Err(ErrorCode::MarshallingError));
    let event = EventType::NodeDeleted.to_wire(&"/a".into());
    assert_eq!((event.event_type, event.state, event.path), (2, 3, "/a".into()));
}

/// Goal: the end of a connection, counters and lists. A persistent watch counts twice; wchs,
/// wchc and wchp show the data table only.
#[test]
fn connections_counts_and_lists() {
    let watches =
        ["2 data /b", "1 data /b", "1 child /b", "1 persistent /a", "3 child /c", "2 recursive /b"];
    let mut table = table(&watches);
    assert_eq!((table.watch_count(), table.path_count(), table.connection_count()), (6, 3, 3));
    let by_path = [("/a".into(), vec![ConnId(1)]), ("/b".into(), vec![ConnId(1), ConnId(2)])];
    assert_eq!(table.by_path(), by_path);
    let by_conn = [(ConnId(1), vec!["/a".into(), "/b".into()]), (ConnId(2), vec!["/b".into()])];
    assert_eq!(table.by_connection(), by_conn);
    assert_eq!(table.summary(), Summary { connections: 2, paths: 2, watches: 3 });
    table.remove_connection(ConnId(1));
    assert_eq!((table.watch_count(), table.path_count(), table.connection_count()), (2, 2, 2));
    check_indexes(&table);
    table.remove_connection(ConnId(2));
    table.remove_connection(ConnId(3));
    table.remove_connection(ConnId(3));
    assert!(table.is_empty());
    assert_eq!((table.watch_count(), table.recursive, table.connection_count()), (0, 0, 0));
}

/// Both indexes hold the same pairs, and the counters what they hold.
fn check_indexes(table: &WatchTable) {
    let mut pairs: Vec<(ConnId, &str)> = Vec::new();
    let mut watches = 0;
    for (path, watchers) in &table.paths {
        assert!(!watchers.is_empty());
        for (conn, modes) in watchers {
            pairs.push((*conn, path));
            watches += modes.tables();
        }
    }
    pairs.sort();
    let by_conn = table.connections.iter();
    let by_conn = by_conn.flat_map(|(conn, paths)| paths.iter().map(|path| (*conn, &**path)));
    assert_eq!(pairs, by_conn.collect::<Vec<_>>());
    assert_eq!(watches, table.watch_count());
}

/// Goal: the table of setWatches (2.5). All znodes were made at zxid 1; `/a` changed at 50, its
/// children at 60; the partition's last write is 900.
#[test]
fn set_watches_catches_up() {
    let mut tree = TestTree::with(&["/a", "/q"]);
    tree.info("/a").mzxid = Zxid(50);
    tree.info("/a").pzxid = Zxid(60);
    // List, path, relative zxid; then the event or `-` for registered, and what is observed.
    let lines = [
        ("data", "/nope", 70, "deleted", 900),
        ("data", "/a", 49, "data", 50),
        ("data", "/a", 50, "-", 50),
        ("exist", "/nope", 70, "-", 900),
        ("exist", "/a", 70, "created", 50),
        ("child", "/nope", 70, "deleted", 900),
        ("child", "/a", 59, "children", 60),
        ("child", "/a", 60, "-", 60),
        ("persistent", "/nope", 0, "-", 0),
        ("persistent", "/a", 0, "-", 0),
        ("recursive", "/a", 0, "-", 0),
    ];
    for (list, path, relative_zxid, wanted, observed) in lines {
        let only = |name: &str| if name == list { vec![path.into()] } else { vec![] };
        let lists = SetWatches2 {
            relative_zxid,
            data: only("data"),
            exist: only("exist"),
            child: only("child"),
            persistent: only("persistent"),
            recursive: only("recursive"),
        };
        let mut table = WatchTable::new(false);
        let outcome = set_watches(&mut table, ConnId(1), &lists, &tree, Zxid(900));
        assert_eq!(outcome.observed, Zxid(observed), "{list} {path}");
        let registered = match list {
            "child" => WatcherType::Children,
            "persistent" => WatcherType::Persistent,
            "recursive" => WatcherType::Recursive,
            _ => WatcherType::Data,
        };
        assert_eq!(table.contains(path, ConnId(1), registered), wanted == "-", "{list} {path}");
        let got = outcome.events.first().map_or("-".to_owned(), |event| {
            let ImmediateEvent { kind, path, .. } = event.clone();
            let rank = Rank { operation: 0, step: 0 };
            show(&Event { conn: ConnId(1), kind, path, rank })
                .split(' ')
                .nth(1)
                .unwrap_or("")
                .into()
        });
        assert_eq!(got, wanted, "{list} {path}");
    }
}

/// Goal: events come in list order, each with its place in the lists.
#[test]
fn set_watches_in_list_order() {
    let tree = TestTree::with(&["/a", "/b"]);
    let paths = |texts: &[&str]| texts.iter().map(|t| (*t).into()).collect();
    let lists = widen(SetWatches {
        relative_zxid: 0,
        data: paths(&["/b", "/a"]),
        exist: paths(&["/x", "/a"]),
        child: paths(&["/y"]),
    });
    let mut table = WatchTable::new(false);
    let outcome = set_watches(&mut table, ConnId(1), &lists, &tree, Zxid(900));
    let got: Vec<(u32, EventType, &str)> =
        outcome.events.iter().map(|e| (e.index, e.kind, &*e.path)).collect();
    let wanted = [
        (0, EventType::NodeDataChanged, "/b"),
        (1, EventType::NodeDataChanged, "/a"),
        (3, EventType::NodeCreated, "/a"),
        (4, EventType::NodeDeleted, "/y"),
    ];
    assert_eq!(got, wanted);
    assert_eq!(table.by_path(), [("/x".into(), vec![ConnId(1)])]);
}
