"""A line of what ``nbqueue doctor`` reports."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the report."""

    #: True: as it should be; False: why nothing runs, or a danger to what is kept; None: good to know
    ok: bool | None
    text: str
    #: what to do, "" if nothing
    advice: str = ""
