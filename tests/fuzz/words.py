"""Messages that are of the right types and say anything: the fuzzers' vocabulary.

Whatever is drawn comes from one number source, so that a seed replays it, and a fuzzer that is guided by
coverage can steer it.
"""

import math
import types
import typing
from collections.abc import Callable
from typing import Any, Final, Protocol, Union

import msgspec

from nbqueue import messages as m
from nbqueue.core.inspect import TOPICS

MESSAGES: Final[tuple[type[m.AnyMessage], ...]] = typing.get_args(m.AnyMessage)
#: What a broker expects of each; submissions and outcomes keep the rest alive.
OF_CLIENT: Final = (m.Submit, m.Submit, m.Submit, m.Define, m.Cancel, m.Watch, m.Forget, m.Ask, m.Ping)
OF_EXECUTOR: Final = (
    m.Settle, m.Settle, m.Settle, m.Started, m.Progress, m.Update, m.Output, m.Retry, m.Need, m.Returned,
    m.Held, m.Ping,
)  # fmt: skip
OF_WORKER: Final = (m.Heartbeat, m.ExecutorLost, m.Ping)
OF_ANY: Final = (m.Hello, m.Goodbye, *OF_CLIENT, *OF_EXECUTOR, *OF_WORKER)
EXPECTED: Final = {m.CLIENT: OF_CLIENT, m.EXECUTOR: OF_EXECUTOR, m.CONTROL: OF_EXECUTOR, m.WORKER: OF_WORKER}


class Source(Protocol):
    """Where choices come from."""

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1."""


_INTEGERS: Final = (0, 1, 2, 3, 255, 2**31, 2**32, 2**32 + 1, 2**33, 2**53, 2**63 - 1, -1, -9, -(2**63))
_FLOATS: Final = (0.0, 1.0, 0.5, 1e-9, 30.0, 1e9, 1e308, -1.0, -1e308, math.inf, -math.inf, math.nan)
_TEXTS: Final = ("", "x", "é\0\n", "../../etc", "{0}", "%s", "<b>", "9" * 300, "z" * 70_000)
_BYTES: Final = (b"", b"x", b"\x80\x04.", b"\0" * 300, b"y" * 70_000)


class Words:
    """Draws messages.  What it has heard of is what it mostly speaks of: then they have effects."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._made = 0
        self.tasks = ["t0", "t1", "t2"]
        self.tokens = [2**32 + 1]
        self.peers = ["p0", "p1", "p2", "p3"]
        self.blobs = ["d", "other"]
        by_name: dict[str, Callable[[], Any]] = {
            "protocol": lambda: self._mostly(m.PROTOCOL, int),
            "role": lambda: self._one((m.CLIENT, m.WORKER, m.EXECUTOR, m.CONTROL, "king")),
            "topic": lambda: self._one((*TOPICS, "gossip")) if below(50) else "stop",
            "state": lambda: self._one(
                ("SUCCESS", "SUCCESS", "FAILURE", "REVOKED", "PENDING", "RETRY", "PROGRESS", "")
            ),
            "queue": lambda: self._one(("default", "gpu", "")),
            "queues": lambda: [["default"], ["default", "gpu"], []][below(3)],
            "python": lambda: self._one(("", "3.11", "2.7")),
            "env": lambda: self._one(("", "/env")),
            "priority": lambda: self._one((0, 5, 9, 9, 0, 1, 3, -1, 10, 2**40)),
            "token": self._token,
            "latest": self._token,
            "tokens": lambda: [self._token() for _ in range(below(4))],
            "held": lambda: [(self._one(self.tasks), self._token()) for _ in range(below(4))],
            "ids": lambda: [self._one(self.tasks) for _ in range(below(4))],
            "parent_id": lambda: self._one((*self.tasks, "")),
            "executors": lambda: [self._one(self.peers) for _ in range(below(4))],
            "executor": lambda: self._one(self.peers),
            "worker": lambda: self._one(self.peers),
            "definition": lambda: self._one((*self.blobs, "")),
            "captured_key": lambda: self._one(("", "", *self.blobs)),
            "key": lambda: self._one(self.blobs),
            "args": self._args,
        }
        below = source.below
        self._by_name = by_name

    def message(self, role: str = "") -> m.AnyMessage:
        """Any message; more often one that is expected of that role."""
        surprise = self._source.below(40)
        kinds: Any = MESSAGES if not surprise else OF_ANY if surprise < 5 else EXPECTED.get(role, OF_ANY)
        return typing.cast(m.AnyMessage, self.make(self._one(kinds)))

    def make(self, kind: type) -> Any:
        """A message, or a part of one."""
        values = []
        for field in msgspec.structs.fields(kind):
            if field.default is not msgspec.NODEFAULT and self._source.below(3):
                values.append(field.default)
            elif not self._source.below(40):
                values.append(self._value(field.type))  # whatever its name is
            elif field.name == "id":
                values.append(self._id(kind))
            elif field.name in self._by_name:
                values.append(self._by_name[field.name]())
            else:
                values.append(self._value(field.type))
        return kind(*values)

    def _id(self, kind: type) -> str:
        if kind is m.Hello:
            return str(self._one(self.peers))
        if kind is m.Task and self._source.below(2):
            self._made += 1
            self.tasks.append(f"new{self._made}")
        return str(self._one(self.tasks[-15:]))

    def _value(self, kind: Any) -> Any:
        """Any value of a type."""
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if kind is bool:
            return bool(self._source.below(2))
        if kind is int:
            return self._one(_INTEGERS)
        if kind is float:
            return self._one(_FLOATS)
        if kind is str:
            return self._text()
        if kind is bytes:
            return self._one(_BYTES)
        if origin is list:
            return [self._value(args[0]) for _ in range(self._source.below(4))]
        if origin is dict:
            return {str(n): self._value(args[1]) for n in range(self._source.below(3))}
        if origin is tuple:
            return tuple(self._value(arg) for arg in args)
        if origin in (Union, types.UnionType):
            return self._value(self._one(args))
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.make(kind)
        return None

    def _args(self) -> dict[str, Any]:
        values = (self._one(self.tasks), *_INTEGERS, *_FLOATS, None, [], {}, "x")
        return {name: self._one(values) for name in ("id", "limit") if self._source.below(3)}

    def _text(self) -> str:
        return self._one(_TEXTS) if self._source.below(3) else self._one(self.tasks)

    def _token(self) -> int:
        if not self._source.below(8):
            return int(self._one(_INTEGERS))
        return int(self._one(self.tokens[-20:])) + (0 if self._source.below(8) else 1)

    def _mostly(self, value: Any, kind: type) -> Any:
        return value if self._source.below(20) else self._value(kind)

    def _one(self, choices: Any) -> Any:
        return choices[self._source.below(len(choices))]
