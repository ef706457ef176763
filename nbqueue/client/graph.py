"""A workflow as a picture: what comes after what, and how far each task is.

In a notebook it shows as SVG, which needs nothing installed and is legible on white and on black; as text
it is a list with arrows, and :meth:`Graph.to_dot` writes it for Graphviz.  It is as things stood when it
was made.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import IO, Any, Final

from nbqueue.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS

_COLORS: Final = {
    SUCCESS: "#2e8b57",
    FAILURE: "#d1454a",
    REVOKED: "#b7791f",
    RETRY: "#b7791f",
    PENDING: "#808080",
}
_RUNNING_COLOR: Final = "#2b7de0"
#: from the most to the least urgent: what a node of many tasks is coloured by
_URGENCY: Final = (FAILURE, REVOKED, STARTED, RETRY, PENDING, SUCCESS)
#: tasks of a group with the same neighbours, from which on they are one node
_MANY: Final = 9
#: pixels
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 168, 44, 56, 18, 8
#: characters of a name
_LONGEST: Final = 22


@dataclass
class Node:
    """One task, or many of a group that have the same neighbours."""

    name: str
    #: ids of its tasks
    ids: list[str]
    states: Counter[str] = field(default_factory=Counter)

    @property
    def id(self) -> str:
        return self.ids[0]

    @property
    def title(self) -> str:
        return self.name if len(self.ids) == 1 else f"{self.name} ×{len(self.ids):,}"

    @property
    def state(self) -> str:
        known = next((state for state in _URGENCY if self.states[state]), None)
        return known or next(iter(self.states), PENDING)

    @property
    def note(self) -> str:
        if len(self.ids) == 1:
            return self.state
        return ", ".join(f"{count:,} {state}" for state, count in sorted(self.states.items()))


@dataclass(frozen=True)
class Edge:
    """From one node to another; ``kind`` is "value", "error", "replaced" or "submitted"."""

    start: int
    end: int
    kind: str


class Graph:
    """See the module's docstring.  ``rows`` are those of the broker's topic ``workflow``."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], root: str = "") -> None:
        self.root = root
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self._lay(rows)

    @classmethod
    def of(cls, result: Any) -> "Graph":
        """Of the workflow that a result, or one of a group, is a part of."""
        first = result
        while not hasattr(first, "record"):  # a group: the broker knows its tasks
            if not len(first):
                return cls([], first.id)
            first = first[0]
        if first.client is None:  # it ran here
            return cls([{"id": first.id, "name": first.name, "state": first.state, "group": "", "from": []}])
        return cls(first.client.ask("workflow", id=first.id), first.id)

    def __call__(self) -> "Graph":
        return self

    def _lay(self, rows: Sequence[Mapping[str, Any]]) -> None:
        after: dict[str, list[str]] = {}
        for row in rows:
            for origin, _ in row["from"]:
                after.setdefault(origin, []).append(row["id"])
        alike: dict[Any, list[Mapping[str, Any]]] = {}
        for row in rows:
            origins = tuple(sorted(map(tuple, row["from"])))
            key = (row["group"], row["name"], origins, tuple(after.get(row["id"], ())))
            alike.setdefault(key if row["group"] else row["id"], []).append(row)
        place: dict[str, int] = {}
        for same in alike.values():
            for part in [same] if len(same) >= _MANY else [[row] for row in same]:
                node = Node(
                    part[0]["name"], [row["id"] for row in part], Counter(row["state"] for row in part)
                )
                place.update(dict.fromkeys(node.ids, len(self.nodes)))
                self.nodes.append(node)
        found = (
            Edge(place[origin], place[row["id"]], kind)
            for row in rows
            for origin, kind in row["from"]
            if origin in place
        )
        self.edges = list(dict.fromkeys(found))

    # ── as text ──────────────────────────────────────────────────────────────────────────────

    def __repr__(self) -> str:
        return f"<Graph of {sum(len(node.ids) for node in self.nodes)} tasks>\n{self}"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        before: dict[int, list[Edge]] = {}
        for edge in self.edges:
            before.setdefault(edge.end, []).append(edge)
        for number in self._in_order():
            node = self.nodes[number]
            origins = ", ".join(
                f"{self.nodes[edge.start].title}[{_short(self.nodes[edge.start].id)}]"
                + ("" if edge.kind == "value" else f" ({edge.kind})")
                for edge in before.get(number, ())
            )
            arrow = f"  ◀─ {origins}" if origins else ""
            yield f"{node.title}[{_short(node.id)}]  {node.note}{arrow}"

    def to_dot(self, fh: IO[str] | None = None) -> str:
        """The graph in Graphviz' language; written to ``fh`` if that is given."""
        lines = ["digraph workflow {", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
        for number, node in enumerate(self.nodes):
            label = _quoted(f"{node.title}\n{node.note}")
            lines.append(f'  n{number} [label={label}, color="{_color(node.state)}"];')
        for edge in self.edges:
            style = "" if edge.kind == "value" else f" [style=dashed, label={_quoted(edge.kind)}]"
            lines.append(f"  n{edge.start} -> n{edge.end}{style};")
        text = "\n".join([*lines, "}", ""])
        if fh is not None:
            fh.write(text)
        return text

    # ── drawn ────────────────────────────────────────────────────────────────────────────────

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        # as a picture of its own it is shown in notebooks that are not trusted, too
        return {"image/svg+xml": self.to_svg(), "text/plain": str(self)}

    def to_svg(self) -> str:
        """The picture: from left to right, a column for each step."""
        columns = self._columns()
        height = max((len(column) for column in columns), default=0) * (_HEIGHT + _GAP_Y)
        spots: dict[int, tuple[float, float]] = {}
        for x, column in enumerate(columns):
            top = (height - len(column) * (_HEIGHT + _GAP_Y)) / 2
            for y, number in enumerate(column):
                spots[number] = (_MARGIN + x * (_WIDTH + _GAP_X), _MARGIN + top + y * (_HEIGHT + _GAP_Y))
        width = len(columns) * (_WIDTH + _GAP_X)
        size = f'width="{width + _MARGIN}" height="{height + 2 * _MARGIN}"'
        drawn = [_drawn_edge(edge, spots) for edge in self.edges]
        drawn += [_drawn_node(self.nodes[number], *spot) for number, spot in spots.items()]
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="workflow"'
            f' font-family="sans-serif" font-size="12">{"".join(drawn)}</svg>'
        )

    def _columns(self) -> list[list[int]]:
        """Nodes by how many steps lie before them."""
        depth = self._depths()
        columns: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
        for number, column in enumerate(depth):
            columns[column].append(number)
        return columns

    def _depths(self) -> list[int]:
        depth = [0] * len(self.nodes)
        after: dict[int, list[int]] = {}
        for edge in self.edges:
            after.setdefault(edge.start, []).append(edge.end)
        for number in self._in_order():
            for end in after.get(number, ()):
                depth[end] = max(depth[end], depth[number] + 1)
        return depth

    def _in_order(self) -> list[int]:
        """Nodes, each after those that it comes from; in a circle, which nobody intends, as they come."""
        left = Counter(edge.end for edge in self.edges)
        after: dict[int, list[int]] = {}
        for edge in self.edges:
            after.setdefault(edge.start, []).append(edge.end)
        ready = [number for number in range(len(self.nodes)) if not left[number]]
        order: list[int] = []
        for number in ready:  # it grows meanwhile
            order.append(number)
            for end in after.get(number, ()):
                left[end] -= 1
                if not left[end]:
                    ready.append(end)
        return order + [number for number in range(len(self.nodes)) if left[number] > 0]


def _drawn_node(node: Node, x: float, y: float) -> str:
    color = _color(node.state)
    name = node.title if len(node.title) <= _LONGEST else f"{node.title[: _LONGEST - 1]}…"
    note = node.note if len(node.note) <= _LONGEST + 4 else f"{node.note[: _LONGEST + 3]}…"
    return (
        f"<g><title>{escape(f'{node.title} {node.id}: {node.note}')}</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{color}"'
        f' fill-opacity="0.12" stroke="{color}" stroke-width="1.5"/>'
        f'<text x="{x + 10:g}" y="{y + 18:g}" fill="{color}" font-weight="bold">{escape(name)}</text>'
        f'<text x="{x + 10:g}" y="{y + 34:g}" fill="{color}">{escape(note)}</text></g>'
    )


def _drawn_edge(edge: Edge, spots: Mapping[int, tuple[float, float]]) -> str:
    x1, y1 = spots[edge.start][0] + _WIDTH, spots[edge.start][1] + _HEIGHT / 2
    x2, y2 = spots[edge.end][0], spots[edge.end][1] + _HEIGHT / 2
    middle = (x1 + x2) / 2
    dashes = "" if edge.kind == "value" else ' stroke-dasharray="4 3"'
    color = _COLORS[FAILURE] if edge.kind == "error" else "#888"
    return (
        f'<path d="M{x1:g},{y1:g} C{middle:g},{y1:g} {middle:g},{y2:g} {x2 - 6:g},{y2:g}" fill="none"'
        f' stroke="{color}" stroke-width="1.5"{dashes}/>'
        f'<path d="M{x2 - 7:g},{y2 - 4:g} L{x2:g},{y2:g} L{x2 - 7:g},{y2 + 4:g} z" fill="{color}"/>'
    )


def _color(state: str) -> str:
    return _COLORS.get(state, _RUNNING_COLOR)


def _short(id: str) -> str:
    return f"{id[:4]}…{id[-4:]}" if len(id) > 9 else id


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
