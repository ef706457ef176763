"""``python -m nbqueue.worker``: a worker, told its options as JSON on standard input.

Everything is imported before the options are awaited: whoever starts a cluster starts its worker
first, and tells it the broker's address when there is one.  No options: end quietly.
"""

import sys

import msgspec

from nbqueue.worker.main import main
from nbqueue.worker.options import WorkerOptions

if __name__ == "__main__":
    line = sys.stdin.buffer.readline()
    if line.strip():
        sys.exit(main(msgspec.json.decode(line, type=WorkerOptions)))
