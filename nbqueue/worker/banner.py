"""What a worker says of itself at its start."""

import platform

from nbqueue._version import __version__
from nbqueue.worker.options import WorkerOptions


def text(options: WorkerOptions, tasks: list[str]) -> str:
    """The banner, in lines; ``tasks`` are the names that it has registered."""
    rows = {
        "app": options.app or "none: it runs tasks that bring their function along",
        "broker": options.url,
        "concurrency": _concurrency(options),
        "queues": ", ".join(options.queues),
    }
    if options.logfile:
        rows["logfile"] = options.logfile
    lines = [
        f"{options.nodename} nbqueue {__version__}, Python {platform.python_version()}",
        *(f"  {name:<12} {value}" for name, value in rows.items()),
    ]
    if tasks:
        lines += ["", "[tasks]", *(f"  . {name}" for name in sorted(tasks))]
    return "\n".join([*lines, ""])


def _concurrency(options: WorkerOptions) -> str:
    if options.pool == "threads":
        return f"{options.slots} (threads)"
    said = "1 (solo)" if options.pool == "solo" else f"{options.processes} (processes)"
    if options.autoscale:
        most, least = options.autoscale
        said = f"{least} to {most} (processes)"
    if options.concurrency_async > 1:
        said += f", {options.concurrency_async} async tasks each"
    return said
