"""The Lua scripts: storage atoms, one a file, with its keys on top."""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

NAMES: Final = (
    "submit", "claim", "settle", "change", "report", "look", "forget", "join", "beat", "leave", "chores",
    "discard", "held", "schedule", "keeper", "fire", "weave", "confirm", "inputs", "related",
    "stream", "items",
)  # fmt: skip
#: those by which tasks come, end or are replaced: what waits for them is moved by the same script
_OF_WORKFLOWS: Final = frozenset({"settle", "change", "weave", "confirm"})


#: a script whose text goes on with that of another
_GOES_ON: Final = {"fire": "submit"}


@cache
def sources() -> dict[str, bytes]:
    """Name → text, with what they share put before each."""
    folder = files("nbqueue.transports.redis") / "lua"
    shared, workflow = ((folder / f"{name}.lua").read_bytes() for name in ("shared", "workflow"))
    texts = {name: (folder / f"{name}.lua").read_bytes() for name in NAMES}
    return {
        name: shared
        + (workflow if name in _OF_WORKFLOWS else b"")
        + text
        + texts.get(_GOES_ON.get(name, ""), b"")
        for name, text in texts.items()
    }


@cache
def digests() -> dict[str, bytes]:
    """Name → what Redis calls it."""
    return {name: hashlib.sha1(text).hexdigest().encode() for name, text in sources().items()}
