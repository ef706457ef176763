"""What the core needs of ``nbqueue.settings``, as plain values."""

from dataclasses import dataclass, fields
from typing import Any, Final

from nbqueue.exceptions import ConfigurationError

#: bytes that a message has at most beside its payload
MESSAGE_OVERHEAD: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """Names, meanings and defaults are those of ``nbqueue.settings``; times in seconds.

    ``idle_timeout`` alone has another default, never: 600 seconds are the local cluster's, which is started
    on first use and has to end by itself; any other broker ends when somebody ends it.

    Raises
    ------
    ConfigurationError
        Workers would count as lost between two of their signs of life.
    """

    worker_heartbeat: float = 2.0
    worker_lease: float = 10.0
    max_task_deaths: int = 3
    max_worker_losses: int = 10
    cancel_grace: float = 3.0
    #: 0: never
    idle_timeout: float = 0.0
    result_expires: float = 86_400.0
    max_results: int = 1_000_000
    max_result_bytes: int = 2**30
    max_output_bytes: int = 2**20
    max_payload_bytes: int = 2**29
    max_message_bytes: int = 2**30
    max_queued: int = 1_000_000
    max_queued_bytes: int = 2**31
    max_connections: int = 10_000

    def __post_init__(self) -> None:
        heartbeat, lease = self.worker_heartbeat, self.worker_lease
        if not 0 < heartbeat < lease:
            raise ConfigurationError(
                f"worker_heartbeat={heartbeat:g}, worker_lease={lease:g}: the lease has to be longer than the"
                " heartbeat, several times so if a lost one is not to end it, and both more than 0 seconds"
            )

    @classmethod
    def of(cls, settings: Any) -> "BrokerSettings":
        """Those of an application's settings that matter here."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    @property
    def payload_limit(self) -> int:
        """Bytes of the largest payload: there must be room for it in a message."""
        return min(self.max_payload_bytes, self.max_message_bytes - MESSAGE_OVERHEAD)


def too_large(what: str, size: int, limit: int) -> str:
    """What to say of something that the broker does not take."""
    return (
        f"{what}: {size:,} bytes, and at most {limit:,} travel (max_payload_bytes of the broker):"
        " write the data to a file, and send the file's name"
    )
