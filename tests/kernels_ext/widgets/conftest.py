"""Widgets without a kernel: what they say and publish is kept in lists, and painting happens at once."""

from typing import Any, NamedTuple

import pytest

from kernels_ext.widgets import base
from tests.kernels_ext.widgets.fakes import FakeClient


class Page:
    """The other side of the widgets."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.buffers: list[Any] = []
        self.outputs: list[Output] = []

    def say(self, widget: base.LiveWidget, **message: Any) -> None:
        base._on_message(widget, message, [])

    def heard(self, type: str) -> list[Any]:
        return [message for message in self.messages if message["type"] == type]


class Output(NamedTuple):
    """Something published."""

    data: dict[str, Any]
    display_id: str
    update: bool


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    page = Page()

    def tell(widget: base.LiveWidget, message: Any, buffers: Any = None) -> None:
        page.messages.append(message)
        page.buffers.append(buffers)

    def publish(data: Any, transient: Any, update: bool) -> None:
        page.outputs.append(Output(data, transient["display_id"], update))

    class AtOnce:
        def post(self, job: Any) -> None:
            job()

    monkeypatch.setattr(base.LiveWidget, "tell", tell)
    monkeypatch.setattr(base, "publish_display_data", publish)
    monkeypatch.setattr(base, "painter", AtOnce())
    return page


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()
