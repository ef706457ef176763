"""Which broker a command talks to, by whose settings, and with which key."""

import os
import sys
from pathlib import Path

import click

from nbqueue.exceptions import AuthenticationError, ConfigurationError, ConnectionLostError
from nbqueue.launch import apps, local
from nbqueue.settings import Settings, full_url, shown_url
from nbqueue.wire import keys
from nbqueue.wire.keys import Connection


def named_url(app: str, connect: str) -> str:
    """The broker named by ``--connect``, the application or the environment; "" for the local cluster."""
    if connect != shown_url(connect):
        click.echo("Warning: others see a password that is an argument: use NBQUEUE_REDIS_PASSWORD", err=True)
    return full_url(connect) or str(settings_of(app).broker)


def is_redis(url: str) -> bool:
    """Whether there is no broker process there, but a Redis."""
    return url.partition("://")[0].partition("+")[0] in ("redis", "rediss", "sentinel")


def broker_url(app: str, connect: str) -> str:
    """The broker that is named, or else the local cluster's.

    Raises
    ------
    ConnectionLostError
        None is named, and no local cluster runs.
    """
    if url := named_url(app, connect):
        return url
    connection = local.find()
    if connection is None:
        raise ConnectionLostError("no local cluster is running; `nbqueue start` starts one")
    return connection.url


# ── applications ─────────────────────────────────────────────────────────────────────────────────


def settings_of(app: str) -> Settings:
    """The settings of the application that ``-A`` names (see ``launch.apps``), or those of the environment.

    Raises
    ------
    ConfigurationError
        There is no such module, or no application of that name in it.
    """
    if not app:
        return Settings()
    found = apps.find(app)
    if not apps.is_app(found) and ":" in app:
        raise ConfigurationError(f"-A {app}: that is no application, but {found!r}")
    settings: Settings = found.conf if apps.is_app(found) else Settings()
    return settings


def signing_key_of(url: str) -> str:
    """The key under which what is kept there is signed; what a task starts has no business with it.

    Raises
    ------
    AuthenticationError
        It is no good, or cannot be read.
    """
    from nbqueue.wire import signing

    key = signing.signing_key()
    signing.remember(key)
    os.environ.pop(signing.VARIABLE, None)
    return key


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def connection_to(url: str, key_file: Path | None) -> Connection:
    """Address and key of a broker; asked for at the terminal when there is one and nothing else has the key.

    Raises
    ------
    AuthenticationError
        There is no key, or what should be one is none.
    ConfigurationError
        ``url`` is no address.
    """
    address = keys.parse_url(url)
    connection = keys.read_key_file(key_file, address) if key_file else _find_or_prompt(url, address)
    keys.remember(connection)
    return connection


def _find_or_prompt(url: str, address: keys.Address) -> Connection:
    try:
        return keys.find(url)
    except AuthenticationError:
        if os.environ.get("NBQUEUE_KEY") or os.environ.get("NBQUEUE_KEY_FILE") or not sys.stdin.isatty():
            raise
    prompt = f"Key of {address.host} (`nbqueue key` there prints it; it is not shown here)"
    return keys.decode_key(click.prompt(prompt, hide_input=True, err=True), address)
