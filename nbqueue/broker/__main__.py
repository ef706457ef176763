"""``python -m nbqueue.broker``: see ``nbqueue.broker.main``."""

import sys

from nbqueue.broker.main import main_from_stdin

sys.exit(main_from_stdin())
