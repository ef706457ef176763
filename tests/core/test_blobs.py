"""Definitions that the broker keeps."""

from nbqueue.core.blobs import BLOB_BYTES, Blobs


def test_a_blob_stays_while_a_task_refers_to_it() -> None:
    blobs = Blobs(idle_bytes=10)
    blobs.add("used", b"x" * 8)
    blobs.refer("used")
    for n in range(10):
        blobs.add(f"other {n}", b"y" * 8)
    assert blobs.get("used") == b"x" * 8
    assert "other 0" not in blobs


def test_an_idle_blob_stays_while_there_is_room() -> None:
    blobs = Blobs(idle_bytes=3 * (8 + BLOB_BYTES))
    blobs.add("a", b"x" * 8)
    blobs.refer("a")
    blobs.release("a")
    blobs.add("b", b"x" * 8)
    blobs.add("c", b"x" * 8)
    assert "a" in blobs
    blobs.add("d", b"x" * 8)
    assert "a" not in blobs
    assert "b" in blobs
    assert blobs.get("a") == b""
