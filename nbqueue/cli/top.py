"""``nbqueue top``: what runs, live, until a key is pressed."""

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator

import click

#: keys that end it: q, Escape, Ctrl-C, Ctrl-D
_QUIT = frozenset(b"qQ\x1b\x03\x04")


@click.command()
@click.option(
    "-i", "--interval", default=1.0, show_default=True, type=click.FloatRange(min=0.1), help="Seconds."
)
@click.option("-n", "--once", is_flag=True, help="Show it once, as where there is no terminal.")
@click.option("--connect", default="", metavar="HOST[:PORT]", help="That broker's, not the local one's.")
@click.pass_obj
def top(app: str, interval: float, once: bool, connect: str) -> None:
    """Watch workers, running tasks with their progress, queues and rates.  q ends it, space holds it."""
    # loaded here, so that `nbqueue --help` needs no sockets and no rich
    from rich.live import Live

    from nbqueue.cli.picture import Picture
    from nbqueue.cli.show import console
    from nbqueue.cli.target import broker_url
    from nbqueue.client.connections import client_for

    url = broker_url(app, connect)
    client = client_for(url)
    out = console()
    try:
        picture = Picture(url)
        picture.take(client.ask("overview"), time.monotonic())
        if once or not (out.is_terminal and sys.stdin.isatty()):
            out.width = min(out.width, 120)
            out.print(picture.drawn(out.width, 1000))
            return
        with _keys() as pressed, Live(console=out, screen=True, auto_refresh=False) as live:
            held = False
            while True:
                live.update(picture.drawn(out.width, out.height, held=held), refresh=True)
                keys = pressed(interval)
                if _QUIT.intersection(keys):
                    return
                held ^= b" " in keys
                if not held:
                    picture.take(client.ask("overview"), time.monotonic())
    except KeyboardInterrupt:
        return
    finally:
        client.close(drain=False)


@contextlib.contextmanager
def _keys() -> "Iterator[_Pressed]":
    """The terminal gives each key as it is pressed, and shows none."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        yield _Pressed(fd)
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


class _Pressed:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, seconds: float) -> bytes:
        """What is pressed within so many seconds, b"" if nothing."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return b""
        return os.read(self._fd, 64) or b"q"  # the terminal is gone
