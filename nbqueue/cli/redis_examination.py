"""What ``nbqueue doctor`` makes of a Redis, as broker or as result backend: what does not work, what is
unsafe, and what to do about it."""

from collections.abc import Iterator
from typing import Final

from nbqueue.cli.finding import Finding
from nbqueue.exceptions import AuthenticationError, NBQueueError
from nbqueue.settings import shown_url
from nbqueue.transports.redis import rights
from nbqueue.transports.redis.address import Address
from nbqueue.transports.redis.checkup import Facts, look
from nbqueue.utils.text import counted
from nbqueue.wire import signing

#: the oldest version that has all that is needed
_OLDEST: Final = (6, 2)
#: seconds there and back from which it is mentioned
_FAR: Final = 0.005
#: seconds by which clocks may differ
_CLOCK_TOLERANCE: Final = 2.0
#: part of its memory from which a Redis counts as full
_NEARLY_FULL: Final = 0.9
_KEEPS_ALL: Final = "noeviction"


def examine_redis(url: str, what: str) -> Iterator[Finding]:
    """Look at a Redis that is the ``what`` of an application."""
    try:
        facts = look(url)
    except AuthenticationError as error:
        yield Finding(False, f"{what}: {error}", "give the password of its user in NBQUEUE_REDIS_PASSWORD")
        return
    except NBQueueError as error:
        yield Finding(False, f"{what}: {error}", "see that it runs there, and that no firewall is in between")
        return
    yield from judge(facts, shown_url(url), what, Address(url).app)


def judge(facts: Facts, url: str, what: str, app: str) -> Iterator[Finding]:
    """What the facts mean."""
    yield _version(facts, url, what)
    yield from _role(facts)
    yield from _rights(facts, app)
    yield from _memory(facts)
    yield from _durability(facts)
    yield from _times(facts)
    yield from _signing(facts)


def _version(facts: Facts, url: str, what: str) -> Finding:
    version = facts.info.get("redis_version", "")
    text = f"{what} {url} answers, Redis {version or 'of unknown version'}"
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers and numbers < _OLDEST:
        return Finding(False, text, "Redis 6.2 or newer is needed")
    return Finding(True, text)


def _role(facts: Facts) -> Iterator[Finding]:
    if facts.info.get("role") == "slave":
        master = f"{facts.info.get('master_host')}:{facts.info.get('master_port')}"
        yield Finding(False, "it is a read-only replica", f"name its master, {master}, or its Sentinels")
    if facts.info.get("cluster_enabled") == "1":
        yield Finding(None, "it is a node of a cluster: the whole application is on one shard of it")


def _rights(facts: Facts, app: str) -> Iterator[Finding]:
    if facts.denied:
        text = f"its user may not use {', '.join(facts.denied)} on the keys of the application {app!r}"
        yield Finding(False, text, f"ACL SETUSER NAME {rights.rule(app)}")


def _memory(facts: Facts) -> Iterator[Finding]:
    info = facts.info
    if "maxmemory" not in info:
        return
    most, used, policy = int(info["maxmemory"]), int(info.get("used_memory", 0)), info["maxmemory_policy"]
    if policy != _KEEPS_ALL:
        lost = "functions and results" if policy.startswith("volatile") else "tasks and results"
        text = f"unsafe: when it is full it throws {lost} away (maxmemory-policy {policy})"
        yield Finding(False if most else None, text, "CONFIG SET maxmemory-policy noeviction")
    if not most:
        text = f"it has no limit of memory, and uses {used / 1e6:,.0f} MB"
        yield Finding(None, text, "set maxmemory, so that it refuses tasks before its machine ends it")
    elif used > _NEARLY_FULL * most:
        text = f"it is nearly full: {used / 1e6:,.0f} of {most / 1e6:,.0f} MB"
        yield Finding(False, text, "give it more (maxmemory), or keep results for less time (result_expires)")
    else:
        yield Finding(True, f"{used / 1e6:,.0f} of {most / 1e6:,.0f} MB are used")


def _durability(facts: Facts) -> Iterator[Finding]:
    info = facts.info
    if "aof_enabled" not in info:
        return
    if info.get("loading") == "1":
        yield Finding(False, "it is still loading its data", "wait")
    if info["aof_enabled"] == "0":
        snapshots = facts.settings.get("save", "?")
        kept = "since its last snapshot" if snapshots else "that it has, for it takes no snapshots"
        text = f"unsafe: killed, it loses everything {kept} (appendonly no)"
        yield Finding(None, text, "set appendonly yes")
    elif facts.settings.get("appendfsync") == "no":
        text = "unsafe: a power failure loses up to half a minute (appendfsync no)"
        yield Finding(None, text, "set appendfsync everysec, or always")
    else:
        when = facts.settings.get("appendfsync", "")
        rest = {"always": "nothing", "everysec": "the last second"}.get(when, "what is not on disk yet")
        yield Finding(True, f"what was accepted survives its death; a power failure loses {rest}")
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(name, "ok") != "ok":
            yield Finding(False, f"it could not write its last {what}", "look into its log, and at its disk")


def _times(facts: Facts) -> Iterator[Finding]:
    text = f"{facts.latency * 1000:.2g} ms there and back"
    if facts.latency > _FAR:
        yield Finding(None, text, "each get() takes several times that: run workers and clients near it")
    else:
        yield Finding(True, text)
    if abs(facts.ahead) > _CLOCK_TOLERANCE:
        text = f"its clock is {abs(facts.ahead):,.0f} s {'ahead' if facts.ahead > 0 else 'behind'}"
        yield Finding(None, text, "times that are shown are off by that; let both machines use NTP")


def _signing(facts: Facts) -> Iterator[Finding]:
    yield Finding(True, f"signing key {signing.fingerprint()}, from {signing.source()}")
    if facts.strangers:
        names = counted(len(facts.strangers), "worker")
        text = f"{names} signed by another key: {', '.join(facts.strangers[:3])}"
        advice = "`nbqueue key` on either side prints the key that the other needs, as NBQUEUE_SIGNING_KEY"
        yield Finding(False, text, advice)
