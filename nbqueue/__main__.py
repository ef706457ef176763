"""``python -m nbqueue`` is the ``nbqueue`` command."""

from nbqueue.cli.main import main

if __name__ == "__main__":
    main()
