"""What ``nbqueue doctor`` looks at, in the order that a task needs it: folders, broker, workers, queues."""

import platform as python_platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nbqueue import results
from nbqueue._version import __version__
from nbqueue.cli.errors import verdict
from nbqueue.cli.finding import Finding
from nbqueue.cli.target import broker_url, is_redis, settings_of
from nbqueue.cli.words import unread_settings
from nbqueue.exceptions import AuthenticationError, ConfigurationError, NBQueueError, ProtocolError
from nbqueue.launch.ask import ask
from nbqueue.settings import shown_url
from nbqueue.states import PENDING
from nbqueue.utils.text import counted
from nbqueue.wire import keys

#: Bytes of disk below which records and logs are in danger.
_LOW_DISK = 100_000_000
#: Seconds by which clocks may differ.
_CLOCK_TOLERANCE = 2.0
#: How many of the newest tasks are looked through, and how many waiting ones are shown.
_LOOK_AT, _SHOW = 1_000, 5


def examine(app: str, connect: str) -> Iterator[Finding]:
    """Go through everything between a submission and its result; stops at a broker that cannot be reached."""
    yield Finding(True, f"nbqueue {__version__}, Python {python_platform.python_version()} in {sys.prefix}")
    yield from (Finding(None, text, advice) for text, advice in unread_settings())
    yield from _folders()
    try:
        url = broker_url(app, connect)
    except NBQueueError as error:
        yield Finding(False, f"broker: {error}", _advice(error))
        return
    if is_redis(url):
        yield from _redis(url, "broker")
    yield from _results(app, url)
    try:
        status = ask(url, "status")
        status["broker"]["address"] = url
    except NBQueueError as error:
        if not is_redis(url):  # of which all has been said
            yield Finding(False, f"broker: {error}", _advice(error))
        return
    yield from examine_status(status)
    yield from _waiting(url)


def _redis(url: str, what: str) -> Iterator[Finding]:
    # others need no redis
    from nbqueue.cli.redis_examination import examine_redis

    yield from examine_redis(url, what)


def _results(app: str, broker: str) -> Iterator[Finding]:
    """The Redis that keeps values for another broker."""
    backend = settings_of(app).backend
    if not results.is_with_broker(backend, broker) and is_redis(str(backend)):
        yield from _redis(str(backend), "result backend")


def examine_status(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What a broker's status says about why tasks would wait."""
    if not is_redis(status["broker"]["address"]):
        yield _version(status["broker"])
        yield from _clock(status["broker"])
    yield from _workers(status["workers"], status["broker"]["address"])
    yield from _queues(status)


# ── this machine ─────────────────────────────────────────────────────────────────────────────────


def _folders() -> Iterator[Finding]:
    for name, variable, locate in (
        ("data folder", "NBQUEUE_DATA_DIR", keys.data_dir),
        ("runtime folder", "NBQUEUE_RUNTIME_DIR", keys.runtime_dir),
    ):
        yield _folder(name, variable, locate)


def _folder(name: str, variable: str, locate: Callable[[], Path]) -> Finding:
    elsewhere = f"make room there, or name another folder by {variable}"
    try:
        folder = locate()
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
        free = shutil.disk_usage(folder).free
    except (OSError, NBQueueError) as error:
        return Finding(False, f"{name}: {error}", elsewhere)
    text = f"{name} {folder}: writable, {free / 1e9:,.1f} GB free"
    return Finding(free > _LOW_DISK, text, "" if free > _LOW_DISK else elsewhere)


# ── the broker ───────────────────────────────────────────────────────────────────────────────────


def _advice(error: NBQueueError) -> str:
    if "`nbqueue" in str(error):
        return ""  # it says so itself
    if isinstance(error, AuthenticationError | ProtocolError | ConfigurationError):
        return verdict(error).hint
    return "see that its process runs there, and that no firewall is in between"


def _version(broker: Mapping[str, Any]) -> Finding:
    text = f"broker {broker['address']} answers, pid {broker['pid']} on {broker['host']}"
    if broker["version"] == __version__:
        return Finding(True, text)
    other = f"{text}; it is nbqueue {broker['version']}, this is {__version__}"
    return Finding(False, other, "install the same version on both sides, and restart the broker")


def _clock(broker: Mapping[str, Any]) -> Iterator[Finding]:
    """Durations travel, so clocks that differ delay nothing; but what is shown would be wrong."""
    ahead = broker["time"] - time.time()
    if abs(ahead) > _CLOCK_TOLERANCE:
        text = f"the clock on {broker['host']} is {abs(ahead):,.0f} s {'ahead' if ahead > 0 else 'behind'}"
        yield Finding(None, text, "times that are shown are off by that; let both machines use NTP")


# ── the workers ──────────────────────────────────────────────────────────────────────────────────


def _workers(workers: list[Mapping[str, Any]], address: str) -> Iterator[Finding]:
    if not workers:
        advice = "`nbqueue start` starts workers here, `nbqueue worker` one for this broker"
        if is_redis(address):
            advice = f"`nbqueue worker --connect {shown_url(address)}` starts one"
        yield Finding(False, "no worker is connected", advice)
        return
    for worker in workers:
        yield _worker(worker)
    yield from _python(workers)
    yield from _environment(workers)


def _worker(worker: Mapping[str, Any]) -> Finding:
    text = f"worker {worker['name']}, pid {worker['pid']} on {worker['host']}"
    if not worker["children"]:
        return Finding(False, f"{text}: has no process that runs tasks", "its log says why they end")
    processes = counted(len(worker["children"]), "process")
    busy = sum(child["task"] is not None for child in worker["children"])
    return Finding(
        True,
        f"{text}: {processes}, {busy} busy, queues {', '.join(worker['queues'])}",
    )


def _python(workers: list[Mapping[str, Any]]) -> Iterator[Finding]:
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    theirs = sorted({worker["python"] for worker in workers})
    if mine not in theirs:
        text = f"functions defined here need Python {mine}; the workers have {', '.join(theirs)}"
        yield Finding(False, text, f"start `nbqueue worker` with Python {mine}")


def _environment(workers: list[Mapping[str, Any]]) -> Iterator[Finding]:
    if all(worker["env"] not in ("", sys.prefix) for worker in workers):
        text = f"no worker runs in this environment, {sys.prefix}"
        yield Finding(None, text, "for tasks submitted from here, `nbqueue start` starts some")


# ── what waits ───────────────────────────────────────────────────────────────────────────────────


def _queues(status: Mapping[str, Any]) -> Iterator[Finding]:
    consumed = {queue for worker in status["workers"] for queue in worker["queues"]}
    for name, counts in sorted(status["queues"].items()):
        waiting = counts["ready"] + counts["scheduled"]
        if waiting and name not in consumed:
            text = f"queue {name!r} holds {counted(waiting, 'task')}, and no worker consumes it"
            yield Finding(False, text, f"start one with `nbqueue worker -Q {name}`")


def _waiting(url: str) -> Iterator[Finding]:
    records = ask(url, "tasks", limit=_LOOK_AT)
    waiting = [record for record in records if record["state"] == PENDING]
    if not waiting:
        yield Finding(True, "no task is waiting")
    for record in reversed(waiting[-_SHOW:]):
        yield Finding(None, f"{record['name']}[{record['id']}]: {ask(url, 'why', id=record['id'])['text']}")
