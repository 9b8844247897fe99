#!/usr/bin/env python3
"""Is a history linearizable? Wing and Gong's search, with Lowe's just-in-time order.

    linear.py HISTORY...        files that chaos.py has kept

Linearizability is local: a history is linearizable if what concerns each object is. An object here
is a znode, or several that a multi has ever touched together; each is searched alone.

The search goes through the calls and returns of an object in the order of time and keeps every
*configuration* that explains what was seen so far: the znodes' state, and which of the operations
under way have taken effect. At a return every configuration must have that operation in it, if
need be after others that are under way; a history is refused where none is left. An operation with
an unknown result is under way for ever.

No package does this for Python, and no crate for histories of this length; hence this file. What
it must refuse is in `linear_test.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from history import History, Operation

# A znode: (value, version), or None where there is none. A state: one for each key of an object.
Znode = tuple[str, int] | None
State = tuple[Znode, ...]
# Of the operations under way, those that have taken effect, as bits.
Configuration = tuple[State, int]

# Beyond this a history says too little: the workload lets too many operations run on one object.
MOST_CONFIGURATIONS = 200_000


class NotLinearizable(Exception):
    """No order explains the history; says where it ended."""


class TooVague(Exception):
    """There are too many orders to look at."""


# -- what operations do ------------------------------------------------------


def _part(znode: Znode, what: str, value: str | None, version: int) -> tuple[Znode, object] | str:
    """One part on one znode: what it becomes and what is answered, or an error's name."""
    if what == "create":
        return "NodeExistsError" if znode else ((value, 0), 0)
    if what == "read":
        return znode, list(znode) if znode else None
    if znode is None:
        return "NoNodeError"
    if version not in (-1, znode[1]):
        return "BadVersionError"
    if what == "delete":
        return None, None
    if what == "check":
        return znode, None
    assert what == "set", what
    return (value, znode[1] + 1), znode[1] + 1


def apply(operation: Operation, places: dict[str, int], state: State) -> tuple[State, list]:
    """The state after an operation, and its result. A multi that fails changes nothing."""
    after = list(state)
    answers = []
    for what, key, value, version in operation.parts:
        done = _part(after[places[key]], what, value, version)
        if isinstance(done, str):
            return state, [done]
        after[places[key]], answer = done
        answers.append(answer)
    return tuple(after), ["ok", *answers]


# -- the search --------------------------------------------------------------


class Search:
    """One object's history."""

    def __init__(self, operations: list[Operation]) -> None:
        keys = sorted({key for operation in operations for key in operation.keys})
        self.places = {key: place for place, key in enumerate(keys)}
        # A read that nobody saw the answer of says nothing.
        self.operations = [op for op in operations if op.known or op.writes]
        # The operations under way by their bits, which are given again once they are over.
        self.under_way: dict[int, Operation] = {}
        self.configurations: set[Configuration] = {((None,) * len(keys), 0)}
        self.widest = 0

    def run(self) -> None:
        for is_return, operation in self._events():
            if is_return:
                bit = next(b for b, o in self.under_way.items() if o is operation)
                self._return(bit, operation)
            else:
                bit = 1
                while bit in self.under_way:
                    bit <<= 1
                self.under_way[bit] = operation

    def _events(self) -> Iterator[tuple[bool, Operation]]:
        # Of a call and a return at the same time the call goes first: that refuses less.
        events = [(op.began, False, n) for n, op in enumerate(self.operations)]
        events += [(op.ended, True, n) for n, op in enumerate(self.operations) if op.known]
        for _, is_return, number in sorted(events):
            yield is_return, self.operations[number]

    def _return(self, bit: int, operation: Operation) -> None:
        """Keeps what explains that this operation is over."""
        left: set[Configuration] = set()
        seen: set[Configuration] = set()
        todo = list(self.configurations)
        while todo:
            configuration = self._settle(todo.pop())
            if configuration in seen:
                continue
            seen.add(configuration)
            if len(seen) > MOST_CONFIGURATIONS:
                raise TooVague(f"more than {MOST_CONFIGURATIONS} explanations at {operation}")
            state, done = configuration
            if done & bit:
                left.add((state, done & ~bit))
            else:
                todo += self._steps(state, done)
        self.widest = max(self.widest, len(seen))
        if not left:
            raise NotLinearizable(self._explain(operation))
        del self.under_way[bit]
        self.configurations = left

    def _settle(self, configuration: Configuration) -> Configuration:
        """Lets every operation take effect that changes nothing and has the right result: sooner
        is never worse than later."""
        state, done = configuration
        for bit, operation in self.under_way.items():
            if not done & bit and operation.known:
                after, result = apply(operation, self.places, state)
                if after == state and result == operation.result:
                    done |= bit
        return state, done

    def _steps(self, state: State, done: int) -> Iterator[Configuration]:
        """All that may happen next."""
        for bit, operation in self.under_way.items():
            if done & bit:
                continue
            after, result = apply(operation, self.places, state)
            if after != state and result == (operation.result if operation.known else result):
                yield after, done | bit

    def _explain(self, operation: Operation) -> str:
        states = sorted({str(state) for state, _ in self.configurations})
        under_way = "\n".join(f"    {other}" for other in self.under_way.values())
        before = [op for op in self.operations if op.known and op.ended < operation.began]
        last = "\n".join(f"    {op}" for op in sorted(before, key=lambda op: op.ended)[-6:])
        return (
            f"nothing explains\n    {operation}\n  keys {list(self.places)}\n"
            f"  what they could be before: {' or '.join(states[:6])}\n"
            f"  under way then:\n{under_way}\n  over before it began:\n{last}"
        )


def objects(operations: list[Operation]) -> list[list[Operation]]:
    """The operations of each object: keys are one where a multi names them together."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for operation in operations:
        first, *others = map(root, operation.keys)
        for other in others:
            parent[root(other)] = root(first)
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        found.setdefault(root(operation.keys[0]), []).append(operation)
    return list(found.values())


def check(history: History) -> str:
    """Raises NotLinearizable; otherwise says how much was looked at."""
    parts = objects(history.operations)
    widest = 0
    for part in parts:
        search = Search(part)
        search.run()
        widest = max(widest, search.widest)
    known, unknown = history.counts()
    return (
        f"linearizable: {known} operations and {unknown} of unknown result on {len(parts)} "
        f"objects; at most {widest} explanations at once"
    )


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    for path in sys.argv[1:]:
        try:
            print(f"{path}: {check(History.load(Path(path)))}")
        except (NotLinearizable, TooVague) as error:
            print(f"{path}: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
