"""Which tasks belong together: the answers of ``core.kinship``, made of what is in Redis."""

from collections.abc import Iterable
from typing import Any, Final

from nbqueue.core import kinship
from nbqueue.core.records import Record
from nbqueue.transports.redis.desk import Desk

#: ids that a script looks through at a time: a millisecond or so, in which Redis does nothing else
_SLICE: Final = 500


class _Recent:
    """Some of the newest records, as the core looks at them; ``ids`` from the oldest to the newest."""

    def __init__(self, desk: Desk, ids: Iterable[str]) -> None:
        found = desk.look(list(dict.fromkeys(ids)))
        self._records = {id: one.record for id, one in found if one is not None}
        for order, record in enumerate(self._records.values()):
            record.order = order

    def newest(self, limit: int) -> list[Record]:
        return list(reversed(self._records.values()))[:limit]

    def get(self, id: str, /) -> Record | None:
        return self._records.get(id)


def children(desk: Desk, args: dict[str, Any]) -> list[dict[str, Any]]:
    """As ``core.inspect.children``, among the newest ids that are listed."""
    id, recent = str(args.get("id", "")), _ids(desk)
    if not id:
        return []
    mentioned: list[str] = []
    for start in range(0, len(recent), _SLICE):
        mentioned += _text(desk.run("related", id, *recent[start : start + _SLICE]))
    return [kinship.row(record) for record in kinship.children(_Recent(desk, mentioned), id)]


def workflow(desk: Desk, args: dict[str, Any]) -> list[dict[str, Any]]:
    """As ``core.inspect.workflow``, among the newest ids that are listed."""
    found = kinship.family(_Recent(desk, _ids(desk)), str(args.get("id", "")))
    return [{**kinship.row(record), "from": origins} for record, origins in found]


def _ids(desk: Desk) -> list[str]:
    return _text(desk.command(b"LRANGE", "recent", 0, -1))


def _text(ids: Iterable[bytes]) -> list[str]:
    return [id.decode(errors="surrogateescape") for id in ids]
