"""``app.control``: workers asked and told, with Celery's words.

Each command is one question to the broker, which answers when all workers have, or when time is over: a
worker that does not reply is missing from the answer, and nobody waits for it any longer.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from nbqueue.client.client import Client
from nbqueue.client.options import rate
from nbqueue.client.replies import Replies, readable
from nbqueue.exceptions import ConfigurationError

#: names of workers: one, several, or None for all
Destination: TypeAlias = str | Iterable[str] | None

#: takes back what was set at runtime
DEFAULT = "default"
#: signals that end a task, and whether at once
SIGNALS = {"INT": False, "TERM": False, "QUIT": False, "ABRT": False, "KILL": True}


def new_order() -> str:
    """A name for an order: asked again over another connection, it is carried out once."""
    return uuid.uuid4().hex


def question(
    command: str, args: Mapping[str, Any], destination: Destination, timeout: float
) -> dict[str, Any]:
    """What the broker is asked."""
    names = [destination] if isinstance(destination, str) else list(destination or ())
    return {
        "command": command,
        "args": dict(args),
        "destination": names,
        "patience": timeout,
        "order": new_order(),
    }


def rate_args(name: str, limit: Any) -> dict[str, Any]:
    """Of ``rate_limit``; "default" takes back what was set."""
    return {"task_name": name, "rate_limit": None if limit == DEFAULT else rate("rate_limit", limit or 0)}


def revoke_args(ids: Any, terminate: bool, signal: Any = None) -> dict[str, Any]:
    """Of ``revoke``.

    Raises
    ------
    ConfigurationError
        No task can be ended by that signal.
    """
    name = str(signal or "TERM").upper().removeprefix("SIG")
    name = {"2": "INT", "15": "TERM", "9": "KILL", "3": "QUIT", "6": "ABRT"}.get(name, name)
    if name not in SIGNALS:
        raise ConfigurationError(f"signal is one of {', '.join(SIGNALS)}, not {signal!r}")
    task_id = str(ids) if isinstance(ids, str) or not isinstance(ids, Iterable) else [str(id) for id in ids]
    return {"task_id": task_id, "terminate": terminate, "at_once": terminate and SIGNALS[name]}


def _understood(command: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of a command as the broker takes them, of such as Celery's docs have them."""
    if command == "rate_limit" and isinstance(arguments.get("rate_limit"), str):
        return rate_args(str(arguments.get("task_name", "")), arguments["rate_limit"])
    if command == "revoke" and "at_once" not in arguments:
        said = dict(arguments)
        return revoke_args(said.get("task_id", ()), bool(said.get("terminate")), said.get("signal"))
    return arguments


class Inspect:
    """``app.control.inspect()``: each method returns replies by worker, None if there are none, and the
    reply alone if ``destination`` is one name."""

    def __init__(
        self,
        client: Callable[[], Client],
        destination: Destination = None,
        timeout: float = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.destination = destination
        self.timeout = timeout
        self._client = client
        self._callback = callback

    def _request(self, command: str, **args: Any) -> Any:
        client = self._client()
        patience = self.timeout + client.settings.connect_timeout
        words = question(command, args, self.destination, self.timeout)
        replies: Replies = readable(client.ask("inspect", timeout=patience, **words))
        for node, reply in replies.items() if self._callback is not None else ():
            self._callback({node: reply})  # type: ignore[misc]  # it is not None
        if isinstance(self.destination, str):
            return replies.get(self.destination)
        return replies or None

    def active(self, safe: Any = None) -> Any:
        """Tasks that run, with the time of their start."""
        return self._request("active")

    def reserved(self, safe: Any = None) -> Any:
        """Tasks that a worker has and did not begin."""
        return self._request("reserved")

    def scheduled(self, safe: Any = None) -> Any:
        """Tasks that wait for their time (countdown, eta, retry), each by a worker that can run it."""
        return self._request("scheduled")

    def registered(self, *taskinfoitems: str) -> Any:
        """Names of tasks that a worker was started with (-A); others bring their functions along."""
        return self._request("registered")

    registered_tasks = registered

    def stats(self) -> Any:
        """Processes, memory, tasks that ended by name."""
        return self._request("stats")

    def revoked(self) -> Any:
        """Ids of tasks that were revoked."""
        return self._request("revoked")

    def query_task(self, *ids: Any) -> Any:
        """Where tasks are: ``{id: ["active", …]}``."""
        if len(ids) == 1 and isinstance(ids[0], list | tuple):
            ids = tuple(ids[0])
        return self._request("query_task", ids=[str(id) for id in ids])

    def active_queues(self) -> Any:
        """The queues that a worker consumes."""
        return self._request("active_queues")

    def ping(self, destination: Destination = None) -> Any:
        """``{"ok": "pong"}`` of each worker that is alive."""
        if destination is not None:
            self.destination = destination
        return self._request("ping")

    def conf(self, with_defaults: bool = False) -> Any:
        """Settings and options that a worker runs with; keys and passwords are left out."""
        return self._request("conf")

    def report(self) -> Any:
        """What to put into a bug report."""
        return self._request("report")


class Control:
    """``app.control``.  Commands return None, or with ``reply=True`` a list of ``{node: reply}``."""

    def __init__(self, client: Callable[[], Client]) -> None:
        self._client = client

    def inspect(
        self,
        destination: Destination = None,
        timeout: float = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> Inspect:
        """Questions to workers: all, or those named by ``destination``; ``timeout`` in seconds."""
        return Inspect(self._client, destination, timeout, callback)

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: Destination = None,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> list[dict[str, Any]] | None:
        """Tell workers to do something.

        Raises
        ------
        NBQueueError
            With ``reply``: there is no such command, or the key may not.
        """
        client = self._client()
        words = question(command, _understood(command, arguments or {}), destination, timeout)
        if not (reply or callback):
            client.tell("control", **words)
            return None
        replies = readable(client.ask("control", timeout=timeout + client.settings.connect_timeout, **words))
        found = [{node: said} for node, said in replies.items()][:limit]
        for each in found if callback is not None else ():
            callback(each)  # type: ignore[misc]  # it is not None
        return found

    def ping(
        self, destination: Destination = None, timeout: float = 1.0, **options: Any
    ) -> list[dict[str, Any]]:
        """Who is alive: ``[{"worker@host": {"ok": "pong"}}]``."""
        return self.broadcast("ping", {}, destination, True, timeout, **options) or []

    def revoke(
        self,
        task_id: Any,
        destination: Destination = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> Any:
        """See that a task, or several, never run; with ``terminate`` end them where they run.

        ``signal="KILL"`` ends their process at once, without time to clean up.
        """
        return self.broadcast("revoke", revoke_args(task_id, terminate, signal), destination, **options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Destination = None,
        terminate: bool = False,
        signal: Any = None,
        **options: Any,
    ) -> Any:
        """The same of all tasks that were stamped so and have not ended: ``{"order": 7}``, or with one of
        several values, ``{"order": [7, 8]}``; of several stamps one is enough."""
        args = revoke_args((), terminate, signal)
        del args["task_id"]
        wanted = {
            name: value if isinstance(value, list | tuple) else [value] for name, value in headers.items()
        }
        return self.broadcast(
            "revoke_by_stamped_headers", {"headers": wanted, **args}, destination, **options
        )

    def terminate(
        self, task_id: Any, destination: Destination = None, signal: Any = None, **options: Any
    ) -> Any:
        """End tasks where they run."""
        return self.revoke(task_id, destination, terminate=True, signal=signal, **options)

    def cancel(self, task_id: Any, destination: Destination = None, **options: Any) -> Any:
        """The same, as ``result.cancel()`` does it."""
        return self.revoke(task_id, destination, terminate=True, **options)

    def rate_limit(
        self, task_name: str, rate_limit: Any, destination: Destination = None, **options: Any
    ) -> Any:
        """How often tasks of a name start, over all workers, from now on: ``"10/m"``; 0 for no limit,
        ``"default"`` for what they say themselves."""
        return self.broadcast("rate_limit", rate_args(task_name, rate_limit), destination, **options)

    def time_limit(
        self,
        task_name: str,
        soft: float | None = None,
        hard: float | None = None,
        destination: Destination = None,
        **options: Any,
    ) -> Any:
        """Seconds that runs of a name may take that begin from now on; None: as long as they take."""
        args = {"task_name": task_name, "soft": soft, "hard": hard}
        return self.broadcast("time_limit", args, destination, **options)

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: Mapping[str, Any] | None = None,
        destination: Destination = None,
        **others: Any,
    ) -> Any:
        """Have workers take tasks of another queue too.  There are no exchanges: a queue is its name."""
        return self.broadcast("add_consumer", {"queue": queue}, destination, **others)

    def cancel_consumer(self, queue: str, destination: Destination = None, **options: Any) -> Any:
        """Have workers take no more tasks of a queue."""
        return self.broadcast("cancel_consumer", {"queue": queue}, destination, **options)

    def pool_grow(self, n: int = 1, destination: Destination = None, **options: Any) -> Any:
        """Have each worker run ``n`` processes more."""
        return self.broadcast("pool_grow", {"n": n}, destination, **options)

    def pool_shrink(self, n: int = 1, destination: Destination = None, **options: Any) -> Any:
        """Have each worker run ``n`` processes fewer; they finish what they run."""
        return self.broadcast("pool_shrink", {"n": n}, destination, **options)

    def pool_restart(self, destination: Destination = None, **options: Any) -> Any:
        """Replace all processes, each when it has finished what it runs: code is imported anew."""
        return self.broadcast("pool_restart", {}, destination, **options)

    def autoscale(self, max: int, min: int, destination: Destination = None, **options: Any) -> Any:
        """Have workers run between ``min`` and ``max`` processes, by how busy they are."""
        return self.broadcast("autoscale", {"max": max, "min": min}, destination, **options)

    def shutdown(self, destination: Destination = None, **options: Any) -> Any:
        """Have workers finish what they run, and end."""
        return self.broadcast("shutdown", {}, destination, **options)

    def enable_events(self, destination: Destination = None, **options: Any) -> Any:
        """Tell those who listen of tasks on these workers, as is done unless it was disabled."""
        return self.broadcast("enable_events", {}, destination, **options)

    def disable_events(self, destination: Destination = None, **options: Any) -> Any:
        """Tell nobody of tasks on these workers."""
        return self.broadcast("disable_events", {}, destination, **options)

    def purge(self, queues: str | Iterable[str] | None = None) -> int:
        """Delete all tasks that wait, or those of some queues; they end in REVOKED.  Returns how many."""
        names = [queues] if isinstance(queues, str) else list(queues or ())
        deleted: int = self._client().ask("purge", timeout=600.0, queues=names, order=new_order())
        return deleted

    discard_all = purge
