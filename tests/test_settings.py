"""The table of settings."""

import math

import numpy as np
import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import SETTINGS, Setting, Settings


def test_the_environment_wins_over_code_and_code_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    assert settings.lookup("worker_lease") == (10.0, "default")
    settings.worker_lease = 3.0
    assert settings.lookup("worker_lease") == (3.0, "code")
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "7")
    assert settings.lookup("worker_lease") == (7.0, "NBQUEUE_WORKER_LEASE")


def test_celerys_variable_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "zmq://elsewhere:1")
    assert Settings().broker == "zmq://elsewhere:1"


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="worker_lease"):
        Settings(worker_leese=3)


@pytest.mark.parametrize("text", ["-1", "ten", "nan", "inf"])
def test_a_value_that_cannot_be_names_its_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", text)
    expected = rf"^NBQUEUE_WORKER_LEASE='{text}': a number of seconds, 0 or more, is expected$"
    with pytest.raises(ConfigurationError, match=expected):
        _ = Settings().worker_lease


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", -1),
        ("workers", "two"),
        ("workers", 1.5),
        ("workers", True),
        ("result_expires", "day"),
        ("idle_timeout", -5),
        ("idle_timeout", math.inf),
        ("idle_timeout", 10**400),
        ("drain_timeout", None),
        ("task_default_queue", 3),
        ("task_default_queue", None),
        ("journal_sync", "always"),
        ("journal_sync", ["none"]),
    ],
)
def test_a_value_that_cannot_be_is_an_error_where_code_sets_it(name: str, value: object) -> None:
    settings = Settings(workers=2)
    before = settings.lookup(name)
    with pytest.raises(ConfigurationError, match=rf"^{name}=.*: .* expected$"):
        setattr(settings, name, value)
    assert settings.lookup(name) == before


def test_values_of_code_are_used_as_those_of_the_environment_are() -> None:
    settings = Settings(workers="2", idle_timeout=np.int64(5), cancel_grace=1)
    assert (settings.workers, settings.idle_timeout, settings.cancel_grace) == (2, 5.0, 1.0)
    assert type(settings.idle_timeout) is float


def test_of_several_values_none_is_set_if_one_cannot_be() -> None:
    settings = Settings()
    with pytest.raises(ConfigurationError):
        settings.update(workers=2, idle_timeout=-1)
    assert settings.lookup("workers") == (0, "default")


def test_none_unsets_what_is_empty_by_default() -> None:
    settings = Settings(broker="memory://", workers=2)
    settings.update(broker=None, workers=None)
    assert settings.lookup("broker") == ("", "default")
    assert settings.lookup("workers") == (0, "default")


@pytest.mark.parametrize("row", SETTINGS.values(), ids=lambda row: row.name)
def test_every_default_is_a_value_that_could_be_set(row: Setting) -> None:
    assert row.convert(row.default) == row.default


def test_every_setting_says_what_it_does() -> None:
    assert all(setting.doc for setting in SETTINGS.values())
