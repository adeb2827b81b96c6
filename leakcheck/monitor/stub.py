"""A scenario file made of an alert: what production saw, with the step left to be filled in."""

from __future__ import annotations

import keyword

from leakcheck.monitor.alert import Alert


def scenario_stub(alert: Alert, name: str) -> str:
    """Python source of one scenario; `name` is its function's. Raises `ValueError` where that is no name."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"scenario_stub: {name!r} is not a name for a function")
    seen = [str(alert)]
    fingerprint = ""
    if alert.evidence is not None:
        for finding in alert.evidence.findings[:3]:
            seen.append(finding.title)
            fingerprint = fingerprint or finding.fingerprint
        seen += [f"{kind}: {count:,.0f} objects an hour more" for kind, count in alert.evidence.types[:3]]
    if fingerprint:
        seen.append(f"fingerprint {fingerprint}")
    comments = "\n".join(f"# * {' '.join(line.split())}" for line in seen)
    return f'''"""What grew in production on {alert.at}, to be reproduced.

Run it with: elkyn-leakcheck run THIS_FILE
"""

from leakcheck import scenario

# Seen in process {alert.pid} after {alert.uptime_hours:.1f} hours:
{comments}


@scenario(expect="leak")  # once it is fixed: expect="clean", and it guards the fix
def {name}(ctx):
    """Grows by {alert.meter} in production."""
    # Set-up: make what the service makes once (clients, stores, applications).

    def step():
        raise NotImplementedError("do here what the service does once for each request or message")

    yield step
    # Tear-down: close what the set-up opened.
'''
