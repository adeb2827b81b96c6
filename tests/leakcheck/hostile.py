"""A run in which every text would do harm on a page that took it for more than text."""

from __future__ import annotations

import sample_run

from leakcheck.records import Control, Failure

TEXT = (
    "<script>window.owned=1</script>\"'`--></style><img src=x onerror=window.owned=1>"
    "{{7*7}}\u202egnp.exe\u2066\x1b[2J\x00&amp;"
)


def run(text):
    finding = sample_run.replace(
        sample_run.LISTENER,
        title=text,
        fingerprint=text,
        type=text,
        examples=[text],
        hint=text,
        source=text,
        known=text,
        meter=text,
        stack=[
            sample_run.frame(text, 3, text, text, user=True, context=[text, text, text]),
            sample_run.frame(text, 0, text, text, native=True, context=[]),
        ],
        path=[sample_run.replace(node, name=text, type=text, why=text) for node in sample_run.LISTENER.path],
    )
    allocation = sample_run.replace(sample_run.BUFFER, title=text, fingerprint=text, stack=finding.stack)
    odd = sample_run.replace(
        sample_run.meter("x", "y", 3.0, verdict="leak"), name=text, unit=text, reason=text, model=text
    )
    scenario = sample_run.leaking(
        text,
        [finding, allocation],
        reason=text,
        doc=text,
        tags=[text],
        file=text,
        command=text,
        advice=[text],
        meters=[odd],
        detectable={text: 1.0},
        budget={text: 2.0},
        origin=text,
        tools=[sample_run.replace(sample_run.leaking("a", []).tools[2], name=text, reason=text)],
        failure=Failure(type=text, message=text, traceback=text, output=text),
    )
    return sample_run.run(
        [scenario],
        environment={text: text, "python": text, "platform": text, "commit": text},
        options={text: text},
        started=text,
        tool=sample_run.replace(sample_run.run().tool, name=text, version=text),
        control=Control(
            status="failed",
            reason=text,
            checks=[sample_run.replace(sample_run.run().control.checks[0], name=text, reason=text)],
        ),
    )
