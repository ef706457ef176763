"""``nbqueue key``, which lets others in, and ``nbqueue key list``, ``revoke`` and ``rotate``.

A broker of ours has keys, by which it lets people in.  Where Redis is the broker, it lets in by passwords of
its own, and there is one key: what is kept there is signed by it (``wire.signing``).
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nbqueue.wire.keyring import NamedKey
    from nbqueue.wire.keys import Connection

#: ``core.permissions.ROLES``, which would load more than `nbqueue --help` needs
_ROLES = ("client", "worker", "viewer")
_FOLDER = click.Path(file_okay=False, path_type=Path)
_ONLY_HERE = """\
Warning: this broker listens on {host}, which only this machine can reach.  To open it to others:
  nbqueue stop; nbqueue start --bind 0.0.0.0    (or nbqueue broker --bind 0.0.0.0)"""
_OWN_REDIS = """\
Warning: this Redis is at {host}, which only this machine can reach; elsewhere, name it as others see it."""
#: What to run elsewhere, by the key's role; {key} is NBQUEUE_KEY=….
_LINES = {
    "client": "{key} nbqueue worker --connect {address}",
    "worker": "{key} nbqueue worker --connect {address}",
    "viewer": "{key} nbqueue status --connect {address}",
}


@click.group(invoke_without_command=True)
@click.option("--role", type=click.Choice(_ROLES), help="What its holder may do; else everything (client).")
@click.option("--name", default="", help="Which key; it is made on first use.  Else named by its role.")
@click.option("--data-dir", type=_FOLDER, help="The broker's data folder; else the local cluster's.")
@click.option("--connect", default="", metavar="URL", help="A Redis that is the broker; else NBQUEUE_BROKER.")
@click.pass_context
def key(context: click.Context, role: str | None, name: str, data_dir: Path | None, connect: str) -> None:
    """Print the line to run on another machine.

    It connects a worker there to the broker here, and holds a key: keep it among friends.  A client's key
    may do everything, a worker's runs tasks, a viewer's only looks (nbqueue status).

    Where Redis is the broker, it holds the signing key, which clients and workers share, and the password.
    """
    # loaded here, so that `nbqueue --help` needs no sockets
    from nbqueue.cli.target import is_redis, named_url
    from nbqueue.wire import keys

    context.obj = data_dir or keys.data_dir()
    url = "" if data_dir else named_url("", connect)
    if context.invoked_subcommand is not None:
        return
    if not is_redis(url):
        _print(role or "", name, context.obj)
    elif role or name:
        raise click.UsageError("where Redis is the broker there is one key, without a name or a role")
    else:
        _print_signing_key(url)


def _print_signing_key(url: str) -> None:
    from nbqueue.cli.reach import is_loopback
    from nbqueue.transports.redis.address import PASSWORD, Address
    from nbqueue.wire import signing

    address = Address(url)
    variables = {signing.VARIABLE: signing.signing_key(), PASSWORD: address.password}
    said = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items() if value)
    click.echo(f"{said} nbqueue worker --connect {shlex.quote(address.public_url)}")
    if is_loopback(address.host):
        click.echo(_OWN_REDIS.format(host=address.host), err=True)


def _print(role: str, name: str, folder: Path) -> None:
    from nbqueue.exceptions import ConnectionLostError
    from nbqueue.wire import keyring, keys

    connection = keys.running(folder)
    if connection is None:
        raise ConnectionLostError(f"no broker has its data in {folder}; `nbqueue start` starts one")
    if not name:
        name = keyring.DEFAULT if role in ("", "client") else role
    _show(keyring.find_or_add(folder, name, role), connection)


def _show(made: "NamedKey", connection: "Connection") -> None:
    """Print the line that holds a key."""
    import msgspec

    from nbqueue.cli.reach import host_and_port, is_loopback, reachable_host
    from nbqueue.wire import keys

    text = keys.encode_key(msgspec.structs.replace(connection, client_secret=made.secret))
    address = host_and_port(reachable_host(connection.host), connection.port)
    click.echo(_LINES[made.role].format(key=f"NBQUEUE_KEY={text}", address=address))
    if is_loopback(connection.host):
        click.echo(_ONLY_HERE.format(host=connection.host), err=True)


@key.command("list")
@click.pass_obj
def list_(folder: Path) -> None:
    """List the keys, without their secrets."""
    from nbqueue.cli.show import console, show_keys
    from nbqueue.exceptions import ConfigurationError
    from nbqueue.wire import keyring

    try:
        ring = keyring.read(folder)
    except FileNotFoundError:
        raise ConfigurationError(
            f"no broker ever had its data in {folder}: `nbqueue start` starts one"
        ) from None
    show_keys(ring.keys, console())


@key.command()
@click.argument("name")
@click.pass_obj
def revoke(folder: Path, name: str) -> None:
    """Make a key useless: who is connected by it is cut off within a second."""
    from nbqueue.wire import keyring

    keyring.revoke(folder, name)
    click.echo(f"Revoked {name}.")


@key.command()
@click.argument("name", default="default")
@click.pass_obj
def rotate(folder: Path, name: str) -> None:
    """Give a key a new secret, and print its line; the old one is revoked.

    Clients and workers of this machine find the new one by themselves.
    """
    from nbqueue.wire import keyring, keys

    made = keyring.rotate(folder, name)
    connection = keys.running(folder)
    if connection is None:
        click.echo(f"Rotated {name}; `nbqueue key --name {name}` prints it when the broker runs.")
    else:
        _show(made, connection)
