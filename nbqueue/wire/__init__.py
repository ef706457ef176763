"""What travels between processes: messages as bytes, functions and values as pickles, keys."""
