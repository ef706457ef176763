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
#: what is put before a script, beside what all share: those by which tasks come, end or are replaced
#: move what waits for them as well
_BEFORE: Final = {
    **dict.fromkeys(("settle", "change", "weave", "confirm"), "workflow"), "claim": "special",
}  # fmt: skip
#: a script whose text goes on with that of another
_GOES_ON: Final = {"fire": "submit"}


@cache
def sources() -> dict[str, bytes]:
    """Name → text, with what it shares with others put before it."""
    folder = files("nbqueue.transports.redis") / "lua"

    def text(name: str) -> bytes:
        return (folder / f"{name}.lua").read_bytes() if name else b""

    return {
        name: text("shared") + text(_BEFORE.get(name, "")) + text(name) + text(_GOES_ON.get(name, ""))
        for name in NAMES
    }


@cache
def digests() -> dict[str, bytes]:
    """Name → what Redis calls it."""
    return {name: hashlib.sha1(text).hexdigest().encode() for name, text in sources().items()}
