#!/usr/bin/env python3
"""What the checker must accept and what it must refuse: small histories, and doctored long ones.

    linear_test.py [-k part of a name]

The long ones are made by a service that is right, so they must be accepted; then they are
doctored as a service would that is wrong in one place, and must be refused.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from history import History, Operation
from linear import NotLinearizable, apply, check

NEVER = None


def op(began: float, ended: float | None, result: list | None, *parts: list) -> Operation:
    """An operation by its times; without an end its result is unknown."""
    client = int(began)
    if ended is NEVER:
        return Operation(client, list(parts), began)
    return Operation(client, list(parts), began, ended, result)


def read(key: str, *found: object) -> tuple[list, list]:
    """Result and part of a read that found a value and a version, or nothing."""
    return ["ok", list(found) if found else None], ["read", key, None, -1]


def put(key: str, value: str, version: int, expected: int = -1) -> tuple[list, list]:
    return ["ok", version], ["set", key, value, expected]


def create(key: str, value: str) -> tuple[list, list]:
    return ["ok", 0], ["create", key, value, -1]


def delete(key: str) -> tuple[list, list]:
    return ["ok", None], ["delete", key, None, -1]


MADE = op(0, 1, *create("x", "a"))
SET_B = op(2, 3, *put("x", "b", 1))
BOTH = ["multi", ["ok", 1, 1], ["set", "x", "b", -1], ["set", "y", "b", -1]]
MADE_Y = op(0, 1, *create("y", "a"))

SMALL: list[tuple[str, bool, list[Operation]]] = [
    ("nothing at all", True, []),
    ("a read of what was written", True, [MADE, SET_B, op(4, 5, *read("x", "b", 1))]),
    ("a stale read", False, [MADE, SET_B, op(4, 5, *read("x", "a", 0))]),
    ("an old value while it is replaced", True, [MADE, SET_B, op(2.5, 5, *read("x", "a", 0))]),
    ("reads that go back", False,
     [MADE, op(2, 9, *put("x", "b", 1)), op(3, 4, *read("x", "b", 1)),
      op(5, 6, *read("x", "a", 0))]),
    ("a lost write", False, [MADE, SET_B, op(4, 5, *put("x", "c", 1))]),
    ("a write done twice", False, [MADE, SET_B, op(4, 5, *read("x", "b", 2))]),
    ("a value that nobody wrote", False, [MADE, op(4, 5, *read("x", "z", 0))]),
    ("a value from the future", False, [MADE, op(1.5, 1.7, *read("x", "b", 1)), SET_B]),
    ("a version that did not match", False, [MADE, SET_B, op(4, 5, *put("x", "c", 2, 0))]),
    ("one version for two", False,
     [MADE, op(2, 9, *put("x", "b", 1, 0)), op(3, 9, *put("x", "c", 1, 0))]),
    ("a refused version", True,
     [MADE, SET_B, op(4, 5, ["BadVersionError"], ["set", "x", "c", 0])]),
    ("a refusal that wrote", False,
     [MADE, SET_B, op(4, 5, ["BadVersionError"], ["set", "x", "c", 0]),
      op(6, 7, *read("x", "c", 2))]),
    ("deleted and there", False, [MADE, op(2, 3, *delete("x")), op(4, 5, *read("x", "a", 0))]),
    ("deleted and made anew", True,
     [MADE, SET_B, op(4, 5, *delete("x")), op(6, 7, *create("x", "c")),
      op(8, 9, *read("x", "c", 0))]),
    ("unknown, and not done", True,
     [MADE, op(2, NEVER, *put("x", "b", 1)), op(4, 5, *read("x", "a", 0))]),
    ("unknown, and done late", True,
     [MADE, op(2, NEVER, *put("x", "b", 1)), op(4, 5, *read("x", "a", 0)),
      op(6, 7, *read("x", "b", 1))]),
    ("unknown, and done twice", False,
     [MADE, op(2, NEVER, *put("x", "b", 1)), op(4, 5, *read("x", "b", 1)),
      op(6, 7, *put("x", "c", 2)), op(8, 9, *read("x", "b", 3))]),
    ("unknown, and undone", False,
     [MADE, op(2, NEVER, *put("x", "b", 1)), op(4, 5, *read("x", "b", 1)),
      op(6, 7, *read("x", "a", 0))]),
    ("a multi", True,
     [MADE, MADE_Y, op(2, 3, *BOTH[1:]), op(4, 5, *read("x", "b", 1)),
      op(6, 7, *read("y", "b", 1))]),
    ("half a multi", False,
     [MADE, MADE_Y, op(2, 3, *BOTH[1:]), op(4, 5, *read("x", "b", 1)),
      op(6, 7, *read("y", "a", 0))]),
    ("half a multi, unknown", False,
     [MADE, MADE_Y, op(2, NEVER, *BOTH[1:]), op(4, 5, *read("x", "b", 1)),
      op(6, 7, *read("y", "a", 0))]),
    ("a multi seen from two sides", False,
     # Each key alone is explained; both together are not.
     [MADE, MADE_Y, op(2, 9, ["ok", None, 1], ["check", "x", None, 0], ["set", "y", "b", -1]),
      op(3, 4, *put("x", "c", 1)), op(5, 6, *read("y", "a", 0)), op(7, 8, *read("y", "b", 1))]),
    ("a multi that fails and writes", False,
     [MADE, MADE_Y, op(2, 3, ["BadVersionError"], ["set", "x", "b", -1], ["check", "y", None, 7]),
      op(4, 5, *read("x", "b", 1))]),
]  # fmt: skip


# -- long histories ----------------------------------------------------------

KEYS = ["x", "y", "z"]
LONG = 400


def random_parts(rng: random.Random, at: int) -> list[list]:
    chosen = rng.random()
    if chosen < 0.4:
        return [["read", rng.choice(KEYS), None, -1]]
    if chosen < 0.6:
        return [["set", key, f"v{at}", -1] for key in KEYS[:2]]
    what = rng.choice(["set", "set", "create", "delete"])
    version = -1 if what == "create" else rng.choice([-1, -1, rng.randrange(4)])
    return [[what, rng.choice(KEYS), None if what == "delete" else f"v{at}", version]]


def healthy(seed: int) -> History:
    """Eight clients on three keys; three of a hundred results are unknown. Each operation takes
    effect at a moment between its call and its return, or some time later if it is unknown."""
    rng = random.Random(seed)
    free_at = [rng.random() for _ in range(8)]
    operations, moments = [], []
    for at in range(LONG):
        client = rng.randrange(8)
        operation = Operation(client, random_parts(rng, at), began=free_at[client])
        done = operation.began + rng.random()
        free_at[client] = ended = done + rng.random()
        if rng.random() < 0.03:
            ended, done = None, done + rng.choice([0, 5, 1000])
        moments.append((done, at, ended))
        operations.append(operation)
    places = {key: place for place, key in enumerate(KEYS)}
    state = (None,) * len(KEYS)
    end = max(free_at) + 10
    for done, at, ended in sorted(moments, key=lambda moment: moment[:2]):
        if done < end:
            state, result = apply(operations[at], places, state)
            if ended:
                operations[at].ended, operations[at].result = ended, result
    history = History(operations)
    final_reads(history, end, dict(zip(KEYS, state, strict=True)))
    return history


def final_reads(history: History, at: float, state: dict) -> None:
    for n, (key, znode) in enumerate(state.items()):
        result, part = read(key, *znode) if znode else read(key)
        history.operations.append(op(at + n, at + n + 0.5, result, part))


def last_state(history: History) -> tuple[float, dict]:
    """When all is over, and what the last reads saw."""
    seen = history.operations[-len(KEYS) :]
    return seen[-1].ended + 1, {o.keys[0]: o.result[1] for o in seen}


def forget_a_write(history: History) -> None:
    """One more write is acknowledged, and what is read afterwards is what it was before."""
    at, state = last_state(history)
    result, part = put("z", "lost", state["z"][1] + 1) if state["z"] else create("z", "lost")
    history.operations.append(op(at, at + 0.5, result, part))
    final_reads(history, at + 1, state)


def halve_a_multi(history: History) -> None:
    """A multi makes two znodes anew, and only one is seen."""
    at, state = last_state(history)
    gone = [delete(key)[1] for key in ("x", "y") if state[key]]
    if gone:
        history.operations.append(op(at, at + 0.5, ["ok", *[None] * len(gone)], *gone))
    made = [create(key, "both")[1] for key in ("x", "y")]
    history.operations.append(op(at + 1, at + 2, ["ok", 0, 0], *made))
    final_reads(history, at + 3, state | {"x": ["both", 0], "y": None})


def show_the_past(history: History) -> None:
    """A read in the middle is given what was true before a write that was over."""
    reads = [o for o in history.operations if o.parts[0][0] == "read" and o.known and o.result[1]]
    for old in reads:
        for new in reads:
            is_same = new.keys == old.keys and new.result != old.result
            # What the new one saw came later, since the old one was over before.
            if is_same and old.ended < new.began:
                for late in reads:
                    if late.keys == old.keys and late.began > new.ended:
                        late.result = deepcopy(old.result)
                        return
    raise AssertionError("no reads to doctor")


def do_it_twice(history: History) -> None:
    """The last reads show a version that nobody wrote."""
    at, state = last_state(history)
    result, part = create("w", "once")
    history.operations.append(op(at, at + 0.5, result, part))
    final_reads(history, at + 1, {"w": ["once", 1]})


DOCTORS: list[Callable[[History], None]] = [
    forget_a_write,
    halve_a_multi,
    show_the_past,
    do_it_twice,
]


# -- the run -----------------------------------------------------------------


def verdict(history: History) -> bool:
    try:
        check(history)
    except NotLinearizable:
        return False
    return True


def test_small(name: str, accepted: bool, operations: list[Operation]) -> None:
    found = verdict(History(operations))
    assert found == accepted, f"{name}: {'accepted' if found else 'refused'}"


def test_long(doctor: Callable[[History], None] | None) -> None:
    for seed in range(10):
        history = healthy(seed)
        if doctor:
            doctor(history)
        found = verdict(history)
        assert found == (doctor is None), f"seed {seed} is {'accepted' if found else 'refused'}"


def by_trying_all(operations: list[Operation]) -> bool:
    """The definition: some order of all that is known, and of some that is not, explains it."""
    places = {key: place for place, key in enumerate(KEYS)}
    unknown = [o for o in operations if not o.known]
    for kept in itertools.product([True, False], repeat=len(unknown)):
        left_out = [o for o, keep in zip(unknown, kept, strict=True) if not keep]
        chosen = [o for o in operations if not any(o is other for other in left_out)]
        for order in itertools.permutations(chosen):
            if any(b.ended < a.began for a, b in itertools.combinations(order, 2)):
                continue
            state = (None,) * len(KEYS)
            for operation in order:
                state, result = apply(operation, places, state)
                if operation.known and result != operation.result:
                    break
            else:
                return True
    return False


def test_against_trying_all() -> None:
    accepted = 0
    for seed in range(400):
        rng = random.Random(seed)
        operations = []
        state, places = (None,) * len(KEYS), {key: place for place, key in enumerate(KEYS)}
        for at in range(6):
            began = at + rng.random() * 2
            operation = Operation(at, random_parts(rng, at), began)
            after, result = apply(operation, places, state)
            # Some results are of a service that lost a write.
            state = after if rng.random() < 0.8 else state
            if rng.random() < 0.8:
                operation.ended, operation.result = began + rng.random() * 4, result
            operations.append(operation)
        found, truth = verdict(History(operations)), by_trying_all(operations)
        assert found == truth, "\n".join([f"seed {seed}: is {truth}", *map(str, operations)])
        accepted += truth
    assert 100 < accepted < 390, f"{accepted} of 400 are linearizable: a one-sided test"


def test_a_file_keeps_it_all() -> None:
    history = healthy(1)
    with tempfile.NamedTemporaryFile() as file:
        history.save(Path(file.name))
        again = History.load(Path(file.name))
    assert again.operations == history.operations
    check(again)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", help="ignored: no server takes part")
    parser.add_argument("-k", default="", help="only tests with this in their names")
    args = parser.parse_args()
    tests: list[tuple[str, Callable[[], None]]] = [
        *((f"small: {row[0]}", lambda row=row: test_small(*row)) for row in SMALL),
        ("long: healthy", lambda: test_long(None)),
        *((f"long: {d.__name__}", lambda d=d: test_long(d)) for d in DOCTORS),
        ("against trying all orders", test_against_trying_all),
        ("a file keeps it all", test_a_file_keeps_it_all),
    ]
    passed = failed = 0
    for name, test in tests:
        if args.k not in name:
            continue
        try:
            test()
            passed += 1
        except Exception as error:  # every failure is reported, and the next test runs
            failed += 1
            print(f"FAILED {name}: {type(error).__name__}: {error}")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
