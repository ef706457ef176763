"""Every setting, in one table: its name, type, default and what it does.

A setting ``x`` is looked up in this order: the environment variable ``NBQUEUE_X``, what code set on
``app.conf``, the module or object of ``app.config_from_object``, the default.  Names that Celery has or had
for it (``task_serializer``, ``CELERY_TASK_SERIALIZER``) mean the same.  A name that nobody knows is an error
that names the nearest one, and so is a value that cannot be: in code where it is set, elsewhere where it is
looked up.  What Celery has and we have no use for stands in ``nbqueue.celery_settings``.
"""

import copy
import difflib
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from nbqueue import conversions as to
from nbqueue.celery_settings import FAMILIES, WITHOUT_EFFECT, why_without_effect
from nbqueue.config_source import ConfigSource, looks_like_a_setting
from nbqueue.exceptions import ConfigurationError, UnknownSettingError


class Setting(NamedTuple):
    """One row of the table."""

    name: str
    #: the value as it is used, from what code has set or from the text of an environment variable;
    #: raises ValueError with what is expected
    convert: Callable[[Any], Any]
    default: Any
    doc: str
    #: other environment variables that are read when NBQUEUE_<NAME> is not set
    aliases: tuple[str, ...] = ()
    #: other names, in code and configuration modules; Celery's old ones need not be listed if they follow the
    #: rule (see ``canonical``)
    other_names: tuple[str, ...] = ()


def full_url(broker: Any) -> str:
    """The URL of a broker that may have been named by ``HOST:PORT`` alone; "" stays.

    Raises
    ------
    ConfigurationError
        It is no text.
    """
    if not isinstance(broker, str):
        raise ConfigurationError("a str such as 'zmq://HOST:PORT' is expected")
    return f"zmq://{broker}" if broker and "://" not in broker else broker


def shown_url(url: str) -> str:
    """A URL without the password that it may hold, even one that should have been quoted."""
    shown = re.sub(r"(://[^/@:]*):[^?]*@", r"\1:***@", url)
    return re.sub(r"([?&]\w*password=)[^&]*", r"\1***", shown)


def _censored(value: Any) -> Any:
    return shown_url(value) if isinstance(value, str) else value


SETTINGS: Mapping[str, Setting] = {
    s.name: s
    for s in (
        Setting("broker", full_url, "", "URL of the broker, or its HOST:PORT; empty: the local cluster, started on first use", ("CELERY_BROKER_URL",), ("broker_url",)),
        Setting("backend", to.optional(to.text), None, "where values are kept: None or `rpc://`: the broker keeps them; `redis://HOST`: that Redis; `disabled://`: nobody", ("CELERY_RESULT_BACKEND",), ("result_backend",)),
        Setting("include", to.names, (), "modules that a worker imports at its start, beside the application's own", (), ("imports",)),
        Setting("workers", to.count, 0, "executor processes of a worker; 0: one a core", (), ("worker_concurrency",)),
        Setting("task_default_queue", to.text, "default", "queue of a task that names none"),
        Setting("task_queues", to.optional(to.queues), None, "queues that a worker consumes unless it is told -Q; None: the default queue"),
        Setting("task_default_priority", to.priority, 0, "priority of a task that names none: 0 to 9, 9 first"),
        Setting("task_default_rate_limit", to.anything, None, "rate_limit of tasks that say none: '10/m', over all workers"),
        Setting("task_inherit_parent_priority", to.flag, False, "a task that a task submits has its priority, unless it names one"),
        Setting("task_routes", to.structure, None, "which queue, and which other options, tasks get by their names: a dict from name, glob or regex to a queue or options, a function, or a list of these; the first match counts"),
        Setting("task_annotations", to.structure, None, "options of tasks, by name or '*', that win over those of @task"),
        Setting("task_serializer", to.serializer, "cloudpickle", "how arguments are written: cloudpickle, json or msgpack"),
        Setting("result_serializer", to.serializer, "cloudpickle", "how values are written: cloudpickle, json or msgpack"),
        Setting("accept_content", to.serializers, ("cloudpickle", "json", "msgpack"), "what may be read of arguments and values; anything else is refused before it is loaded"),
        Setting("result_accept_content", to.optional(to.serializers), None, "what may be read of values; None: accept_content"),
        Setting("timezone", to.optional(to.zone), None, "time zone of `eta` without one, of periodic tasks and of `date_done`; None: UTC, and an `eta` must say its own"),
        Setting("enable_utc", to.flag, True, "False: times without a zone are this machine's, unless timezone is set"),
        Setting("task_ignore_result", to.flag, False, "keep the state of tasks, drop their values"),
        Setting("task_acks_late", to.flag, True, "True: a task whose worker died is run again; False: it is started at most once"),
        Setting("task_time_limit", to.optional(to.period), None, "seconds after which a run is killed"),
        Setting("task_soft_time_limit", to.optional(to.period), None, "seconds after which a run gets SoftTimeLimitExceeded"),
        Setting("task_always_eager", to.flag, False, "run tasks here and now instead of sending them: for tests"),
        Setting("task_eager_propagates", to.flag, False, "tasks that run here raise what they raise, instead of keeping it for get()", (), ("CELERY_EAGER_PROPAGATES_EXCEPTIONS",)),
        Setting("task_store_eager_result", to.flag, False, "results of tasks that ran here are found again by their ids, in this process"),
        Setting("task_publish_retry", to.flag, True, "False: delay() fails at once while the broker is away, instead of sending when it is back"),
        Setting("beat_schedule", to.entries, {}, "periodic tasks: a dict from the name of each to its task, schedule, args, kwargs and options"),
        Setting("beat_missed", to.one_of("once", "skip", "all"), "once", "what is made up for of a periodic task's firings that fell into a time without a broker: the last one, none, all (the last hundred)"),
        Setting("worker_heartbeat", to.period, 2.0, "seconds between two signs of life"),
        Setting("worker_lease", to.period, 10.0, "seconds without a sign of life after which a worker counts as lost; longer than worker_heartbeat"),
        Setting("worker_pool", to.pool, "processes", "what tasks of `nbqueue worker` run in: processes (prefork), one task each; the threads of one process; or solo, one process"),
        Setting("worker_max_tasks_per_child", to.count, 0, "tasks after which an executor process is replaced; 0: never"),
        Setting("worker_max_memory_per_child", to.count, 0, "KiB of memory past which an executor process is replaced, after its task; 0: never"),
        Setting("worker_log_format", to.text, "", "format of a worker's own lines, as in logging; json: a line of JSON each; empty: Celery's"),
        Setting("worker_task_log_format", to.text, "", "format of what tasks log by get_task_logger; there are task_name and task_id in it, too"),
        Setting("max_task_deaths", to.count, 3, "how often a task may kill its worker before it ends in FAILURE"),
        Setting("max_worker_losses", to.count, 10, "how often a task may lose its whole worker before it ends in FAILURE"),
        Setting("cancel_grace", to.seconds, 3.0, "seconds that a cancelled task has to clean up before its process is killed"),
        Setting("connect_timeout", to.seconds, 5.0, "seconds without an answer after which a broker counts as unreachable", (), ("broker_connection_timeout",)),
        Setting("broker_patience", to.seconds, 3600.0, "seconds without its broker after which a worker ends, having finished what runs; 0: never; 30 in the local cluster"),
        Setting("drain_timeout", to.seconds, 10.0, "seconds that a client waits at exit until its tasks are accepted"),
        Setting("max_unacknowledged", to.count, 100_000, "submissions under way past which delay() blocks"),
        Setting("idle_timeout", to.seconds, 600.0, "seconds without clients and work after which the local cluster ends itself; 0: never"),
        Setting("result_expires", to.lifetime, 86_400.0, "seconds, or a timedelta, that the record of a finished task is kept; 0 or None: for ever", (), ("CELERY_TASK_RESULT_EXPIRES",)),
        Setting("max_results", to.count, 1_000_000, "finished records past which the oldest go"),
        Setting("max_result_bytes", to.count, 2**30, "bytes of finished records past which the oldest go"),
        Setting("journal_sync", to.one_of("none", "batch"), "none", "batch: the broker's journal is on disk before others are told, so that it survives a power failure; none: only the broker's own death"),
        Setting("max_output_bytes", to.count, 2**20, "characters of output kept a task; past them the middle is dropped"),
        Setting("max_payload_bytes", to.count, 2**29, "bytes of the arguments, of the function or of the value of one task"),
        Setting("max_message_bytes", to.count, 2**30, "bytes of one message past which the broker hangs up; 2 MiB to 1 GiB"),
        Setting("max_queued", to.count, 1_000_000, "unfinished tasks of one queue past which new ones are refused"),
        Setting("max_queued_bytes", to.count, 2**31, "bytes of unfinished tasks in all queues past which new ones are refused"),
        Setting("max_connections", to.count, 10_000, "clients, workers and executors (two each) past which a broker refuses newcomers"),
    )
}  # fmt: skip


#: Celery's old names that do not follow the rule, of settings without effect
_IRREGULAR: Mapping[str, str] = {
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_MAX_CACHED_RESULTS": "result_cache_max",
    "CELERY_RESULT_DBURI": "database_url",
    "CELERY_RESULT_ENGINE_OPTIONS": "database_engine_options",
    "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS": "database_short_lived_sessions",
    "CELERY_RESULT_DB_TABLENAMES": "database_table_names",
}
_CANONICAL = {other: row.name for row in SETTINGS.values() for other in (row.name, *row.other_names)}
_KNOWN = {**_CANONICAL, **{name: name for name in WITHOUT_EFFECT}, **_IRREGULAR}
#: what stands for the beginning of an old name
_RULE = (("celerybeat_", ("beat_",)), ("celeryd_", ("worker_", "")), ("celery_", ("", "task_", "worker_")))

_PREFIX = "NBQUEUE_"
#: variables of the same form that are no settings: for the key, for folders, for tracebacks of the command line
OTHER_VARIABLES = (
    "NBQUEUE_KEY", "NBQUEUE_KEY_FILE", "NBQUEUE_DATA_DIR", "NBQUEUE_RUNTIME_DIR", "NBQUEUE_DEBUG",
    "NBQUEUE_SIGNING_KEY", "NBQUEUE_REDIS_PASSWORD", "NBQUEUE_SENTINEL_PASSWORD",
)  # fmt: skip


def unread_variables() -> Iterator[tuple[str, str]]:
    """Each environment variable NBQUEUE_… that nothing reads, with the nearest one that is read, or ""."""
    known = [name.removeprefix(_PREFIX) for row in SETTINGS.values() for name in _variables(row)]
    known += [name.removeprefix(_PREFIX) for name in OTHER_VARIABLES]
    for variable in sorted(os.environ):
        name = variable.removeprefix(_PREFIX)
        if name != variable and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield variable, f"{_PREFIX}{near[0]}" if near else ""


def _variables(row: Setting) -> tuple[str, ...]:
    """The environment variables of a setting, the first that is set counts."""
    others = (f"{_PREFIX}{name.upper()}" for name in row.other_names if name.islower())
    return (f"{_PREFIX}{row.name.upper()}", *others, *row.aliases)


def canonical(name: str) -> str:
    """The name in the table of a setting that has several: ``CELERY_ROUTES`` is ``task_routes``.

    Raises
    ------
    UnknownSettingError
        Neither Celery nor we have it.
    """
    found = _canonical(name)
    if found is None:
        near = difflib.get_close_matches(name.lower(), [n for n in _KNOWN if n.islower()], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; `nbqueue conf` lists all"
        raise UnknownSettingError(f"no setting is called {name!r}{hint}")
    return found


def _canonical(name: str) -> str | None:
    if name in _KNOWN:
        return _KNOWN[name]
    lower = name.lower() if name.isupper() else name
    candidates = [lower]
    for beginning, meanings in _RULE if name.isupper() else ():
        if lower.startswith(beginning):
            candidates += [meaning + lower.removeprefix(beginning) for meaning in meanings]
            break
    for candidate in candidates:
        if candidate in _KNOWN:
            return _KNOWN[candidate]
    return next((candidate for candidate in candidates if candidate.startswith(tuple(FAMILIES))), None)


class Settings:
    """The settings of one application: attributes or items by name, environment first."""

    #: grows with each change
    version: int
    _values: dict[str, Any]
    _source: ConfigSource | None
    #: what was read from the source, None before that
    _read: dict[str, Any] | None
    #: defaults that somebody may have changed in place
    _own_defaults: dict[str, Any]

    def __init__(self, **values: Any) -> None:
        own: dict[str, Any] = {
            "_values": {},
            "_source": None,
            "_read": None,
            "_own_defaults": {},
            "version": 0,
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)
        self.update(**values)

    # ── reading ──────────────────────────────────────────────────────────────────────────────

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy, pickle and inspect ask for these
            raise AttributeError(name)
        return self.lookup(name)[0]

    def __getitem__(self, name: str) -> Any:
        return self.lookup(name)[0]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting, ``default`` if it has none."""
        value = self.lookup(name)[0]
        return default if value is None else value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _canonical(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(SETTINGS)

    def __len__(self) -> int:
        return len(SETTINGS)

    def __dir__(self) -> list[str]:
        return [*object.__dir__(self), *SETTINGS]

    def keys(self) -> list[str]:
        return list(SETTINGS)

    def values(self) -> list[Any]:
        return [self[name] for name in SETTINGS]

    def items(self) -> list[tuple[str, Any]]:
        return [(name, self[name]) for name in SETTINGS]

    def chosen(self, names: Iterable[str]) -> dict[str, Any]:
        """Those of these settings that do not have their defaults."""
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value != SETTINGS[name].default}

    def lookup(self, name: str) -> tuple[Any, str]:
        """The value of a setting, and where it comes from: an environment variable's name, "code", the name of
        the configuration module, or "default".

        Raises
        ------
        ConfigModuleNotFoundError
            The configuration module is not there.
        """
        name = canonical(name)
        row = SETTINGS.get(name)
        for variable in _variables(row) if row is not None else ():
            text = os.environ.get(variable)
            if text:
                return _converted(row, text, said=variable), variable
        if name in self._values:
            return self._values[name], "code"
        if self._source is not None and name in (read := self._from_source()):
            return read[name], self._source.label
        return (None, "default") if row is None else self._default(row)

    def _default(self, row: Setting) -> tuple[Any, str]:
        if not isinstance(row.default, dict | list):
            return row.default, "default"
        own = self._own_defaults.setdefault(row.name, copy.deepcopy(row.default))
        return own, "default" if own == row.default else "code"

    def _from_source(self) -> dict[str, Any]:
        if self._read is None and self._source is not None:
            object.__setattr__(self, "_read", _settings_in(self._source))
        return self._read or {}

    def own_variables(self) -> list[str]:
        """Names in the configuration module that are no settings, and do not look like any."""
        return [name for name in self._source.read() if _canonical(name) is None] if self._source else []

    def without_defaults(self) -> dict[str, Any]:
        """Those that somebody has set, wherever."""
        found = {name: self.lookup(name) for name in SETTINGS}
        return {name: value for name, (value, source) in found.items() if source != "default"}

    def value_set_for(self, name: str) -> Any:
        """The value that somebody has set, None for the default."""
        value, source = self.lookup(name)
        return None if source == "default" else value

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """Settings by name, passwords left out if ``censored``: for bug reports."""
        values = dict(self.items()) if with_defaults else self.without_defaults()
        return {name: _censored(value) for name, value in values.items()} if censored else values

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """:meth:`table` as text, a line each."""
        return "\n".join(f"{name}: {value!r}" for name, value in self.table(with_defaults, censored).items())

    # ── changing ─────────────────────────────────────────────────────────────────────────────

    def __setattr__(self, name: str, value: Any) -> None:
        self.update(**{name: value})

    def __setitem__(self, name: str, value: Any) -> None:
        self.update(**{name: value})

    def __delitem__(self, name: str) -> None:
        self._values.pop(canonical(name), None)
        self._changed(self._values)

    def setdefault(self, name: str, value: Any) -> Any:
        """Set it unless something has; returns what it is now."""
        if self.lookup(name)[1] == "default":
            self.update(**{name: value})
        return self[name]

    def update(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set several at once, or none of them.  None unsets what is empty by default, such as ``broker``.

        Raises
        ------
        ConfigurationError
            There is no setting of that name, or it cannot have that value.
        """
        after = dict(self._values)
        for name, value in {**(values or {}), **more}.items():
            known = canonical(name)
            if value is None and known in SETTINGS and not SETTINGS[known].default:
                after.pop(known, None)
            else:
                after[known] = _taken(known, value, said=known)
        self._changed(after)

    def read_from(self, source: ConfigSource) -> None:
        """From now on what code does not set comes from there; it is read when a setting is looked up."""
        object.__setattr__(self, "_source", source)
        object.__setattr__(self, "_read", None)
        self._changed(self._values)

    def _changed(self, values: dict[str, Any]) -> None:
        object.__setattr__(self, "_values", values)
        object.__setattr__(self, "version", self.version + 1)


def _settings_in(source: ConfigSource) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in source.read().items():
        if (known := _canonical(name)) is not None:
            if value is None and known in SETTINGS and not SETTINGS[known].default:
                continue
            found[known] = _taken(known, value, said=f"{source.label}: {name}")
        elif source.namespace or looks_like_a_setting(name) or _is_nearly(name):
            try:
                canonical(name)
            except UnknownSettingError as error:
                raise UnknownSettingError(f"{source.label}: {error}") from None
    return found


def _is_nearly(name: str) -> bool:
    return bool(difflib.get_close_matches(name.lower(), _KNOWN, n=1, cutoff=0.85))


def _taken(name: str, value: Any, *, said: str) -> Any:
    """The value as it is used; of one without effect, with a warning that says why."""
    row = SETTINGS.get(name)
    if row is not None:
        return _converted(row, value, said=said)
    if value is not None and name not in _told:
        _told.add(name)
        warnings.warn(f"the setting {name} has no effect: {why_without_effect(name)}", stacklevel=4)
    return value


#: settings without effect of which this process has heard
_told: set[str] = set()


def _converted(row: Setting | None, value: Any, *, said: str) -> Any:
    assert row is not None, "only rows of the table are converted"
    try:
        return row.convert(value)
    except ValueError as error:
        raise ConfigurationError(f"{said}={value!r}: {error}") from None
