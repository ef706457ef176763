"""The widget of one result."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernels_ext.details import Details, details
from kernels_ext.html import frozen_task
from kernels_ext.text import describe
from kernels_ext.widgets.assets import module, style
from kernels_ext.widgets.base import LiveWidget
from kernels_ext.widgets.cards import CardFeed
from nbqueue.states import READY_STATES

if TYPE_CHECKING:
    from nbqueue.client.records import View
    from nbqueue.client.result import AsyncResult


class ResultWidget(LiveWidget):
    """A card with a task's state, progress, output, value or traceback, and a button to cancel it."""

    _esm = module("result.js")
    _css = style()

    def __init__(self, result: "AsyncResult") -> None:
        self._result: AsyncResult | None = result
        self._view = result.peek()
        self._details = Details()
        self._feed = CardFeed()
        super().__init__([result])

    def redraw(self, changed: Sequence[int] | None) -> None:
        self.tell(self._feed.news(self._look(), time.time(), self._details))

    def greet(self) -> None:
        self.tell(self._feed.everything(self._look(), time.time(), self._details))

    def cancel(self, index: int | None) -> None:
        if (result := self._result) is not None:
            result.cancel()

    def result(self, index: int | None) -> "AsyncResult | None":
        return self._result

    def ready(self) -> bool:
        return self._result is None or self._result.peek().state in READY_STATES

    def conclude(self) -> None:
        # a value may be large, and ipywidgets keeps widgets as long as the kernel lives: let go of it
        result, self._result = self._result, None
        if result is not None:
            self._view = result.peek()
            self._details = details(result, self._view)
        self.redraw(None)

    def text(self) -> str:
        return describe(self._look())

    def frozen(self) -> str:
        return frozen_task(self._look(), self._details, time.time())

    def _look(self) -> "View":
        if self._result is not None:
            self._view = self._result.peek()
        return self._view
