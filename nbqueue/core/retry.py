"""When a task that failed runs again.

N retries mean N + 1 runs.  The delay before each is fixed, or doubles from run to run (*exponential
backoff*), with *full jitter* if wanted, so that tasks which failed together do not come back together:
https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from typing import Final, Protocol

#: doublings past which every delay is at its maximum anyway
_MAX_DOUBLINGS: Final = 60


class RetryPolicy(Protocol):
    """The options of a task that matter here; times in seconds."""

    @property
    def max_retries(self) -> int | None:
        """None: no limit."""

    @property
    def default_retry_delay(self) -> float: ...

    @property
    def retry_backoff(self) -> float:
        """The first delay, 0 for a fixed one."""

    @property
    def retry_backoff_max(self) -> float: ...

    @property
    def retry_jitter(self) -> bool: ...


def allowed(max_retries: int | None, retries: int) -> bool:
    """Whether a task that was retried so often may be retried once more."""
    return max_retries is None or retries < max_retries


def delay(policy: RetryPolicy, retries: int, random: float) -> float:
    """Seconds to wait before the next run of a task that was retried ``retries`` times so far.

    ``random`` is a number from 0 to 1, drawn for this call.
    """
    if not policy.retry_backoff:
        return policy.default_retry_delay
    longest = min(policy.retry_backoff_max, policy.retry_backoff * 2.0 ** min(retries, _MAX_DOUBLINGS))
    return longest * random if policy.retry_jitter else longest
