"""How a process died, in words."""

from typing import Final

from nbqueue.messages import ExecutorLost

#: the signals that end a process most often, by their POSIX numbers
_SIGNALS: Final = {
    4: "SIGILL, an illegal instruction",
    6: "SIGABRT, an abort by the process itself",
    7: "SIGBUS, a bad memory access",
    8: "SIGFPE, an arithmetic error",
    9: "SIGKILL, often for want of memory",
    11: "SIGSEGV, a bad memory access",
    15: "SIGTERM",
}


def manner_of_death(death: ExecutorLost) -> str:
    """``its process was killed by signal 11 (SIGSEGV)``"""
    if death.exit_code >= 0:
        return f"its process ended with exit code {death.exit_code}"
    number = -death.exit_code
    name = f" ({_SIGNALS[number]})" if number in _SIGNALS else ""
    return f"its process was killed by signal {number}{name}"


def obituary(death: ExecutorLost, deaths: int) -> str:
    """The message of a WorkerLostError."""
    text = manner_of_death(death)
    if deaths > 1:
        text += (
            f". It died {deaths} times, and the task was started again after each death but the last"
            " (the setting max_task_deaths)"
        )
    if death.peak_memory:
        text += f"; peak memory {death.peak_memory / 1e6:,.0f} MB"
    if death.stderr.strip():
        text += f"; the last lines of its standard error:\n{death.stderr.strip()}"
    return text


def last_words(reason: str) -> str:
    """The message of a WorkerLostError of a task that is started at most once."""
    return f"{reason}\nIt may have been started, and is not started again (acks_late=False)."
