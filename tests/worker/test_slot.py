"""Eight bytes between an executor and its supervisor."""

import os
import subprocess
import sys

from nbqueue.worker.slot import Slot


def test_a_new_slot_holds_nothing():
    assert Slot.create().token == 0


def test_a_full_disk_cannot_take_its_memory_away(tmp_path):
    slot = Slot.create()
    assert os.fstat(slot.fd).st_blocks > 0 or "memfd" in os.readlink(f"/proc/self/fd/{slot.fd}")
    slot.close_file()


def test_what_a_process_wrote_is_there_after_its_death():
    slot = Slot.create()
    write = f"from nbqueue.worker.slot import Slot; Slot({slot.fd}).token = 3 << 32 | 5"
    code = f"{write}; import os; os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], pass_fds=(slot.fd,), check=False).returncode == -9
    slot.close_file()
    assert slot.token == 3 << 32 | 5
