"""Broker and workers as processes: found, started and stopped for whoever needs them."""
