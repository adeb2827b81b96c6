"""Why it grows: where the memory was allocated, who holds it, which line brought it. Only run when something grows.

The way in is `leakcheck.diagnosis.investigation.diagnose`, with the records of `leakcheck.diagnosis.plan`. Answers
of the probes (`answers`), sites (`memray`) and losses (`valgrind`) become faults by the rules of `attribution`, and
`findings` puts these into words.
"""
