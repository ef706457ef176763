"""What a broker is started with."""

from dataclasses import fields
from typing import Literal

import msgspec

from nbqueue.core.broker import BrokerSettings
from nbqueue.exceptions import ConfigurationError


class BrokerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of ``nbqueue broker``."""

    #: ``HOST:PORT`` to listen on, port 0 for a free one; ``HOST`` alone means the default port, "" a free
    #: port of this machine only
    bind: str = ""
    #: "" is the user's own (see ``keys.data_dir``)
    data_dir: str = ""
    #: whether the journal waits for the disk: "batch" has each turn's changes there before others are told
    journal_sync: Literal["none", "batch"] = "none"
    settings: BrokerSettings = BrokerSettings()


def read_options(line: bytes) -> BrokerOptions:
    """Read options from JSON; an empty line means the defaults.

    Raises
    ------
    ConfigurationError
        It is no JSON, or not of these options.
    """
    if not line.strip():
        return BrokerOptions()
    try:
        raw = msgspec.json.decode(line)
        options = msgspec.convert(raw, BrokerOptions)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"options of the broker: {error}") from None
    # msgspec passes over what a dataclass does not have
    if unknown := set(raw.get("settings", ())) - {field.name for field in fields(BrokerSettings)}:
        raise ConfigurationError(f"options of the broker: no setting is called {', '.join(sorted(unknown))}")
    return options
