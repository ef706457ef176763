"""The table of settings."""

import math
import os
import re
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from nbqueue import settings
from nbqueue.celery_settings import WITHOUT_EFFECT
from nbqueue.config_source import ConfigSource
from nbqueue.exceptions import ConfigurationError
from nbqueue.settings import (
    OTHER_VARIABLES,
    SETTINGS,
    Setting,
    Settings,
    canonical,
    full_url,
    shown_url,
    unread_variables,
)


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


# ── Celery's names ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "name", "value"),
    [
        ("CELERY_TASK_SERIALIZER", "task_serializer", "json"),
        ("CELERY_RESULT_SERIALIZER", "result_serializer", "json"),
        ("CELERY_ACCEPT_CONTENT", "accept_content", ("json",)),
        ("CELERY_TIMEZONE", "timezone", "Europe/Oslo"),
        ("CELERY_ENABLE_UTC", "enable_utc", False),
        ("CELERY_ROUTES", "task_routes", {"tasks.add": "low-priority"}),
        ("CELERY_ANNOTATIONS", "task_annotations", {"tasks.add": {"rate_limit": "10/m"}}),
        ("BROKER_URL", "broker", "amqp://"),
        ("CELERY_BROKER_URL", "broker", "amqp://"),
        ("CELERY_RESULT_BACKEND", "backend", "rpc://"),
        ("CELERY_IGNORE_RESULT", "task_ignore_result", True),
        ("CELERY_TASK_RESULT_EXPIRES", "result_expires", 3600.0),
        ("CELERY_DEFAULT_QUEUE", "task_default_queue", "q"),
        ("CELERYD_CONCURRENCY", "workers", 3),
        ("CELERYD_TASK_TIME_LIMIT", "task_time_limit", 60.0),
        ("CELERY_ALWAYS_EAGER", "task_always_eager", True),
        ("CELERY_EAGER_PROPAGATES_EXCEPTIONS", "task_eager_propagates", True),
        ("CELERY_IMPORTS", "include", ("a", "b")),
        ("result_backend", "backend", "rpc://"),
        ("broker_url", "broker", "amqp://"),
        ("worker_concurrency", "workers", 3),
    ],
)
def test_a_setting_has_celerys_names_too(old: str, name: str, value: object) -> None:
    made = Settings(**{old: value})
    assert made[name] == getattr(made, old) == made[old] == made.get(old) == value
    assert old in made
    assert made.lookup(old)[1] == "code"


def test_settings_are_read_and_set_as_items_too() -> None:
    made = Settings()
    made["CELERY_TIMEZONE"] = "UTC"
    assert (made["timezone"], dict(made.items())["timezone"]) == ("UTC", "UTC")
    made.update({"workers": 3}, cancel_grace=1)
    assert (made.setdefault("workers", 5), made.setdefault("max_task_deaths", 5)) == (3, 5)
    del made["workers"]
    assert (made.get("workers"), made.get("timezone", "x"), made.get("backend", "x")) == (0, "UTC", "x")
    assert "nonsense" not in made
    assert not hasattr(made, "nonsense")


@pytest.mark.parametrize(
    ("wrong", "meant"), [("result_backed", "result_backend"), ("CELERY_TASK_SERIALISER", "task_serializer")]
)
def test_a_misspelt_name_of_celerys_is_told_with_the_right_one(wrong: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"did you mean '{meant}'"):
        Settings(**{wrong: "rpc://"})


def test_a_setting_without_effect_is_taken_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_told", set())
    with pytest.warns(UserWarning, match="worker_prefetch_multiplier has no effect: how many"):
        made = Settings(CELERYD_PREFETCH_MULTIPLIER=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.worker_prefetch_multiplier = 2
    assert made.worker_prefetch_multiplier == made.CELERYD_PREFETCH_MULTIPLIER == 2
    with pytest.warns(UserWarning, match="no such result backend"):
        made.mongodb_backend_settings = {"host": "there"}
    assert Settings().worker_prefetch_multiplier is None


def test_times_may_be_timedeltas_and_results_may_be_kept_for_ever() -> None:
    made = Settings(result_expires=timedelta(hours=1), task_time_limit=timedelta(minutes=1))
    assert (made.result_expires, made.task_time_limit) == (3600.0, 60.0)
    made.update(result_expires=None, task_time_limit=None)
    assert (made.result_expires, made.task_time_limit) == (0.0, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("task_serializer", "yaml"),
        ("accept_content", ["json", "yaml"]),
        ("timezone", "Europe/Nowhere"),
        ("task_always_eager", "perhaps"),
        ("include", 5),
        ("task_time_limit", 0),
    ],
)
def test_celerys_settings_are_checked_as_well(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name}=.*: .* expected"):
        Settings(**{name: value})


def test_a_structure_comes_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBQUEUE_TASK_ROUTES", '{"tasks.add": "low"}')
    monkeypatch.setenv("NBQUEUE_INCLUDE", "proj.tasks, proj.more")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "rpc://")
    made = Settings(task_routes={})
    assert made.task_routes == {"tasks.add": "low"}
    assert made.include == ("proj.tasks", "proj.more")
    assert made.lookup("result_backend") == ("rpc://", "CELERY_RESULT_BACKEND")


# ── a configuration module ───────────────────────────────────────────────────────────────────────

CELERYCONFIG = """
import os
from datetime import timedelta

def helper(): ...

HOURS = 1
_private_result_backed = 1
BROKER_URL = 'amqp://'
CELERY_RESULT_BACKEND = None
CELERY_TASK_SERIALIZER = 'json'
CELERY_TASK_RESULT_EXPIRES = timedelta(hours=HOURS)
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        name = f"nbq_config_{len(list(tmp_path.iterdir()))}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def read_from(place: object, namespace: str = "", **values: object) -> Settings:
    made = Settings(**values)
    made.read_from(ConfigSource(place, namespace))
    return made


def test_a_module_is_between_code_and_the_default(
    config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = config(CELERYCONFIG)
    made = read_from(name, task_serializer="msgpack")
    assert made.lookup("result_expires") == (3600.0, name)
    assert made.lookup("task_serializer") == ("msgpack", "code")
    assert made.lookup("backend") == (None, "default")
    monkeypatch.setenv("NBQUEUE_BROKER", "zmq://there:1")
    assert made.broker == "zmq://there:1"
    assert made.own_variables() == ["HOURS"]


def test_a_module_is_read_when_a_setting_is_first_used_and_missed_only_then() -> None:
    made = read_from("nbq_nowhere.config")
    with pytest.raises(ImportError, match=r"nbq_nowhere\.config"):
        _ = made.workers
    with pytest.raises(ConfigurationError):
        _ = made.workers
    silent = Settings()
    silent.read_from(ConfigSource("nbq_nowhere", silent=True))
    assert silent.workers == 0


@pytest.mark.parametrize("line", ["result_backed = 'rpc://'", "CELERY_RESULTS = 1", "TASK_ROUTE = {}"])
def test_what_looks_like_a_setting_in_a_module_has_to_be_one(config: Callable[[str], str], line: str) -> None:
    name = config(line)
    with pytest.raises(ConfigurationError, match=rf"^{name}: no setting is called"):
        _ = read_from(name).workers


def test_a_wrong_value_in_a_module_names_it(config: Callable[[str], str]) -> None:
    name = config("worker_lease = 'long'")
    with pytest.raises(ConfigurationError, match=rf"^{name}: worker_lease='long'"):
        _ = read_from(name).worker_lease


def test_objects_classes_and_dicts_are_sources_too(config: Callable[[str], str]) -> None:
    class Production:
        task_default_queue = "production"

        def method(self) -> None: ...

    for place in (Production, Production(), {"task_default_queue": "production"}):
        assert read_from(place).task_default_queue == "production"
    name = config("class Settings:\n    task_default_queue = 'named'")
    assert read_from(f"{name}:Settings").task_default_queue == "named"
    assert read_from(f"{name}.Settings").task_default_queue == "named"


def test_a_namespace_picks_what_is_meant_for_us(config: Callable[[str], str]) -> None:
    source = "TIMEZONE = 5\nCELERY_TASK_DEFAULT_QUEUE = 'django'\nCELERY_BROKER_URL = 'memory://d'"
    made = read_from(config(source), "CELERY")
    assert (made.task_default_queue, made.broker, made.timezone) == ("django", "memory://d", None)
    with pytest.raises(ConfigurationError, match="result_backed"):
        _ = read_from(config("CELERY_RESULT_BACKED = 1"), "CELERY").workers


# ── all of Celery's ──────────────────────────────────────────────────────────────────────────────

#: those of Celery 5.7, by the beginning of their names
CELERYS = {
    "": "accept_content result_accept_content enable_utc imports include timezone",
    "beat_": "max_loop_interval scheduler schedule_filename sync_every cron_starting_deadline",
    "broker_": "url read_url write_url transport transport_options connection_timeout connection_retry"
    " connection_retry_on_startup connection_max_retries channel_error_retry failover_strategy heartbeat"
    " heartbeat_checkrate login_method pool_limit use_ssl host port user password vhost",
    "result_": "backend cache_max compression exchange exchange_type expires chord_expires failure_expires"
    " persistent extended serializer backend_transport_options chord_retry_interval chord_join_timeout"
    " backend_max_retries backend_always_retry",
    "task_": "acks_late acks_on_failure_or_timeout acks_on_failure acks_on_timeout always_eager annotations"
    " compression create_missing_queues inherit_parent_priority default_delivery_mode default_queue"
    " default_queue_type default_exchange default_exchange_type default_routing_key default_rate_limit"
    " default_priority eager_propagates ignore_result store_eager_result protocol publish_retry"
    " publish_retry_policy queues queue_max_priority reject_on_worker_lost remote_tracebacks repr_maxlevels"
    " routes send_sent_event serializer soft_time_limit time_limit store_errors_even_if_ignored"
    " track_started allow_error_cb_on_chord_header",
    "worker_": "agent autoscaler cancel_long_running_tasks_on_connection_loss soft_shutdown_timeout"
    " enable_soft_shutdown_on_idle concurrency consumer direct disable_rate_limits"
    " deduplicate_successful_tasks enable_remote_control hijack_root_logger log_color log_datefmt log_format"
    " lost_wait max_memory_per_child max_tasks_per_child pool pool_putlocks pool_restarts pool_start_method"
    " proc_alive_timeout prefetch_multiplier eta_task_limit disable_prefetch redirect_stdouts"
    " redirect_stdouts_level send_task_events state_db task_log_datefmt task_log_format timer"
    " timer_precision detect_quorum_queues",
}


@pytest.mark.parametrize(
    "name", [beginning + name for beginning, names in CELERYS.items() for name in names.split()]
)
def test_every_setting_of_celerys_is_known(name: str) -> None:
    assert canonical(name) in {**SETTINGS, **WITHOUT_EFFECT}


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:secret@host/0", "redis://:secret@host/0", "redis://me:secret@secret/secret@host/0",
        "proj.backends:Mine://me:secret@host",
    ],
)  # fmt: skip
def test_no_part_of_a_password_is_shown(url: str) -> None:
    assert "secret" not in shown_url(url)
    assert shown_url(url).endswith(url.rpartition("@")[2])


@pytest.mark.parametrize("url", ["zmq://host:7655", "redis://host:6379/0?app=a@b", "memory://x", ""])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert shown_url(url) == url
