"""Words for people that several faces say."""


def counted(number: float, noun: str) -> str:
    """``1 process``, ``2 processes``, ``0 tasks``, ``1.5 hours``."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{shown} {noun if number == 1 else plural}"
