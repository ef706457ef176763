"""A broker with its workers and tasks, as a whole: what ``start``, ``attach`` and ``connect`` return."""

from typing import Any, Final

from nbqueue.client import app as application
from nbqueue.client.client import Client
from nbqueue.client.connections import client_for
from nbqueue.client.group import GroupResult
from nbqueue.client.result import AsyncResult
from nbqueue.exceptions import ConnectionLostError
from nbqueue.launch import local, teardown
from nbqueue.launch import workers as launched
from nbqueue.settings import Settings

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
            f"<Cluster at {self.client.url}: {_counted(len(status['workers']), 'worker')} with"
            f" {_counted(processes, 'process', 'processes')},"
            f" {_counted(status['broker']['records'], 'task')} on record>"
        )

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

    def results(self, limit: int = 100) -> list[AsyncResult]:
        """The newest ``limit`` tasks on record, whoever sent them, oldest first: with output, progress
        and outcome, including what came while nobody watched."""
        return [
            AsyncResult(row["id"], self.client) for row in reversed(self.client.ask("tasks", limit=limit))
        ]

    def groups(self, limit: int = 10_000) -> list[GroupResult]:
        """Maps and groups among the newest ``limit`` tasks on record, oldest first."""
        groups: dict[str, GroupResult] = {}
        for row in reversed(self.client.ask("tasks", limit=limit)):
            if row["group"]:
                group = groups.setdefault(row["group"], GroupResult(row["group"], [], row["name"]))
                group.children.append(AsyncResult(row["id"], self.client))
        return list(groups.values())

    def newest(self, limit: int = SHOWN) -> list[AsyncResult | GroupResult]:
        """The newest maps, groups and single tasks, oldest first, with all that is known of them."""
        found: dict[str, AsyncResult | GroupResult] = {}
        for row in reversed(self.client.ask("tasks", limit=10_000)):
            result = AsyncResult(row["id"], self.client)
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


def start(workers: int = 0) -> Cluster:
    """Start the local cluster and use it; one that runs already is used as it is.

    Parameters
    ----------
    workers
        Executor processes of a worker that is started now; 0: one a core.

    Raises
    ------
    ConnectionLostError
        It did not start; the message has the last lines of its log.
    ConfigurationError
        NBQUEUE_BROKER names another broker, and wins.
    """
    application.set_default_broker("")
    launched.wait_ready(local.ensure(Settings(workers=workers)))
    return Cluster(application.default_app().client)


def attach() -> Cluster:
    """Find the local cluster that is running, with all its tasks: after a restart of the kernel, say.

    A notebook shows the newest ones with it, live.

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
    """Use the broker at ``url`` (``zmq://host:port``) for ``nbqueue.task`` and ``%%task``.

    Its key comes from NBQUEUE_KEY, or from the connection file of a broker of this user on this machine.

    Raises
    ------
    ConnectionLostError
        It does not answer; AuthenticationError if it does not know the key.
    """
    application.check_default_broker(url)
    client = client_for(url)
    application.set_default_broker(url)
    return Cluster(client)


def stop() -> None:
    """End the local cluster: broker, workers, and whatever they run."""
    teardown.stop()
    application.default_app().conf.broker = None


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
