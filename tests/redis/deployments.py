"""Redis as it is run in earnest, for tests: behind TLS, watched by Sentinels, as a Cluster."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.redis.server import RedisServer, free_port

PATIENCE = 30.0


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(redis.RedisError):
            if condition():
                return
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


class Certificates:
    """An authority, a certificate for 127.0.0.1, and one for a client, made by openssl."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl to make certificates with")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = folder / "ca.crt"
        self._make("ca", "/CN=test authority")
        self.certificate, self.key = self._signed("server", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        self.client_certificate, self.client_key = self._signed("client", "extendedKeyUsage=clientAuth")

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def _make(self, name: str, subject: str) -> None:
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            "2", "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", subject,
        )  # fmt: skip

    def _signed(self, name: str, extension: str) -> tuple[Path, Path]:
        (self.folder / f"{name}.ext").write_text(extension)
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
            f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
        )  # fmt: skip
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.crt",
        )  # fmt: skip
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


class TlsServer(RedisServer):
    """Speaks nothing but TLS; ``clients``: lets in only those with a certificate."""

    def __init__(self, folder: Path, certificates: Certificates, *, clients: bool = False) -> None:
        self.tls_port = free_port()
        self._authority = certificates.authority
        super().__init__(
            folder, f"tls-port {self.tls_port}", f"tls-cert-file {certificates.certificate}",
            f"tls-key-file {certificates.key}", f"tls-ca-cert-file {certificates.authority}",
            f"tls-auth-clients {'yes' if clients else 'no'}",
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.tls_port}/0?ssl_ca_certs={self._authority}"


# ── Sentinel ─────────────────────────────────────────────────────────────────────────────────────


class SentinelSet:
    """A master, a replica, and three Sentinels that watch them under the name ``mymaster``."""

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder / "first", "repl-diskless-sync-delay 0")
        self.replica = RedisServer(
            folder / "second", "repl-diskless-sync-delay 0", f"replicaof 127.0.0.1 {self.master.port}"
        )
        self.ports = [free_port() for _ in range(3)]
        self._processes = [self._sentinel(folder / f"sentinel{port}", port) for port in self.ports]
        for port in self.ports:
            until(lambda port=port: self._knows_all(port), "the Sentinels do not know one another")

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"sentinel://{hosts}/0?master_name=mymaster"

    @property
    def celery_url(self) -> str:
        return ";".join(f"sentinel://127.0.0.1:{port}/0" for port in self.ports) + "?master_name=mymaster"

    def _sentinel(self, folder: Path, port: int) -> "subprocess.Popen[bytes]":
        folder.mkdir()
        conf = folder / "sentinel.conf"
        conf.write_text(
            f"port {port}\ndir {folder}\nbind 127.0.0.1\n"
            f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 2\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
        )
        with open(folder / "log", "ab") as log:
            return subprocess.Popen(["redis-server", str(conf), "--sentinel"], stdout=log, stderr=log)

    def _knows_all(self, port: int) -> bool:
        with redis.Redis(port=port, socket_connect_timeout=1) as sentinel:
            state: Any = sentinel.execute_command("SENTINEL", "MASTER", "mymaster")
            return int(state[b"num-slaves"]) == 1 and int(state[b"num-other-sentinels"]) == 2

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self.master.stop()
        self.replica.stop()


# ── Cluster ──────────────────────────────────────────────────────────────────────────────────────


class Node(RedisServer):
    """One of a Cluster."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder, "cluster-enabled yes", f"cluster-port {free_port()}", "cluster-node-timeout 1000",
            "cluster-require-full-coverage no", "cluster-replica-validity-factor 0",
            "repl-diskless-sync-delay 0",
        )  # fmt: skip
        with self.client() as client:
            self.id: str = client.execute_command("CLUSTER", "MYID").decode()

    @property
    def bus(self) -> str:
        return next(option for option in self.options if option.startswith("cluster-port ")).split()[1]

    def say(self, *words: object) -> Any:
        with self.client() as client:
            return client.execute_command(*words)


class Cluster:
    """Three masters with a third of the slots each."""

    def __init__(self, folder: Path) -> None:
        self.nodes = [Node(folder / f"node{number}") for number in range(3)]
        for number, node in enumerate(self.nodes):
            first, last = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
            node.say("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.say("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            self._meet(node)
        for node in self.nodes:
            until(lambda node=node: self._is_whole(node), "the nodes do not know one another")

    def _meet(self, node: Node) -> None:
        if node is not self.nodes[0]:
            node.say("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus)

    def _is_whole(self, node: Node) -> bool:
        info = node.say("CLUSTER", "INFO")
        fields = info if isinstance(info, dict) else dict(_pairs(info))
        return fields["cluster_state"] == "ok" and fields["cluster_slots_ok"] == "16384"

    def add_replica(self, folder: Path, of: Node) -> Node:
        made = Node(folder)
        self.nodes.append(made)
        self._meet(made)
        until(lambda: of.id.encode() in made.say("CLUSTER", "NODES"), "the replica knows nobody")
        until(lambda: made.say("CLUSTER", "REPLICATE", of.id), "it does not replicate")
        until(lambda: b"connected_slaves:1" in _raw(of), "it is not connected")
        # a replica takes nothing over from a master of whose slots it has not heard
        until(lambda: self._is_whole(made), "the replica does not know all slots")
        for node in self.nodes:
            until(lambda node=node: made.id.encode() in node.say("CLUSTER", "NODES"), "not all know it")
        return made

    def owner(self, slot: int) -> Node:
        """Who has a slot, as itself says."""
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError):
                for first, last, *servers in node.say("CLUSTER", "SLOTS"):
                    if first <= slot <= last and servers[0][2].decode() == node.id:
                        return node
        raise AssertionError(f"nobody has slot {slot}")

    def wait_for_owner(self, slot: int, node: Node) -> None:
        """Until the Cluster has made a replica the master; what the others think of it is told if not."""

        def is_owner() -> bool:
            with contextlib.suppress(AssertionError):
                return self.owner(slot) is node
            return False

        try:
            until(is_owner, "the Cluster has not failed over")
        except AssertionError as error:
            for each in self.nodes:
                with contextlib.suppress(redis.RedisError):
                    error.add_note(f"{each.port} thinks:\n{each.say('CLUSTER', 'NODES')!r}")
                error.add_note((each.folder / "redis.log").read_text()[-3000:])
            raise

    def slot(self, app: str) -> int:
        return int(self.nodes[0].say("CLUSTER", "KEYSLOT", f"nbq:{{{app}}}:"))

    def move(self, slot: int, to: Node) -> None:
        """Move a slot with all its keys, as a rebalancing does."""
        source = self.owner(slot)
        to.say("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.say("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        while keys := source.say("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.say("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *self.nodes):
            with contextlib.suppress(redis.RedisError):  # a replica takes no slots
                node.say("CLUSTER", "SETSLOT", slot, "NODE", to.id)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


def _pairs(text: bytes) -> list[tuple[str, str]]:
    return [(name, value) for line in text.decode().split() for name, _, value in [line.partition(":")]]


def _raw(node: Node) -> bytes:
    with node.client() as client:
        client.response_callbacks.clear()
        text: Any = client.execute_command("INFO", "replication")
        return text if isinstance(text, bytes) else str(text).encode()
