"""Why it grows: where the memory was allocated, who holds it, which line brought it. Only run when something grows.

The way in is `leakcheck.diagnosis.investigation.diagnose`, with the records of `leakcheck.diagnosis.records`.
"""
