"""Parts of the diagnosis that run inside the measured process: `async def probe(conversation, arguments) -> dict`.

They use the standard library alone (and memray where its tracker is the point), so that any interpreter can run them.
"""
