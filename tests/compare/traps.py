"""Written sequences for the places where imitations of ZooKeeper go wrong.

Each is a name and a list of steps for compare.py, played on both servers; no
expected answers are written here, the original gives them.
"""

from __future__ import annotations

import jute
from jute import create_body, delete_body, e_acl, e_int, e_long, e_string, read_body, set_body

import compare
from compare import Step, call

W = "/t"  # every trap starts on an empty tree
NODE = call(0, jute.CREATE, create_body(W, b"data"), W, "/")


def create(path, client=0, opcode=jute.CREATE2, flags=0, data=b"x", acl=jute.OPEN_ACL, ttl=None):
    body = create_body(path, data, acl, flags, ttl)
    return call(client, opcode, body, *compare._near(path), note=f"create {path!r} {flags}")


def delete(path, client=0, version=-1):
    return call(client, jute.DELETE, delete_body(path, version), *compare._near(path))


def put(path, client=0, data=b"y", version=-1):
    return call(client, jute.SET_DATA, set_body(path, data, version), path)


def read(path, client=0, opcode=jute.EXISTS, watch=False):
    return call(client, opcode, read_body(path, watch), note=f"read {path!r}")


def multi(*ops, client=0, opcode=jute.MULTI):
    return call(client, opcode, jute.multi_body(list(ops)), "/", W, note="multi")


def auth(client, secret=b"alice:secret", scheme="digest"):
    body = e_int(0) + e_string(scheme) + jute.e_buffer(secret)
    return Step(client, "call", jute.AUTH, body, xid=-4, note=f"auth {scheme}")


def set_acl(path, acl, client=0, version=-1):
    body = e_string(path) + e_acl(acl) + e_int(version)
    return call(client, jute.SET_ACL, body, *compare._near(path))


def add_watch(path, mode, client=0):
    return call(client, jute.ADD_WATCH, e_string(path) + e_int(mode))


def unwatch(path, kind, client=0, opcode=jute.REMOVE_WATCHES):
    return call(client, opcode, e_string(path) + e_int(kind))


def set_watches(since, *lists, client=0, opcode=jute.SET_WATCHES2):
    body = e_long(since)
    for paths in lists:
        body += jute.e_vector([e_string(path) for path in paths])
    return Step(client, "call", opcode, body, xid=-8, note="setWatches")


READ_ONLY = [(1, "world", "anyone")]
C, D, S, K = jute.CREATE, jute.DELETE, jute.SET_DATA, jute.CHECK

TRAPS: dict[str, list[Step]] = {
    "the fresh tree": [
        read(path, opcode=opcode)
        for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")
        for opcode in (jute.EXISTS, jute.GET_DATA, jute.GET_CHILDREN2)
    ]
    + [call(0, jute.GET_ACL, e_string(p)) for p in ("/", "/zookeeper/config")],
    "cversion counts creates and deletes, the sequence only creates": [
        NODE,
        create(f"{W}/a"),
        create(f"{W}/b"),
        delete(f"{W}/a"),
        create(f"{W}/s-", flags=2),
        read(W),
        delete(f"{W}/s-0000000002"),
        create(f"{W}/s-", flags=3),
        create(f"{W}/", flags=2),
        read(W),
    ],
    "a failed multi": [
        NODE,
        multi((C, create_body(f"{W}/a")), (D, delete_body("/no")), (S, set_body(W, b"z"))),
        read(f"{W}/a"),
        read(W),
        multi((K, jute.check_body(W, 7)), (C, create_body(f"{W}/a"))),
        multi((C, create_body(f"{W}/a")), (C, create_body(f"{W}/a"))),
        read(W),
    ],
    "result types in a multi": [
        NODE,
        multi(
            (1, create_body(f"{W}/a")),
            (15, create_body(f"{W}/b")),
            (19, create_body(f"{W}/c", flags=4)),
            (21, create_body(f"{W}/d", flags=5, ttl=10**7)),
            (S, set_body(f"{W}/a", b"1")),
            (K, jute.check_body(f"{W}/a", 1)),
            (D, delete_body(f"{W}/a", 1)),
        ),
        read(W),
        multi(),
    ],
    "sequences within a multi": [
        NODE,
        multi(
            (1, create_body(f"{W}/s-", flags=2)),
            (1, create_body(f"{W}/s-", flags=2)),
            (15, create_body(f"{W}/e-", flags=3)),
            (1, create_body(f"{W}/p")),
            (1, create_body(f"{W}/p/c")),
        ),
        read(W),
        read(f"{W}/p"),
    ],
    "what a multi may hold": [
        NODE,
        multi((jute.GET_DATA, read_body(W))),
        multi((jute.EXISTS, read_body(W))),
        multi((C, create_body(f"{W}/a")), (jute.GET_DATA, read_body(W))),
        multi((C, create_body(f"{W}/a")), opcode=jute.MULTI_READ),
        multi((C, create_body(f"{W}/a", flags=9))),
        multi((C, create_body(f"{W}/a", flags=5))),
        multi((C, create_body(f"{W}/a", flags=4))),
        multi((19, create_body(f"{W}/b", flags=0))),
        multi((jute.GET_DATA, read_body(W, True)), (8, read_body("/no")), opcode=jute.MULTI_READ),
        multi(opcode=jute.MULTI_READ),
        put(W),
        read(f"{W}/a"),
        read(f"{W}/b"),
    ],
    "addWatch has a reply body and never fails": [
        add_watch("/no/where", 0),
        add_watch("/no/where", 1),
        add_watch("/", 7),
        add_watch("bad//path", 0),
    ],
    "order of the checks of create": [
        NODE,
        create("a/b"),
        create("/nope//x"),
        create("/x/"),
        create("/"),
        create(f"{W}/"),
        create(f"{W}//x"),
        create(f"{W}/.."),
        create(f"{W}/\0"),
        create("noslash"),
        create(""),
        create(None),
        create("/nope/x", acl=[]),
        create("/nope/x", acl=None),
        create("/nope/x", flags=9),
        create(f"{W}/bad", acl=[(31, "auth", "")]),
        create(f"{W}/bad", acl=[(31, "world", "me")]),
        create(W, acl=[]),
        create(f"{W}/e", flags=1),
        create(f"{W}/e/x"),
        create(f"{W}/e//x"),
        create(f"{W}/ro", acl=READ_ONLY),
        create(f"{W}/ro/x"),
        create(f"{W}/ro/../x"),
    ],
    "kinds of create by opcode and flags": [
        NODE,
        create(f"{W}/a", opcode=jute.CREATE, flags=4),
        create(f"{W}/b", opcode=jute.CREATE2, flags=4),
        create(f"{W}/c", opcode=jute.CREATE_CONTAINER, flags=4),
        create(f"{W}/d", opcode=jute.CREATE_CONTAINER, flags=0),
        create(f"{W}/e-", opcode=jute.CREATE_CONTAINER, flags=2),
        create(f"{W}/f", opcode=jute.CREATE, flags=5),
        create(f"{W}/g", opcode=jute.CREATE2, flags=6),
        create(f"{W}/h", opcode=jute.CREATE_TTL, flags=5, ttl=0),
        create(f"{W}/h", opcode=jute.CREATE_TTL, flags=5, ttl=-1),
        create(f"{W}/h", opcode=jute.CREATE_TTL, flags=5, ttl=1 << 40),
        create(f"{W}/h", opcode=jute.CREATE_TTL, flags=5, ttl=(1 << 40) - 1),
        create(f"{W}/i", opcode=jute.CREATE_TTL, flags=0, ttl=1000),
        create(f"{W}/j-", opcode=jute.CREATE_TTL, flags=6, ttl=1000),
        read(W, opcode=jute.GET_CHILDREN2),
        read(f"{W}/a"),
        read(f"{W}/h"),
    ],
    "delete asks the parent only": [
        auth(1),
        NODE,
        create(f"{W}/mine", client=1, acl=[(31, "auth", "")]),
        create(f"{W}/mine/c", client=1),
        delete(f"{W}/mine/c"),
        delete(f"{W}/mine", version=9),
        delete(f"{W}/mine"),
        delete(f"{W}/mine/c", client=1),
        delete(f"{W}/mine"),
        set_acl(W, [(31 - 8, "world", "anyone")]),
        create(f"{W}/c"),
        delete(f"{W}/c", version=9),
        delete(f"{W}/none"),
        delete("/no/none"),
        delete("/"),
        delete("/zookeeper"),
        delete("/zookeeper/quota"),
        delete("/zookeeper/config"),
        delete(f"{W}/"),
        delete("x"),
        delete(""),
        delete(None),
        delete("/a/../b"),
    ],
    "order of the checks of setData and setACL": [
        NODE,
        put(f"{W}/"),
        put("/no"),
        put("x"),
        put(None),
        put(W, version=5),
        set_acl(W, []),
        set_acl(f"{W}//", []),
        set_acl("/no", []),
        set_acl("/no", READ_ONLY),
        set_acl(W, READ_ONLY, version=3),
        set_acl(W, READ_ONLY, version=0),
        put(W, version=5),
        set_acl(W, [], version=0),
        set_acl(W, READ_ONLY, version=9),
        read(W),
    ],
    "null and empty data": [
        create(W, data=None),
        read(W, opcode=jute.GET_DATA),
        put(W, data=b""),
        read(W, opcode=jute.GET_DATA),
        put(W, data=None),
        read(W, opcode=jute.GET_DATA),
    ],
    "events come before the reply, and once": [
        NODE,
        read(W, opcode=jute.GET_DATA, watch=True),
        read(W, opcode=jute.EXISTS, watch=True),
        read(W, client=1, opcode=jute.GET_CHILDREN, watch=True),
        put(W),
        put(W),
        create(f"{W}/a"),
        create(f"{W}/b"),
        delete(f"{W}/a"),
    ],
    "a delete fires data and child watches as one event": [
        NODE,
        read(W, opcode=jute.GET_DATA, watch=True),
        read(W, opcode=jute.GET_CHILDREN, watch=True),
        read("/", client=1, opcode=jute.GET_CHILDREN, watch=True),
        read(W, client=1, opcode=jute.GET_CHILDREN, watch=True),
        delete(W),
        NODE,
        delete(W),
    ],
    "an exists watch on nothing": [
        read(W, watch=True),
        read(f"{W}/deep", client=1, watch=True),
        NODE,
        create(f"{W}/deep"),
        put(f"{W}/deep"),
    ],
    "failed reads set no watch, exists does": [
        read(W, opcode=jute.GET_DATA, watch=True),
        read(W, opcode=jute.GET_CHILDREN, watch=True),
        NODE,
        read("/", opcode=jute.GET_DATA),
    ],
    "persistent and recursive watches": [
        add_watch(W, 0),
        add_watch(W, 1, client=1),
        add_watch("/", 1, client=2),
        NODE,
        put(W),
        put(W),
        create(f"{W}/a"),
        create(f"{W}/a/b"),
        put(f"{W}/a/b"),
        set_acl(W, READ_ONLY),
        delete(f"{W}/a/b"),
        multi((C, create_body("/u")), (C, create_body("/u/v")), (S, set_body("/u", b"1"))),
        delete("/u/v"),
        delete("/u"),
    ],
    "removing and checking watches": [
        NODE,
        unwatch(W, 3),
        read(W, opcode=jute.GET_DATA, watch=True),
        read(W, opcode=jute.GET_CHILDREN, watch=True),
        unwatch(W, 1, opcode=jute.CHECK_WATCHES),
        unwatch(W, 2, opcode=jute.CHECK_WATCHES),
        unwatch(W, 3, client=1, opcode=jute.CHECK_WATCHES),
        unwatch(W, 2),
        unwatch(W, 2),
        put(W),
        unwatch(W, 9),
        unwatch(W, 3),
        create(f"{W}/a"),
        add_watch(W, 1),
        unwatch(W, 3),
        create(f"{W}/b"),
    ],
    "setWatches catches up": [
        NODE,
        create(f"{W}/a"),
        set_watches(0, [W, "/gone"], [f"{W}/a", "/later"], [W, "/lost"], ["/p"], ["/r"]),
        put(W),
        create(f"{W}/b"),
        create("/later"),
        create("/p"),
        create("/r"),
        create("/r/s"),
        set_watches(1 << 62, [W], [f"{W}/a"], [W], [], [], client=1),
        put(W),
        put(W),
        create(f"{W}/c"),
        set_watches(0, [W], [], [W], client=2, opcode=jute.SET_WATCHES),
    ],
    "watches do not outlive the connection, ephemerals do": [
        NODE,
        create(f"{W}/e", client=1, flags=1),
        read(W, client=1, opcode=jute.GET_DATA, watch=True),
        add_watch("/", 1, client=1),
        Step(1, "renew", paths=[W]),
        put(W),
        read(f"{W}/e"),
        call(1, jute.GET_EPHEMERALS, e_string("/")),
        Step(1, "reconnect", paths=[W, f"{W}/e"]),
        read(f"{W}/e"),
    ],
    "closing a session removes its ephemerals in one transaction": [
        NODE,
        create(f"{W}/e1", client=1, flags=1),
        create(f"{W}/e2", client=1, flags=1),
        read(f"{W}/e1", watch=True),
        read(f"{W}/e2", watch=True),
        call(1, jute.CLOSE, b"", W, f"{W}/e1", f"{W}/e2"),
        read(W),
    ],
    "masked digests and auth expansion": [
        auth(1),
        auth(1, b"alice2:secret"),
        create(W, client=1, acl=[(31, "auth", "x"), (1, "world", "anyone")]),
        call(1, jute.GET_ACL, e_string(W)),
        call(0, jute.GET_ACL, e_string(W)),
        call(1, jute.WHO_AM_I),
        call(0, jute.WHO_AM_I),
        set_acl(W, [(16, "world", "anyone"), (1, "digest", compare.ALICE)], client=1),
        call(0, jute.GET_ACL, e_string(W)),
        read(W, opcode=jute.GET_DATA),
        set_acl(W, [(2, "world", "anyone"), (1, "digest", compare.ALICE)]),
        call(0, jute.GET_ACL, e_string(W)),
    ],
    "failing authentication": [auth(0, scheme="bogus")],
    "digest of nonsense": [auth(0, b"nocolon"), call(0, jute.WHO_AM_I)],
    "super may everything": [
        auth(1),
        create(W, client=1, acl=[(31, "auth", "")]),
        auth(2, compare.SUPER_SECRET),
        call(2, jute.WHO_AM_I),
        read(W, client=2, opcode=jute.GET_DATA),
        put(W, client=2),
        call(2, jute.GET_ACL, e_string(W)),
        read(W, client=0, opcode=jute.GET_DATA),
    ],
    "plain look-ups of bad paths": [
        read(path, opcode=opcode)
        for path in ("", "x", "//", "/zookeeper/", "/\0", None)
        for opcode in (jute.EXISTS, jute.GET_DATA, jute.GET_CHILDREN)
    ],
    "sync looks at nothing": [call(0, jute.SYNC, e_string(path)) for path in ("/", "/no", "x", "")],
    "counting": [
        NODE,
        create(f"{W}/a"),
        create(f"{W}/a/b"),
        create("/tt"),
        *(
            call(0, jute.GET_ALL_CHILDREN_NUMBER, e_string(path))
            for path in ("/", W, f"{W}/a/b", "/no", "/zookeeper", "")
        ),
    ],
    "quota numbers": [
        NODE,
        create(f"{W}/a", data=b"12345"),
        create(f"/zookeeper/quota{W}", data=None),
        create(f"/zookeeper/quota{W}/zookeeper_limits", data=b"count=5,bytes=-1"),
        create(f"/zookeeper/quota{W}/zookeeper_stats", data=b"count=0,bytes=0"),
        read(f"/zookeeper/quota{W}/zookeeper_stats", opcode=jute.GET_DATA),
        create(f"{W}/b", data=b"123"),
        put(f"{W}/a", data=None),
        read(f"/zookeeper/quota{W}/zookeeper_stats", opcode=jute.GET_DATA),
        multi((C, create_body(f"{W}/c", b"12")), (D, delete_body(f"{W}/b"))),
        read(f"/zookeeper/quota{W}/zookeeper_stats", opcode=jute.GET_DATA),
        delete(f"/zookeeper/quota{W}/zookeeper_limits"),
        delete(f"/zookeeper/quota{W}/zookeeper_stats"),
        delete(f"/zookeeper/quota{W}"),
    ],
    "torn bodies leave the connection open": [
        NODE,
        *(call(0, opcode, b"\0\0") for opcode in (1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15, 103, 106)),
        read(W),
    ],
    "an unknown request": [call(0, 999)],
    "a negative length inside a record": [call(0, jute.GET_DATA, e_int(-7) + b"\0"), read("/")],
    "an odd xid is echoed": [
        Step(0, "call", jute.EXISTS, read_body("/"), xid=-77),
        Step(0, "call", jute.EXISTS, read_body("/"), xid=0),
        Step(0, "call", jute.PING, xid=-2),
    ],
    "reconfig is off": [
        call(0, jute.RECONFIG, e_string("server.5=h:1:2;3") + e_string(None) * 2 + e_long(-1))
    ],
    # The known differences, so that the table of them is used and stays true.
    "a check on its own": [NODE, call(0, jute.CHECK, jute.check_body(W, 0))],
    "exists without READ": [
        create(W, acl=[(31 - 1, "world", "anyone")]),
        read(W, opcode=jute.EXISTS),
    ],
    "deleteContainer from outside": [NODE, call(0, jute.DELETE_CONTAINER, e_string(W), W)],
    "watcher types of 3.9": [
        add_watch(W, 0),
        unwatch(W, 4, opcode=jute.CHECK_WATCHES),
    ],
}
