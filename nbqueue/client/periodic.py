"""Periodic tasks of an application: what it says of them, and how that comes to the broker.

::

    conf.beat_schedule ─┐
    add_periodic_task ──┼─▶ beat() ─▶ Schedule ─▶ the broker keeps and fires them
    on_after_configure ─┘

There is no process that has to go on: once the broker has an entry it fires until the entry is removed.
``nbqueue worker -A`` and ``nbqueue beat -A`` call :meth:`PeriodicTasks.beat`; importing a module calls
nothing.
"""

import difflib
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from nbqueue import current
from nbqueue import messages as m
from nbqueue import timetable as calendar
from nbqueue.client.client import Client
from nbqueue.client.connections import Router
from nbqueue.client.result import AsyncResult
from nbqueue.exceptions import ConfigurationError
from nbqueue.platform import local_zone
from nbqueue.schedules import BaseSchedule, crontab, maybe_schedule, schedule
from nbqueue.settings import Settings
from nbqueue.signals import Signal
from nbqueue.wire.shipment import Blob

#: what an entry of ``beat_schedule`` may say
_FIELDS: Final = (
    "task", "schedule", "args", "kwargs", "options", "relative", "missed", "skip_if_running",
)  # fmt: skip
_MISSED: Final = ("once", "skip", "all")
#: options that mean a moment, one call, or several
_MOMENTARY: Final = {
    "eta": "a firing has its time from the schedule: use countdown= for a delay after it",
    "task_id": "each firing has an id of its own",
    "link": "it is one task: let it send the others",
    "link_error": "it is one task: let it send the others",
}


class PeriodicTask(NamedTuple):
    """What the broker says of a periodic task."""

    name: str
    #: whose schedule it belongs to
    app: str
    #: name of its task
    task: str
    #: ``every 30 seconds``, or the fields of a crontab in cron's order
    schedule: str
    queue: str
    #: when it fires next, in its own time zone; None: never
    next_run_at: datetime | None
    #: of the last firing, None before the first
    last: AsyncResult | None
    #: what happens to firings that are missed
    missed: str
    skip_if_running: bool
    #: why it does not fire as it should, "" if it does
    trouble: str


class Planned(NamedTuple):
    """An entry as the application has it."""

    task: Any
    schedule: BaseSchedule
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    missed: str
    skip_if_running: bool


class PeriodicTasks:
    """What applications have for periodic tasks."""

    if TYPE_CHECKING:  # what applications have beside this
        main: str
        conf: Settings
        tasks: Any
        _router: Router

        def named(self, name: str) -> Any: ...
        def AsyncResult(self, id: str) -> Any: ...  # noqa: N802 - Celery's name

    @cached_property
    def on_after_configure(self) -> Signal:
        """Sent once a process, when a worker has imported the application, or its schedule is put together.
        Its receivers add periodic tasks."""
        return Signal(["source"], "on_after_configure")

    @cached_property
    def on_after_finalize(self) -> Signal:
        """Sent after ``on_after_configure``, when all modules with tasks have been imported."""
        return Signal([], "on_after_finalize")

    @cached_property
    def _planned_tasks(self) -> dict[str, Planned]:
        """Added by :meth:`add_periodic_task`."""
        return {}

    @cached_property
    def _progress(self) -> list[str]:
        """How far the receivers of the two signals have been called: [], [began], or [began, done]."""
        return []

    # ── saying it ────────────────────────────────────────────────────────────────────────────

    def add_periodic_task(
        self,
        schedule: float | timedelta | BaseSchedule,
        sig: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        *,
        missed: str | None = None,
        skip_if_running: bool = False,
        relative: bool = False,
        **options: Any,
    ) -> str:
        """Have the broker send a task again and again; returns the name of the entry.

        Called in a notebook, or in the script that is run, it tells the broker at once; in a module that is
        imported, :meth:`beat` or a worker that has the application (``-A``) tells it.

        Parameters
        ----------
        schedule
            Seconds, a timedelta, or ``nbqueue.schedules.crontab(…)``.
        sig
            A task, a signature, or the name of a task that workers have.  A function of a notebook is sent as
            it is now, with what it uses.
        args, kwargs
            Of each call.
        name
            An entry takes the place of the one of its name; none: what is called, with its arguments.
        missed
            What is made up for of firings that fell into a time without a broker: ``"once"`` (the last one),
            ``"skip"``, ``"all"`` (the last hundred); None: the setting beat_missed.
        skip_if_running
            Do not fire while the task of the last firing has not ended.
        relative
            Of an interval: count from a whole second, minute, hour or day of the clock.
        options
            Of each call, as of ``apply_async``; ``expires`` counts from the firing.

        Raises
        ------
        ConfigurationError, TypeError
            Something of this cannot be.
        """
        planned = _planned(
            {
                **_called(sig, args, kwargs, options),
                "schedule": schedule,
                "missed": missed,
                "skip_if_running": skip_if_running,
                "relative": relative,
            }
        )
        key = name or _described(planned)
        self._planned_tasks[key] = planned
        if not self._is_being_set_up and sys._getframe(1).f_globals.get("__name__") == "__main__":
            self._hand_over({key: planned}, complete=False)
        return key

    def beat(self) -> list[PeriodicTask]:
        """Tell the broker the schedule of this application, and return what it keeps of it.

        The broker's schedule of the application is then what it is here: entries that are here no longer go.
        To do so again changes nothing.

        Raises
        ------
        ConfigurationError
            An entry cannot be; the message names it.
        ConnectionLostError
            The broker cannot be reached.
        """
        self._hand_over(self.periodic_schedule(), complete=True)
        return self.periodic_tasks()

    def periodic_schedule(self) -> dict[str, Planned]:
        """All entries, by name: of the setting beat_schedule, and of :meth:`add_periodic_task`."""
        self.set_up()
        said = self.conf.beat_schedule
        return {
            **{str(name): _entry(str(name), entry) for name, entry in said.items()},
            **self._planned_tasks,
        }

    def periodic_tasks(self, *, everywhere: bool = False) -> list[PeriodicTask]:
        """What the broker keeps of this application; ``everywhere``: of all applications."""
        client: Client = self._router.route.client
        rows = client.ask("periodic") if everywhere else client.ask("periodic", app=self.schedule_name)
        return [_shown(row, self.AsyncResult) for row in rows]

    def remove_periodic_task(self, name: str) -> None:
        """Have the broker drop an entry; what it has fired goes on.

        Raises
        ------
        KeyError
            The broker has none of that name.
        """
        names = [entry.name for entry in self.periodic_tasks()]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
            raise KeyError(f"no periodic task is called {name!r}; {hint}")
        self._planned_tasks.pop(name, None)
        drop(self._router.route.client, self.schedule_name, name)

    @cached_property
    def schedule_name(self) -> str:
        """Under which name the broker keeps its entries: its own, that of the notebook, or of the module."""
        return self.main or current.notebook or _module_of(self)

    # ── setting up ───────────────────────────────────────────────────────────────────────────

    @property
    def _is_being_set_up(self) -> bool:
        return len(self._progress) == 1

    def set_up(self) -> None:
        """Call the receivers of the two signals, once; what one of them raises is raised.  Each process of a
        worker does so when it has imported the application."""
        if self._progress:
            return
        self._progress.append("began")
        try:
            _call(self.on_after_configure, self, source=self.conf)
            _call(self.on_after_finalize, self)
        except BaseException:
            self._progress.clear()
            raise
        self._progress.append("done")

    # ── handing over ─────────────────────────────────────────────────────────────────────────

    def _hand_over(self, entries: Mapping[str, Planned], *, complete: bool) -> None:
        client: Client = self._router.route.client
        drafts = [self._draft(name, planned) for name, planned in entries.items()]
        blobs = {blob.key: blob for _, used in drafts for blob in used}
        app, periodics = self.schedule_name, [periodic for periodic, _ in drafts]
        client.order(lambda number: m.Schedule(number, app, periodics, complete), list(blobs.values()))

    def _draft(self, name: str, planned: Planned) -> tuple[m.Periodic, tuple[Blob, ...]]:
        """An entry as it is sent, and what its task is made of."""
        task = self._task_of(planned.task)
        try:
            # a firing is started at most once, unless somebody has said that it may be started again
            message, blobs = task.draft(planned.args, planned.kwargs, planned.options, acks_late=False)
        except (TypeError, ValueError) as error:
            raise type(error)(f"the periodic task {name!r}: {error}") from None
        message = msgspec.structs.replace(message, id="", parent_id="", root_id="")
        timetable = planned.schedule.timetable(self._zone)
        missed = planned.missed or self.conf.beat_missed
        return m.Periodic(name, timetable, message, missed, planned.skip_if_running), blobs

    def _task_of(self, said: Any) -> Any:
        """The task that is meant by itself, or by its name."""
        if not isinstance(said, str):
            return said
        task = self.tasks.get(said)
        return task if task is not None else self.named(said)

    @property
    def _zone(self) -> str:
        """The time zone of calendars."""
        if (name := self.conf.timezone) is not None:
            return str(name)
        return "UTC" if self.conf.enable_utc else own_zone()


def drop(client: Client, app: str, name: str) -> None:
    """Have the broker drop an entry of an application, if it has it."""
    client.order(lambda number: m.Unschedule(number, app, [name]))


# ── what is said ─────────────────────────────────────────────────────────────────────────────────


def _called(
    sig: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The task that is meant, its arguments and options, as an entry has them."""
    if isinstance(sig, str) or getattr(sig, "__nbqueue_definition__", None) is True:
        return {"task": sig, "args": args, "kwargs": kwargs, "options": options}
    if not isinstance(sig, dict) or "task" not in sig:
        raise TypeError(f"a periodic task is made of a task, a signature or a task's name, not of {sig!r}")
    if sig.get("subtask_type"):
        raise ConfigurationError(
            f"{sig!r} is a workflow, and a periodic task is one task: let it send the workflow"
        )
    if hasattr(sig, "clone") and (args or kwargs):
        sig = sig.clone(args, kwargs)
        args, kwargs = (), None
    task = getattr(sig, "_type", None)  # a signature of this process knows its task, one of JSON its name
    merged = {**(sig.get("options") or {}), **options}
    return {
        "task": sig["task"] if task is None else task,
        "args": (*args, *(sig.get("args") or ())),
        "kwargs": {**(sig.get("kwargs") or {}), **(kwargs or {})},
        "options": {name: value for name, value in merged.items() if value not in (None, [])},
    }


def _entry(name: str, said: Any) -> Planned:
    """An entry of ``beat_schedule``.

    Raises
    ------
    ConfigurationError
        It lacks something, or has something that is not known.
    """
    if not isinstance(said, Mapping):
        raise ConfigurationError(f"beat_schedule[{name!r}] is a dict, not {said!r}")
    if unknown := [str(field) for field in said if field not in _FIELDS]:
        near = difflib.get_close_matches(unknown[0], _FIELDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(_FIELDS)}"
        raise ConfigurationError(f"beat_schedule[{name!r}] has no field {unknown[0]!r}; {hint}")
    if lacking := [field for field in ("task", "schedule") if said.get(field) is None]:
        raise ConfigurationError(f"beat_schedule[{name!r}] says no {lacking[0]!r}")
    try:
        return _planned(said)
    except (TypeError, ValueError) as error:
        raise type(error)(f"beat_schedule[{name!r}]: {error}") from None


def _planned(said: Mapping[str, Any]) -> Planned:
    args, kwargs = said.get("args") or (), said.get("kwargs") or {}
    if isinstance(args, str | bytes) or not isinstance(args, Sequence):
        raise TypeError(f"args is a tuple or list of the arguments, args=({args!r},)")
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"kwargs is a dict, not {kwargs!r}")
    missed = said.get("missed") or ""
    if missed and missed not in _MISSED:
        raise ConfigurationError(f"missed is {', '.join(_MISSED)}, not {missed!r}")
    options = dict(said.get("options") or {})
    for option, advice in _MOMENTARY.items():
        if options.get(option) is not None:
            raise ConfigurationError(f"{option} is nothing for a periodic task: {advice}")
    if isinstance(options.get("expires"), datetime):
        raise ConfigurationError("expires of a periodic task counts from each firing: give it in seconds")
    when = _plain(maybe_schedule(said["schedule"], relative=bool(said.get("relative"))))
    return Planned(
        said["task"], when, tuple(args), dict(kwargs), options, missed, bool(said.get("skip_if_running"))
    )


def _plain(found: BaseSchedule) -> BaseSchedule:
    """A schedule that the broker can keep: it runs none of a user's code."""
    if type(found).is_due is not BaseSchedule.is_due or type(found).timetable not in (
        schedule.timetable,
        crontab.timetable,
    ):
        raise ConfigurationError(
            f"{type(found).__name__} is a schedule of your own, and the broker runs no code of yours: use"
            " crontab() or an interval, and let the task decide whether there is something to do"
        )
    return found


def _described(planned: Planned) -> str:
    """What is called, with its arguments: the name of an entry that was given none."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = 60
    task = planned.task if isinstance(planned.task, str) else planned.task.name
    args = [shown.repr(value) for value in planned.args]
    kwargs = [f"{name}={shown.repr(value)}" for name, value in planned.kwargs.items()]
    return f"{task}({', '.join([*args, *kwargs])})"


def own_zone() -> str:
    """This machine's time zone, by name or by its offset from UTC, such as ``UTC+05:30``."""
    name = local_zone()
    try:
        calendar.zone_of(name)
    except ValueError:  # TZ may hold a rule, such as CET-1CEST
        offset = datetime.now().astimezone().strftime("%z")
        return f"UTC{offset[:3]}:{offset[3:5]}"
    return name


def _call(signal: Signal, app: Any, **named: Any) -> None:
    for _, response in signal.send(app, **named):
        if isinstance(response, BaseException):
            raise response


def _module_of(app: Any) -> str:
    """The module that has the application, by the name that others import it by."""
    for name, module in list(sys.modules.items()):
        members = getattr(module, "__dict__", {})
        if not name.startswith("nbqueue.") and any(value is app for value in list(members.values())):
            if name != "__main__":
                return name
            file = getattr(module, "__file__", None)
            return Path(file).stem if file else "__main__"
    return "__main__"


# ── what the broker says ─────────────────────────────────────────────────────────────────────────


def _shown(row: Mapping[str, Any], result: Callable[[str], AsyncResult]) -> PeriodicTask:
    at, last = row["next"], row["last_id"]
    return PeriodicTask(
        name=row["name"],
        app=row["app"],
        task=row["task"],
        schedule=row["schedule"],
        queue=row["queue"],
        next_run_at=None if at is None else datetime.fromtimestamp(at, _known_zone(row["zone"])),
        last=result(last) if last else None,
        missed=row["missed"],
        skip_if_running=row["skip_if_running"],
        trouble=row["trouble"],
    )


def _known_zone(name: str) -> Any:
    try:
        return calendar.zone_of(name)
    except ValueError:  # the broker's machine knows it, this one does not
        return UTC
