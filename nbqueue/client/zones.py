"""Which time zone is meant where none is said, by the settings ``timezone`` and ``enable_utc``."""

import datetime

from nbqueue.settings import Settings


def naive_zone(settings: Settings) -> datetime.tzinfo | None:
    """The time zone of a time that has none, None if nobody has said one."""
    if (name := settings.timezone) is not None:
        from zoneinfo import ZoneInfo  # few name a zone

        return ZoneInfo(name)
    return None if settings.enable_utc else datetime.datetime.now().astimezone().tzinfo


def shown_zone(settings: Settings) -> datetime.tzinfo:
    """The time zone in which times are shown."""
    return naive_zone(settings) or datetime.UTC
