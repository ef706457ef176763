"""The call that a task is the run of: ``self.request``, with Celery's fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Request:
    """What a run knows of its call.  Outside of a run ``called_directly`` is True, and most of it is empty.

    Headers that were sent along with the task (``apply_async(headers={"tenant": 7})``) are attributes too,
    where no field has their name: ``self.request.tenant``.  Durations are in seconds.
    """

    id: str | None = None
    #: the task's name
    task: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    #: runs that ended in RETRY before this one
    retries: int = 0
    #: 1 for the first lease, whatever ended the earlier ones
    attempt: int = 1
    #: the first of the line of tasks that submitted one another, and the last before this one
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    #: when it may start at the earliest, and when it is too late: ISO 8601, or None
    eta: str | None = None
    expires: str | None = None
    #: hard and soft limit
    timelimit: tuple[float | None, float | None] = (None, None)
    #: name of the worker
    hostname: str | None = None
    #: routing_key is the queue; redelivered: an earlier run was lost
    delivery_info: Mapping[str, Any] = field(default_factory=dict)
    #: who sent it: ``gen<pid>@<host>``
    origin: str | None = None
    headers: Mapping[str, Any] | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    ignore_result: bool = False
    is_eager: bool = False
    called_directly: bool = True
    #: Celery's ways to say what comes next; here the broker knows
    callbacks: Any = None
    errbacks: Any = None
    chain: Any = None
    chord: Any = None
    group_index: int | None = None
    replaced_task_nesting: int = 0
    stamps: Mapping[str, Any] = field(default_factory=dict)
    stamped_headers: list[str] | None = None
    properties: Mapping[str, Any] | None = None
    shadow: str | None = None
    lang: str = "py"
    utc: bool = True
    logfile: str | None = None
    loglevel: int | None = None

    @property
    def argsrepr(self) -> str:
        return repr(self.args)

    @property
    def kwargsrepr(self) -> str:
        return repr(dict(self.kwargs))

    @property
    def name(self) -> str:
        """The task's name, as those who receive ``task_received`` ask for it."""
        return self.task

    def get(self, name: str, default: Any = None) -> Any:
        """A field or header by name."""
        return getattr(self, name, default)

    def update(self, *others: Mapping[str, Any], **values: Any) -> None:
        """Set fields, for the rest of this run."""
        for name, value in {**dict(*others), **values}.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        headers = self.__dict__.get("headers")
        if headers is not None and name in headers:
            return headers[name]
        raise AttributeError(f"a request has no {name!r}, and no such header was sent along")
