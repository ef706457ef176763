"""The table of settings."""

import pytest

from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import SETTINGS, Settings


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


@pytest.mark.parametrize("text", ["-1", "ten", "nan"])
def test_a_value_that_cannot_be_names_its_variable(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("NBQUEUE_WORKER_LEASE", text)
    with pytest.raises(ConfigurationError, match="NBQUEUE_WORKER_LEASE"):
        _ = Settings().worker_lease


def test_every_setting_says_what_it_does() -> None:
    assert all(setting.doc for setting in SETTINGS.values())
