"""Signals of those who send tasks, and headers that travel along with a task.

``before_task_publish`` is given what a Celery message would have as headers; what a receiver adds there (a
trace id, say) is sent, and ``self.request`` has it on the worker.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from nbqueue import messages as m
from nbqueue import signals
from nbqueue.exceptions import ConfigurationError


def announced(task: m.Task, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> m.Task:
    """Tell those who listen that a task is about to be sent; returns it with the headers that they added."""
    told = _celerys(task, args, kwargs)
    own = dict(task.headers or {})
    headers = {**told, **own}
    signals.before_task_publish.send(
        task.name,
        body=(args, kwargs, {}),
        exchange="",
        routing_key=task.queue,
        headers=headers,
        properties={"correlation_id": task.id, "priority": task.priority},
        declare=[],
        retry_policy={},
    )
    added = {k: v for k, v in headers.items() if k in own or k not in told}
    return msgspec.structs.replace(task, headers=checked(added)) if added else task


def sent(task: m.Task, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Tell those who listen that a task is on its way."""
    signals.after_task_publish.send(
        task.name,
        body=(args, kwargs, {}),
        exchange="",
        routing_key=task.queue,
        headers={**_celerys(task, args, kwargs), **(task.headers or {})},
    )


def checked(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Headers that can be sent.

    Raises
    ------
    ConfigurationError
        They are no dict of plain values by name.
    """
    if not isinstance(headers, Mapping) or not all(isinstance(name, str) for name in headers):
        raise ConfigurationError(f"headers is a dict of values by name, not {headers!r}")
    try:
        msgspec.msgpack.encode(headers)
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        raise ConfigurationError(f"headers are plain values: numbers, text, lists, dicts; {error}") from None
    return dict(headers)


def _celerys(task: m.Task, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a Celery message has as headers."""
    return {
        "lang": "py",
        "task": task.name,
        "id": task.id,
        "shadow": None,
        "eta": None,
        "expires": task.expires,
        "group": task.group or None,
        "retries": 0,
        "timelimit": [task.time_limit, task.soft_time_limit],
        "root_id": task.root_id or task.id,
        "parent_id": task.parent_id or None,
        "argsrepr": repr(args),
        "kwargsrepr": repr(dict(kwargs)),
        "origin": task.origin,
        "ignore_result": task.ignore_result,
    }
