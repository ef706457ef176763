"""A fuzzer that keeps what leads to new branches (atheris): of the codec, and of the core.

python -m tests.fuzz.guided codec -runs=100000 FOLDER      as libFuzzer understands it
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parents[2]
#: inputs to begin with
_SEEDS: Final = 50
#: steps of one input of the core
_STEPS: Final = 60


def run(target: str, runs: int, folder: Path) -> str:
    """So many inputs in a process of its own; returns what it says at the end.

    Raises
    ------
    AssertionError
        Something was found: the end of its report, with the file that replays it.
    """
    found = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.fuzz.guided",
            target,
            f"-runs={runs}",
            f"-artifact_prefix={folder}/",
            folder,
        ],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert found.returncode == 0, found.stdout[-5000:]
    return found.stdout[-1000:]


def codec_target() -> Callable[[bytes], None]:
    """What can be read can be written and read again, and the core deals with it."""
    from nbqueue.core.broker import BrokerCore, BrokerSettings
    from nbqueue.exceptions import ProtocolError
    from nbqueue.wire import codec

    def one(data: bytes) -> None:
        try:
            messages = codec.decode([b"NBQ\x01" + data])
        except ProtocolError:
            return
        again = codec.decode(codec.encode(messages)) if messages else []
        assert repr(again) == repr(messages)
        core = BrokerCore(BrokerSettings(), boot=1)
        for message in messages:
            core.receive("peer", message, 0.0)

    return one


def core_target() -> Callable[[bytes], None]:
    """Peers of every role say what the bytes choose; the books agree and rights are kept."""
    import atheris

    from tests.fuzz.house import House

    class Chosen:
        """Choices by the fuzzer's bytes."""

        def __init__(self, data: bytes) -> None:
            self._left = atheris.FuzzedDataProvider(data)

        @property
        def is_empty(self) -> bool:
            return not self._left.remaining_bytes()

        def below(self, limit: int) -> int:
            return int(self._left.ConsumeIntInRange(0, limit - 1))

    def one(data: bytes) -> None:
        source = Chosen(data)
        house = House(source)
        for _ in range(_STEPS):
            if source.is_empty:
                break
            house.step()

    return one


TARGETS: Final = {"codec": codec_target, "core": core_target}


def _sow(target: str, folder: Path) -> None:
    """Something to start from: frames of messages, or a good many choices."""
    from nbqueue.wire import codec
    from tests.fuzz.sources import Seeded
    from tests.fuzz.words import Words

    for seed in range(_SEEDS):
        source = Seeded(seed)
        data = (
            codec.encode([Words(source).message()])[0][4:]
            if target == "codec"
            else source.random.randbytes(2000)
        )
        (folder / f"seed-{seed}").write_bytes(data[:4000])


def main(arguments: list[str]) -> Any:
    import atheris

    target, folder = arguments[0], Path(arguments[-1])
    with atheris.instrument_imports(include=["nbqueue"]):
        one = TARGETS[target]()
    _sow(target, folder)
    atheris.Setup([sys.argv[0], "-max_len=4000", "-verbosity=1", *arguments[1:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
