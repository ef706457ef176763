"""What the core needs of ``nbqueue.settings``, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BrokerSettings:
    """Names, meanings and defaults are those of ``nbqueue.settings``; times in seconds."""

    worker_heartbeat: float = 2.0
    worker_lease: float = 10.0
    max_task_deaths: int = 3
    max_worker_losses: int = 10
    cancel_grace: float = 3.0
    #: 0: never
    idle_timeout: float = 0.0
    result_expires: float = 86_400.0
    max_result_bytes: int = 2**30
    max_output_bytes: int = 2**20
    max_connections: int = 10_000
