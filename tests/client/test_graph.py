"""Pictures of workflows."""

import io
from typing import Any
from xml.etree import ElementTree

from nbqueue.client.graph import Graph


def row(
    id: str, *origins: tuple[str, str], name: str = "f", state: str = "SUCCESS", group: str = ""
) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "state": state,
        "group": group,
        "from": [list(origin) for origin in origins],
    }


def diamond() -> Graph:
    return Graph(
        [
            row("a", name="load"),
            row("b", ("a", "value"), name="fit", group="g", state="STARTED"),
            row("c", ("a", "value"), name="fit", group="g", state="FAILURE"),
            row("d", ("b", "value"), ("c", "value"), name="best", state="PENDING"),
            row("e", ("d", "error"), name="tell", state="PENDING"),
        ]
    )


def test_as_text_it_is_a_list_with_arrows() -> None:
    assert str(diamond()).splitlines() == [
        "load[a]  SUCCESS",
        "fit[b]  STARTED  ◀─ load[a]",
        "fit[c]  FAILURE  ◀─ load[a]",
        "best[d]  PENDING  ◀─ fit[b], fit[c]",
        "tell[e]  PENDING  ◀─ best[d] (error)",
    ]
    assert repr(diamond()).startswith("<Graph of 5 tasks>")


def test_graphviz_can_read_it() -> None:
    file = io.StringIO()
    text = Graph([row("a", name='say "x"\\'), row("b", ("a", "replaced"))]).to_dot(file)
    assert file.getvalue() == text
    assert '  n0 [label="say \\"x\\"\\\\\\nSUCCESS", color="#2e8b57"];' in text
    assert '  n0 -> n1 [style=dashed, label="replaced"];' in text


def test_the_picture_has_a_column_a_step() -> None:
    picture = ElementTree.fromstring(diamond().to_svg())
    boxes = [element for element in picture.iter() if element.tag.endswith("rect")]
    assert len(boxes) == 5
    assert len({box.get("x") for box in boxes}) == 4
    assert boxes[1].get("x") == boxes[2].get("x")


def test_whatever_a_task_is_called_is_escaped() -> None:
    graph = Graph([row("<i>", name="<script>alert(1)</script>", state="<b>")])
    assert "<script" not in graph.to_svg()
    ElementTree.fromstring(graph.to_svg())


def test_many_alike_of_a_group_are_one_node() -> None:
    members = [
        row(f"m{n}", ("a", "value"), group="g", state="FAILURE" if n == 3 else "SUCCESS") for n in range(500)
    ]
    last = row("z", *[(f"m{n}", "value") for n in range(500)], name="body")
    graph = Graph([row("a"), *members, last])
    assert [node.title for node in graph.nodes] == ["f", "f ×500", "body"]
    assert (graph.nodes[1].state, graph.nodes[1].note) == ("FAILURE", "1 FAILURE, 499 SUCCESS")
    assert len(graph.edges) == 2


def test_nothing_and_circles_are_drawn_too() -> None:
    ElementTree.fromstring(Graph([]).to_svg())
    circle = Graph([row("a", ("b", "value")), row("b", ("a", "value"))])
    ElementTree.fromstring(circle.to_svg())
    assert len(str(circle).splitlines()) == 2
