"""The ``nbqueue`` command: each subcommand parses, calls what does the work, and shows what came of it."""
