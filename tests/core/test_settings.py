"""The core's settings, which are the broker's part of the table of all."""

from dataclasses import fields

import pytest

from nbqueue.core.settings import BrokerSettings
from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import SETTINGS


def test_names_and_defaults_are_those_of_the_table() -> None:
    defaults = {field.name: field.default for field in fields(BrokerSettings)}
    expected = {name: SETTINGS[name].default for name in defaults}
    assert defaults == {**expected, "idle_timeout": 0.0}
    assert expected["idle_timeout"] == 600.0


@pytest.mark.parametrize(("heartbeat", "lease"), [(2.0, 2.0), (2.0, 1.0), (0.0, 10.0), (-1.0, 10.0)])
def test_a_lease_outlasts_a_heartbeat(heartbeat: float, lease: float) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"worker_heartbeat={heartbeat:g}, worker_lease={lease:g}: "
    ):
        BrokerSettings(worker_heartbeat=heartbeat, worker_lease=lease)
