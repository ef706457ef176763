"""A TCP proxy between us and Redis, whose cable can be cut: without a word, as when a plug is pulled."""

import contextlib
import socket
import threading


class Proxy:
    """Listens on :attr:`port`, and passes everything on to ``target``, a port of this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._flowing.clear()

    def mend(self) -> None:
        self._flowing.set()

    def hang_up(self) -> None:
        """Close all connections; new ones are let through."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._closed = True
        self._flowing.set()
        self._listener.close()
        self.hang_up()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
                self._flowing.wait()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                continue
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
