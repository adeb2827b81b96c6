"""Real servers, leaking and mended, measured as their users would: see `python -m benchmarks.servers --help`."""
