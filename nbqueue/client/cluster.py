"""A broker with its workers and tasks, as a whole: what ``start``, ``attach`` and ``connect`` return."""

import numbers
import warnings
from collections.abc import Iterator
from typing import Any, Final

from nbqueue import current
from nbqueue.client import app as application
from nbqueue.client.client import Client
from nbqueue.client.connections import client_for
from nbqueue.client.group import GroupResult
from nbqueue.client.result import AsyncResult
from nbqueue.exceptions import ConfigurationError, ConnectionLostError
from nbqueue.launch import local, teardown
from nbqueue.launch import workers as launched
from nbqueue.settings import full_url
from nbqueue.utils.text import counted

#: what a notebook shows with an attached cluster: maps, groups and single tasks
SHOWN: Final = 20


class Cluster:
    """The broker that this process is connected to; asks anew at each look."""

    def __init__(self, client: Client, shown: int = 0) -> None:
        self.client = client
        #: how many of its newest tasks a notebook shows with it
        self.shown = shown

    def __repr__(self) -> str:
        status = self.status()
        processes = sum(len(worker["children"]) for worker in status["workers"])
        return (
            f"<Cluster at {self.client.url}: {counted(len(status['workers']), 'worker')} with"
            f" {counted(processes, 'process')},"
            f" {counted(status['broker']['records'], 'task')} on record: .results(), .groups()>"
        )

    def __iter__(self) -> Iterator[AsyncResult]:
        """Its :meth:`results`."""
        return iter(self.results())

    def status(self) -> dict[str, Any]:
        """Broker, workers and queues, in the form of ``nbqueue status --json``."""
        status: dict[str, Any] = self.client.ask("status")
        status["broker"]["address"] = self.client.url
        return status

    @property
    def workers(self) -> list[dict[str, Any]]:
        """Name, host, pid, child processes and queues of each worker."""
        workers: list[dict[str, Any]] = self.status()["workers"]
        return workers

    def results(self, limit: int = 100, *, everywhere: bool = False) -> list[AsyncResult]:
        """The newest ``limit`` tasks of this notebook, oldest first: with output, progress and outcome,
        including what came while nobody watched.  Warns if there are more.

        ``everywhere``: whoever sent them; so it is outside of notebooks.
        """
        return [self._result(row) for row in self._newest("results", limit, everywhere)]

    def groups(self, limit: int = 10_000, *, everywhere: bool = False) -> list[GroupResult]:
        """Maps and groups among the newest ``limit`` tasks, as :meth:`results`."""
        groups: dict[str, GroupResult] = {}
        for row in self._newest("groups", limit, everywhere):
            if row["group"]:
                group = groups.setdefault(row["group"], GroupResult(row["group"], [], row["name"]))
                group.children.append(self._result(row))
        return list(groups.values())

    def newest(self, limit: int = SHOWN) -> list[AsyncResult | GroupResult]:
        """The newest maps, groups and single tasks, oldest first, with all that is known of them."""
        found: dict[str, AsyncResult | GroupResult] = {}
        for row in reversed(self.client.ask("tasks", limit=10_000, notebook=current.notebook)):
            result = self._result(row)
            group = found.pop(row["group"], None) if row["group"] else None
            if isinstance(group, GroupResult):
                group.children.append(result)
                found[group.id] = group
            elif row["group"]:
                found[row["group"]] = GroupResult(row["group"], [result], row["name"])
            else:
                found[result.id] = result
        newest = list(found.values())[-limit:]
        results = [r for item in newest for r in (item if isinstance(item, GroupResult) else [item])]
        self.client.look_up_all([result.record for result in results])
        return newest

    def _newest(self, method: str, limit: int, everywhere: bool) -> list[dict[str, Any]]:
        """The newest tasks on record, oldest first."""
        notebook = "" if everywhere else current.notebook
        rows: list[dict[str, Any]] = self.client.ask("tasks", limit=limit + 1, notebook=notebook)
        if len(rows) > limit:
            these = f"there are more than these {counted(limit, 'task')}"
            warnings.warn(f"{these}: {method}(limit=…) looks at as many as you say", stacklevel=3)
        return rows[:limit][::-1]

    def _result(self, row: dict[str, Any]) -> AsyncResult:
        result = AsyncResult(row["id"], self.client)
        result.record.name, result.record.listed = row["name"], row["state"]
        return result


def start(workers: int | None = None) -> Cluster:
    """Start the local cluster and use it; one that runs already is used as it is, with a warning if it has
    another number of processes.

    Parameters
    ----------
    workers
        Executor processes of a worker that is started now; None: the setting ``workers``, which is one a
        core unless it is set.

    Raises
    ------
    ConnectionLostError
        It did not start; the message has the last lines of its log.
    ConfigurationError
        ``workers`` is no number of processes, or NBQUEUE_BROKER names another broker, and wins.
    """
    wanted = None if workers is None else _processes(workers)
    application.set_default_broker("")
    app = application.default_app()
    status = launched.wait_ready(local.ensure(app.conf, processes=wanted or 0))
    running = sum(len(worker["children"]) for worker in launched.for_this_environment(status))
    if wanted not in (None, running):
        has = counted(running, "process")
        warnings.warn(
            f"the local cluster ran already, with {has}: nbqueue.stop() first for {wanted}", stacklevel=2
        )
    return Cluster(app.client)


def attach() -> Cluster:
    """Find the local cluster that is running, with its tasks: after a restart of the kernel, say.

    A notebook shows its own newest ones with it, live.

    Raises
    ------
    ConnectionLostError
        None is running.
    """
    if local.find() is None and not local.has_crashed():
        raise ConnectionLostError("no local cluster is running: nbqueue.start() starts one")
    application.set_default_broker("")
    return Cluster(application.default_app().client, shown=SHOWN)


def connect(url: str) -> Cluster:
    """Use the broker at ``url`` (``zmq://host:port``, or ``host:port``) for ``nbqueue.task`` and ``%%task``.

    Its key comes from NBQUEUE_KEY, or from the connection file of a broker of this user on this machine.

    Raises
    ------
    ConnectionLostError
        It does not answer; AuthenticationError if it does not know the key.
    ConfigurationError
        ``url`` is no address, or NBQUEUE_BROKER names another broker, and wins.
    """
    url = full_url(url)
    application.check_default_broker(url)
    client = client_for(url)
    application.set_default_broker(url)
    return Cluster(client)


def stop() -> None:
    """End the local cluster: broker, workers, and whatever they run."""
    teardown.stop()
    application.default_app().conf.broker = None


def _processes(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, numbers.Integral) or number < 1:
        raise ConfigurationError(f"workers is a number of processes, 1 or more, not {number!r}")
    return int(number)
