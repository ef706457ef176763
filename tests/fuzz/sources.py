"""Where a fuzzer's choices come from, and bytes that are nearly right."""

import random
from typing import Final


class Seeded:
    """Choices by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def below(self, limit: int) -> int:
        return int(self.random.random() * limit)


_TELLING: Final = b"\x00\x01\x7f\x80\x90\x91\x9f\xc0\xc1\xc4\xc6\xca\xcb\xcf\xd3\xd9\xdb\xdd\xdf\xff"


def mutated(dice: random.Random, data: bytes) -> bytes:
    """Bytes of which a few were changed, cut off, doubled or put in."""
    changed = bytearray(data)
    for _ in range(1 + int(dice.random() * 4)):
        at = int(dice.random() * (len(changed) + 1))
        what = int(dice.random() * 6)
        if what == 0 and changed:
            changed[at - 1] = int(dice.random() * 256)
        elif what == 1 and changed:
            changed[at - 1] = _TELLING[int(dice.random() * len(_TELLING))]
        elif what == 2:
            del changed[at:]
        elif what == 3:
            changed[at:at] = changed[at : at + int(dice.random() * 40)]
        elif what == 4:
            del changed[at : at + 1 + int(dice.random() * 8)]
        else:
            changed[at:at] = dice.randbytes(int(dice.random() * 8))
    return bytes(changed)
