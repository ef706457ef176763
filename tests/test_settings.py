"""The table of settings."""

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from nbqueue import settings
from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import OTHER_VARIABLES, SETTINGS, Setting, Settings, full_url, unread_variables


def test_the_environment_wins_over_code_and_code_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Settings()
    assert made.lookup("worker_lease") == (10.0, "default")
    made.worker_lease = 3.0
    assert made.lookup("worker_lease") == (3.0, "code")
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", "7")
    assert made.lookup("worker_lease") == (7.0, "NBQUEUE_WORKER_LEASE")


def test_celerys_variable_is_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "zmq://elsewhere:1")
    assert Settings().broker == "zmq://elsewhere:1"


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="worker_lease"):
        Settings(worker_leese=3)


@pytest.mark.parametrize("text", ["0", "-1", "ten", "nan", "inf"])
def test_a_value_that_cannot_be_names_its_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", text)
    expected = rf"^NBQUEUE_WORKER_LEASE='{text}': a positive number of seconds is expected$"
    with pytest.raises(ConfigurationError, match=expected):
        _ = Settings().worker_lease


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("broker", 5),
        ("workers", -1),
        ("workers", "two"),
        ("workers", 1.5),
        ("workers", True),
        ("result_expires", "day"),
        ("idle_timeout", -5),
        ("idle_timeout", math.inf),
        ("idle_timeout", 10**400),
        ("drain_timeout", None),
        ("worker_heartbeat", 0),
        ("worker_lease", 0.0),
        ("task_default_queue", 3),
        ("task_default_queue", None),
        ("journal_sync", "always"),
        ("journal_sync", ["none"]),
    ],
)
def test_a_value_that_cannot_be_is_an_error_where_code_sets_it(name: str, value: object) -> None:
    made = Settings(workers=2)
    before = made.lookup(name)
    with pytest.raises(ConfigurationError, match=rf"^{name}=.*: .* expected$"):
        setattr(made, name, value)
    assert made.lookup(name) == before


def test_values_of_code_are_used_as_those_of_the_environment_are() -> None:
    made = Settings(workers="2", idle_timeout=np.int64(5), cancel_grace=1)
    assert (made.workers, made.idle_timeout, made.cancel_grace) == (2, 5.0, 1.0)
    assert type(made.idle_timeout) is float


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("127.0.0.1:7955", "zmq://127.0.0.1:7955"),
        ("there", "zmq://there"),
        ("zmq://there:1", "zmq://there:1"),
        ("memory://x", "memory://x"),
        ("", ""),
    ],
)
def test_a_broker_may_be_named_by_host_and_port(said: str, meant: str) -> None:
    assert Settings(broker=said).broker == full_url(said) == meant


def test_of_several_values_none_is_set_if_one_cannot_be() -> None:
    made = Settings()
    with pytest.raises(ConfigurationError):
        made.update(workers=2, idle_timeout=-1)
    assert made.lookup("workers") == (0, "default")


def test_none_unsets_what_is_empty_by_default() -> None:
    made = Settings(broker="memory://", workers=2)
    made.update(broker=None, workers=None)
    assert made.lookup("broker") == ("", "default")
    assert made.lookup("workers") == (0, "default")


@pytest.mark.parametrize("row", SETTINGS.values(), ids=lambda row: row.name)
def test_every_default_is_a_value_that_could_be_set(row: Setting) -> None:
    assert row.convert(row.default) == row.default


def test_a_variable_that_nothing_reads_is_found_with_the_nearest_that_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("NBQUEUE_")]:
        monkeypatch.delenv(name)
    for name in ("NBQUEUE_WORKERS", "NBQUEUE_WORKER", "NBQUEUE_KEY_FILE", "NBQUEUE_KEYFILE", "NBQUEUE_MOON"):
        monkeypatch.setenv(name, "1")
    assert list(unread_variables()) == [
        ("NBQUEUE_KEYFILE", "NBQUEUE_KEY_FILE"),
        ("NBQUEUE_MOON", ""),
        ("NBQUEUE_WORKER", "NBQUEUE_WORKERS"),
    ]


def test_the_variables_that_the_source_names_are_known() -> None:
    sources = Path(settings.__file__).parent.rglob("*.py")
    named = {
        name
        for path in sources
        for name in re.findall(r"\bNBQUEUE_[A-Z_]*[A-Z]{2}\b", path.read_text("utf-8"))
    }
    known = {f"NBQUEUE_{name.upper()}" for name in SETTINGS} | set(OTHER_VARIABLES)
    assert named <= known
    assert set(OTHER_VARIABLES) <= named


def test_every_setting_says_what_it_does() -> None:
    assert all(setting.doc for setting in SETTINGS.values())
