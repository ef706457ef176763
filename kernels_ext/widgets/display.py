"""How results are shown: live in a notebook, in one line in a terminal.

What draws, and ipywidgets with it, is imported at the first result that a notebook shows.
"""

import weakref
from html import escape
from typing import TYPE_CHECKING, Any, Final, overload

from kernels_ext.text import describe, describe_group
from nbqueue.client.cluster import Cluster
from nbqueue.client.group import GroupResult
from nbqueue.client.replies import Replies
from nbqueue.client.result import AsyncResult

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from kernels_ext.widgets.base import LiveWidget

#: names of steps in the heading of a chain
MAX_NAMES: Final = 4

#: widgets by the id of their result: shown twice, it is the same widget
_widgets: "weakref.WeakValueDictionary[str, LiveWidget]" = weakref.WeakValueDictionary()


def _formatters(ip: "InteractiveShell") -> Any:
    return ip.display_formatter.formatters["text/html"]


def register(ip: "InteractiveShell") -> None:
    """Have this shell show results."""
    _formatters(ip).for_type(Replies, table)
    if getattr(ip, "kernel", None) is None:
        bundles = ip.display_formatter.mimebundle_formatter
        bundles.for_type(AsyncResult, _result_as_text)
        bundles.for_type(GroupResult, _group_as_text)
        bundles.for_type(Cluster, _cluster_as_text)
        return
    # it publishes by itself, for an output can be updated later only if it has a display id
    publishers = ip.display_formatter.ipython_display_formatter
    publishers.for_type(AsyncResult, show_result)
    publishers.for_type(GroupResult, show_group)
    publishers.for_type(Cluster, show_cluster)
    ip.events.register("post_run_cell", _settle)


def unregister(ip: "InteractiveShell") -> None:
    """Have this shell show results as any other object.  Widgets that are there go on."""
    _formatters(ip).pop(Replies, None)
    formatter = ip.display_formatter
    for formatters in (formatter.mimebundle_formatter, formatter.ipython_display_formatter):
        formatters.pop(AsyncResult, None)
        formatters.pop(GroupResult, None)
        formatters.pop(Cluster, None)
    if _settle in ip.events.callbacks["post_run_cell"]:
        ip.events.unregister("post_run_cell", _settle)


def show_result(result: AsyncResult) -> None:
    """Show one result as a live card; the last one of a chain as a grid of all steps."""
    if getattr(result, "parent", None) is not None:
        _show_chain(result)
        return
    # imported at the first result: ipywidgets takes its time
    from kernels_ext.widgets.result import ResultWidget

    widget = _widgets.get(result.id)
    if widget is None:
        widget = _widgets[result.id] = ResultWidget(result)
    widget.show()


def _show_chain(result: AsyncResult) -> None:
    # imported at the first chain: ipywidgets takes its time
    from kernels_ext.widgets.grid import GridWidget

    widget = _widgets.get(result.id)
    if widget is None:
        last = weakref.ref(result)
        widget = _widgets[result.id] = GridWidget(_steps(result), lambda: _steps(last()))
    widget.show()


@overload
def _steps(last: AsyncResult) -> GroupResult: ...
@overload
def _steps(last: AsyncResult | None) -> GroupResult | None: ...
def _steps(last: AsyncResult | None) -> GroupResult | None:
    """All steps of a chain as one, by the last one's result."""
    if last is None:
        return None
    steps = GroupResult(last.id, [last])
    names = list(dict.fromkeys(step.record.name for step in steps.tasks))
    shown = names if len(names) <= MAX_NAMES else [*names[: MAX_NAMES - 1], "…", names[-1]]
    steps.name = " → ".join(filter(None, shown))
    return steps


def show_group(group: GroupResult) -> None:
    """Show a map or group as a live grid."""
    # imported at the first group: ipywidgets takes its time
    from kernels_ext.widgets.grid import GridWidget

    widget = _widgets.get(group.id)
    if widget is None:
        widget = _widgets[group.id] = GridWidget(group)
    widget.show()


def show_cluster(cluster: Cluster) -> None:
    """Show a cluster in one line, then the newest of its tasks, if it is to show any."""
    from IPython.display import display  # not needed before something is shown

    display({"text/plain": repr(cluster)}, raw=True)
    for item in cluster.newest(cluster.shown) if cluster.shown else ():
        if isinstance(item, GroupResult):
            show_group(item)
        else:
            show_result(item)


def table(replies: Replies) -> str:
    """Replies of workers as html; whatever a task is called is escaped."""
    heads, rows = replies.rows()
    lines = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _settle(*_: object) -> None:
    """When a cell ends; nothing to do, and nothing to import, before the first widget."""
    if _widgets:
        from kernels_ext.widgets.base import settle

        settle()


def _result_as_text(result: AsyncResult, **_: Any) -> dict[str, str]:
    return {"text/plain": describe(result.peek())}


def _cluster_as_text(cluster: Cluster, **_: Any) -> dict[str, str]:
    return {"text/plain": repr(cluster)}


def _group_as_text(group: GroupResult, **_: Any) -> dict[str, str]:
    return {"text/plain": describe_group(group.name, (result.peek() for result in group.tasks))}
