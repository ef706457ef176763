"""What several commands say in the same words."""

from collections.abc import Iterator

from nbqueue.settings import unread_variables


def unread_settings() -> Iterator[tuple[str, str]]:
    """What to say of each environment variable NBQUEUE_… that nothing reads, and what to do about it."""
    for variable, near in unread_variables():
        advice = f"did you mean {near}?" if near else "`nbqueue conf` shows those that are read"
        yield f"{variable} is set, but nothing reads it", advice


def duration(seconds: float) -> str:
    """A length of time in its two largest units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [
        f"{count} {unit}"
        for count, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
        if count
    ]
    return " ".join(units[:2]) or "0 s"
