"""One broker in a thread, for tests that do not harm it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nbqueue.broker.daemon import Broker
from tests.broker.running import broker_in_thread


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with broker_in_thread(tmp_path) as running:
        yield running
