"""The Lua scripts: storage atoms, one a file, with its keys on top."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

NAMES: Final = (
    "submit", "claim", "settle", "change", "report", "look", "forget", "join", "beat", "leave", "chores",
    "discard", "held", "weave", "confirm", "inputs", "related", "stream", "items",
)  # fmt: skip
#: those by which tasks come, end or are replaced: what waits for them is moved by the same script
_OF_WORKFLOWS: Final = frozenset({"settle", "change", "weave", "confirm"})


@cache
def sources() -> dict[str, bytes]:
    """Name → text, with what they share put before each."""
    folder = files("nbqueue.transports.redis") / "lua"
    shared, workflow = ((folder / f"{name}.lua").read_bytes() for name in ("shared", "workflow"))
    return {
        name: shared + (workflow if name in _OF_WORKFLOWS else b"") + (folder / f"{name}.lua").read_bytes()
        for name in NAMES
    }


@cache
def digests() -> dict[str, bytes]:
    """Name → what Redis calls it."""
    return {name: hashlib.sha1(text).hexdigest().encode() for name, text in sources().items()}
