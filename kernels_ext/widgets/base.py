"""What the widgets have in common: they live as long as their tasks, and leave frozen html behind.

A notebook is saved with whatever its outputs hold, and a saved widget view without its kernel is
"Error displaying widget: model not found".  So a widget's output becomes html as soon as nothing is lost:

* a page of JupyterLab or Notebook 7 says hello: the output is replaced by a frozen html *island*, which the
  page's script brings to life where it stands (static/islands.js).  Nobody sees the difference;
* all tasks are finished and no page has said hello (nbclient, papermill): frozen html, no view;
* another front end keeps the view, and gets new frozen html beside it at the end.
"""

import threading
import uuid
import weakref
from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.display import publish_display_data

from kernels_ext.comm_guard import hear_while_busy
from kernels_ext.details import why
from kernels_ext.html import island
from kernels_ext.widgets.messages import KernelMessage, PageMessage, WhyMessage
from kernels_ext.widgets.painter import painter, run_safely
from nbqueue.client.watch import Subscription, watch

if TYPE_CHECKING:
    from nbqueue.client.result import AsyncResult

#: seconds between two drawings
INTERVAL = 0.1

VIEW = "application/vnd.jupyter.widget-view+json"

Buffers = list[bytes]


class Page(Enum):
    """Who looks on, as far as is known."""

    UNSEEN = "nobody has said hello"
    ISLANDS = "a page that brings islands to life"
    VIEWS = "a page that shows widget views only"


class LiveWidget(anywidget.AnyWidget):
    """A live view of some results.

    Subclasses draw; they are called under the widget's lock, in the painter's thread or, when a cell ends,
    in the main one.
    """

    #: names this widget in the html of its islands
    key = traitlets.Unicode().tag(sync=True)

    def __init__(self, results: "Sequence[AsyncResult]") -> None:
        super().__init__(key=uuid.uuid4().hex)
        hear_while_busy(self.comm)
        self.on_msg(_on_message)
        self.finished = False
        self._lock = threading.RLock()
        self._page = Page.UNSEEN
        #: whether the published output holds a widget view; None before it is published
        self._has_view: bool | None = None
        self._frozen_text = ""
        self._results: Sequence[AsyncResult] | None = results
        self._subscription: Subscription | None = None

    # ── what subclasses do ───────────────────────────────────────────────────────────────────

    def redraw(self, changed: Sequence[int] | None) -> None:
        """Tell the page what has become of these tasks (None: of all)."""
        raise NotImplementedError

    def greet(self) -> None:
        """Tell everything to a page that knows nothing."""
        raise NotImplementedError

    def answer(self, message: PageMessage) -> None:
        """Answer what is not common to all widgets."""
        raise ValueError(f"unknown message from the page: {message['type']!r}")

    def cancel(self, index: int | None) -> None:
        """Ask for the end of one task or of all; called in any thread, must not wait."""
        raise NotImplementedError

    def result(self, index: int | None) -> "AsyncResult | None":
        """The task of that index (None: the only one), as long as it is held."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether all tasks are finished."""
        raise NotImplementedError

    def conclude(self) -> None:
        """All are finished: say the last word to the page, and let go of what is not needed any more."""
        raise NotImplementedError

    def text(self) -> str:
        """The widget in plain text."""
        raise NotImplementedError

    def frozen(self) -> str:
        """The widget as html that needs no kernel."""
        raise NotImplementedError

    # ── life ─────────────────────────────────────────────────────────────────────────────────

    def show(self) -> None:
        """Publish the widget as output of the running cell, and follow its results from then on."""
        with self._lock:
            self._publish(update=False)
            results, self._results = self._results, None
        if results is not None:
            _unfinished.add(self)
            # later, for ten thousand results take a while to look at
            painter.post(partial(_follow, weakref.ref(self), results))

    def follow(self, results: "Sequence[AsyncResult]") -> None:
        """Draw the results, now and whenever they change."""
        with self._lock:
            if not self.finished:
                self._subscription = watch(results, partial(_post_changes, weakref.ref(self)), INTERVAL)
        self.update(None)

    def update(self, changed: Sequence[int] | None) -> None:
        """Draw what has changed, for the last time if that was all."""
        with self._lock:
            if self.finished:
                return
            self.redraw(changed)
            if self.ready():
                self._finish()

    def refreeze(self) -> None:
        """Bring frozen html up to date as long as nobody is seen to look on (a page would be redrawn)."""
        with self._lock:
            if self._page is Page.UNSEEN and self._has_view and self.text() != self._frozen_text:
                self._publish(update=True)

    def hear(self, message: PageMessage) -> None:
        """Act on what a page said (all but Cancel)."""
        if message["type"] == "why":
            # without the lock: the broker is asked, and cells must not wait for that
            self._explain(message["index"])
            return
        with self._lock:
            if message["type"] == "hello":
                self._meet(Page.ISLANDS if message["islands"] else Page.VIEWS)
            else:
                self.answer(message)

    def close(self) -> None:
        """Nobody looks any more."""
        self._stop()
        super().close()

    def tell(self, message: KernelMessage, buffers: Buffers | None = None) -> None:
        """Send a message to the page."""
        self.send(message, buffers=buffers)

    def _finish(self) -> None:
        self._stop()
        self.conclude()
        if self._has_view is not None:
            self._publish(update=True)

    def _stop(self) -> None:
        self.finished = True
        _unfinished.discard(self)
        if self._subscription is not None:
            self._subscription.close()

    def _meet(self, page: Page) -> None:
        self._page = page
        self.greet()
        if self._has_view is not None and self._has_view != self._wants_view():
            self._publish(update=True)

    def _explain(self, index: int | None) -> None:
        result = self.result(index)
        if result is not None:
            self.tell(WhyMessage(type="why", index=index, text=why(result)))

    def _wants_view(self) -> bool:
        return self._page is Page.VIEWS or (self._page is Page.UNSEEN and not self.finished)

    def _publish(self, update: bool) -> None:
        self._has_view = self._wants_view()
        self._frozen_text = self.text()
        data: dict[str, Any] = {"text/plain": self._frozen_text, "text/html": island(self.key, self.frozen())}
        if self._has_view:
            data[VIEW] = {"version_major": 2, "version_minor": 1, "model_id": self.model_id}
        publish_display_data(data, transient={"display_id": self.key}, update=update)


class _Registry:
    """Widgets that wait for their tasks, held weakly; used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._widgets: weakref.WeakSet[LiveWidget] = weakref.WeakSet()

    def add(self, widget: LiveWidget) -> None:
        with self._lock:
            self._widgets.add(widget)

    def discard(self, widget: LiveWidget) -> None:
        with self._lock:
            self._widgets.discard(widget)

    def all(self) -> list[LiveWidget]:
        with self._lock:
            return list(self._widgets)


_unfinished = _Registry()


def settle() -> None:
    """Bring the outputs of unfinished widgets up to date.

    Called when a cell ends, while its outputs are still listened to: who executes a notebook without a
    browser sees no updates that come between cells or after the last one.
    """
    for widget in _unfinished.all():
        run_safely(partial(_settle, widget))


def _settle(widget: LiveWidget) -> None:
    if widget.ready():
        widget.update(None)
    else:
        widget.refreeze()


def _follow(this: "weakref.ref[LiveWidget]", results: "Sequence[AsyncResult]") -> None:
    if (widget := this()) is not None:
        widget.follow(results)


def _post_changes(this: "weakref.ref[LiveWidget]", changed: list[int]) -> None:
    painter.post(partial(_update, this, changed))


def _update(this: "weakref.ref[LiveWidget]", changed: list[int] | None) -> None:
    if (widget := this()) is not None:
        widget.update(changed)


def _on_message(widget: LiveWidget, message: PageMessage, _buffers: Buffers) -> None:
    """Runs in a subshell's thread while a cell blocks, so it only hands on (see comm_guard)."""
    if message["type"] == "cancel":
        widget.cancel(message["index"])
    else:
        painter.post(partial(widget.hear, message))
