"""What results of single tasks and of groups have in common: where they come from, and what came of them.

::

    parent ◀── result ──▶ children
    what came before      what it submitted, and what comes after it
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

from nbqueue.client.graph import Graph
from nbqueue.exceptions import IncompleteStream


class ResultBase:
    """See the module's docstring."""

    __slots__ = ()

    id: str
    #: the result of what comes before it in a workflow, None if there is nothing
    parent: Any

    def ready(self) -> bool:
        raise NotImplementedError

    def get(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _children(self) -> list[Any]:
        raise NotImplementedError

    def ancestors(self) -> Iterator[Any]:
        """The results before it, the nearest first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    # ── what came of it ──────────────────────────────────────────────────────────────────────

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Itself and all that came of it, each with what it came of (None for itself).

        Raises
        ------
        IncompleteStream
            Something is not done yet; with ``intermediate``, it is passed over.
        """
        queue: deque[tuple[Any, Any]] = deque([(None, self)])
        seen = set()
        while queue:
            parent, node = queue.popleft()
            if node.id in seen:
                continue
            seen.add(node.id)
            yield parent, node
            if node.ready():
                queue.extend((node, child) for child in node._children())
            elif not intermediate:
                raise IncompleteStream(f"{node!r} is not done yet")

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """(result, value) of itself and of all that came of it, each waited for; ``kwargs`` are those of
        ``get``."""
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last of :meth:`collect`."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    # ── as plain values ──────────────────────────────────────────────────────────────────────

    def as_tuple(self) -> tuple[tuple[str, Any], Any]:
        """Ids in tuples, which ``nbqueue.result.result_from_tuple`` makes results of again."""
        made: Any = None
        for node in [*reversed(list(self.ancestors())), self]:
            made = ((node.id, made), node._members())
        return made  # type: ignore[no-any-return]  # the tuple of the last round

    def _members(self) -> list[Any] | None:
        return None

    def as_list(self) -> list[str]:
        """Its id and those of what came before it."""
        return [self.id, *(node.id for node in self.ancestors())]

    # ── drawn ────────────────────────────────────────────────────────────────────────────────

    @property
    def graph(self) -> Graph:
        """The workflow that it is a part of, drawn in a notebook: ``result.graph``, or ``result.graph()``."""
        return Graph.of(self)
