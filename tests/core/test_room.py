"""What fits into what can be written down."""

import math

from nbqueue.core.room import Room


def test_there_is_room_for_everything_until_the_driver_says_otherwise() -> None:
    assert Room().lack(10**15) == ""


def test_what_is_claimed_is_there_no_more() -> None:
    room = Room()
    room.set(100, "")
    assert room.claim(60) == ""
    assert "has room for 40 bytes, and this is 60" in room.claim(60)
    assert room.claim(40) == ""  # what did not fit took nothing


def test_the_drivers_reason_is_told() -> None:
    room = Room()
    room.set(0, "the disk is full")
    assert room.lack(1) == "the disk is full"
    room.set(math.inf, "")
    assert room.lack(1) == ""
