"""Parts of the diagnosis that run inside the measured process: `async def probe(conversation, arguments) -> dict`.

They use the standard library alone (and memray where its tracker is the point), so that any interpreter can run them.
"""

ASKED_WHILE_MEASURING = (
    "leakcheck.agent.probes.bounded_caches",
    "leakcheck.agent.probes.clock_reads",
    "leakcheck.agent.probes.collection",
    "leakcheck.agent.probes.holders",
    "leakcheck.agent.probes.expiring",
)
"""Those that a growth measurement may ask. Every process loads them before the user's code: loaded at the first
question, they would be a step in the series that is being judged."""
