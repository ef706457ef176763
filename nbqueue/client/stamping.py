"""Stamps: values that all tasks of a workflow carry, or each one its own, for monitoring or to be revoked by.

::

    group(add.s(1, 1), add.s(2, 2)).stamp(order=7)       self.request.stamps == {"order": [7]}
    app.control.revoke_by_stamped_headers({"order": 7})

They travel among the headers of a call.  What a :class:`StampingVisitor` is asked, and in which order, is
Celery's.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

from nbqueue.exceptions import ConfigurationError

#: the header that says which of those beside it are stamps
STAMPED: Final = "stamped_headers"
#: the header that has them, each a list
STAMPS: Final = "stamps"


class StampingVisitor(metaclass=ABCMeta):
    """Decides about the stamps of each part of a workflow: ``chain(…).stamp(visitor=MyVisitor())``.

    Each method is given the part, and the headers of what it is a part of; it returns headers for it.  All of
    them are stamps, unless ``stamped_headers`` among them lists those that are.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Of each task."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Of all tasks of a group."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        """Its tasks have been asked about."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """Of all tasks of a chain."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        """Its tasks have been asked about."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Of all tasks of a chord's header; unless it is overridden, as of a group."""
        return self.on_group_start(sig.header, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Its tasks have been asked about."""
        self.on_group_end(sig.header, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Of a chord's body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Of what is linked to a task."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Of what is linked to its failure."""
        return {}


def stamp(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp a signature, and what it consists of.

    Raises
    ------
    ConfigurationError
        The visitor returned no headers.
    """
    _BY_KIND[sig.kind](sig, visitor, append, with_names(headers))


def stamp_links(sig: Any, visitor: StampingVisitor | None, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp what is linked to a signature."""
    for name, method in (("link", "on_callback"), ("link_error", "on_errback")):
        for linked in sig.options.get(name) or ():
            stamp(linked, visitor, append, _asked(visitor, method, linked, headers))


def _stamp_task(sig: Any, visitor: StampingVisitor | None, append: bool, headers: dict[str, Any]) -> None:
    stamp_links(sig, visitor, append, headers)
    _put_on(sig, append, _asked(visitor, "on_signature", sig, headers))


def _stamp_members(
    sig: Any, visitor: StampingVisitor | None, append: bool, headers: dict[str, Any], kind: str
) -> dict[str, Any]:
    """Stamp what a signature is made of, between the visitor's methods for its kind; returns what it was
    stamped with."""
    inner = _asked(visitor, f"on_{kind}_start", sig, headers)
    stamp_links(sig, visitor, append, inner)
    for task in sig.tasks:
        stamp(task, visitor, append, inner)
    if visitor is not None:
        getattr(visitor, f"on_{kind}_end")(sig, **inner)
    return inner


def _stamp_group(sig: Any, visitor: StampingVisitor | None, append: bool, headers: dict[str, Any]) -> None:
    _stamp_members(sig, visitor, append, headers, "group")


def _stamp_chain(sig: Any, visitor: StampingVisitor | None, append: bool, headers: dict[str, Any]) -> None:
    _stamp_members(sig, visitor, append, headers, "chain")


def _stamp_chord(sig: Any, visitor: StampingVisitor | None, append: bool, headers: dict[str, Any]) -> None:
    inner = _stamp_members(sig, visitor, append, headers, "chord_header")
    if sig.body is not None:
        stamp(sig.body, visitor, append, _asked(visitor, "on_chord_body", sig, inner))


_BY_KIND: Final[Mapping[str, Callable[[Any, StampingVisitor | None, bool, dict[str, Any]], None]]] = {
    "task": _stamp_task,
    "group": _stamp_group,
    "chain": _stamp_chain,
    "chord": _stamp_chord,
}


def with_names(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers that say which of them are stamps: all, unless they do already."""
    if not headers or STAMPED in headers:
        return dict(headers)
    return {**headers, STAMPED: list(headers)}


def _asked(
    visitor: StampingVisitor | None, method: str, part: Any, headers: Mapping[str, Any]
) -> dict[str, Any]:
    """The headers with what the visitor says about a part."""
    said = getattr(visitor, method)(part, **headers) if visitor is not None else None
    if said is None:
        return dict(headers)
    if not isinstance(said, Mapping):
        raise ConfigurationError(f"{type(visitor).__name__}.{method} returns a dict of headers, not {said!r}")
    said = with_names(said)
    names = dict.fromkeys([*headers.get(STAMPED, ()), *said.pop(STAMPED, ())])
    return {**headers, **said, **({STAMPED: list(names)} if names else {})}


def _put_on(sig: Any, append: bool, headers: Mapping[str, Any]) -> None:
    """Have a task carry these headers."""
    if not headers:
        return
    own = dict(sig.options.get("headers") or {})
    stamps = dict(own.get(STAMPS) or {})
    for name in headers.get(STAMPED, ()):
        if name in headers:
            before = stamps.get(name, []) if append else []
            stamps[name] = [*before, *_listed(headers[name])]
    plain = {k: v for k, v in headers.items() if k not in stamps and k != STAMPED}
    sig.set(headers={**own, **plain, STAMPED: list(stamps), STAMPS: stamps})


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
