"""A sweep as one HTML file, without script, that opens from the file system."""

from __future__ import annotations

from urllib.parse import quote

import jinja2
from markupsafe import Markup

from leakcheck import meters, units
from leakcheck.report import page, text
from leakcheck.sweep.outcome import Find, Sweep

FILE_NAME = "index.html"


def render(sweep: Sweep, said: str) -> str:
    """The page; `said` is the sweep in one paragraph."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("leakcheck.sweep", "templates"),
        autoescape=True,
        finalize=lambda value: text.visible(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(line=text.line, block=text.block, href=quote)
    return environment.get_template("sweep.html.j2").render(
        sweep=sweep,
        said=said,
        fresh=any(not find.known for find in sweep.finds),
        style=Markup(page.asset("style.css")),  # noqa: S704 - a file of this package
        count=units.count,
        seconds=units.seconds,
        rates=rates,
        refused=[f"{name}: {why}" for name, why in sweep.refused],
        unconfirmed=[f"{each.target} ({each.kind}): {each.verdict}, {each.reason}" for each in sweep.unconfirmed],
    )


def rates(find: Find) -> str:
    """What each call keeps; objects that have the bytes are no growth beside them."""
    told = {name: value for name, value in find.growth.items() if name != meters.LIVE_OBJECTS or len(find.growth) == 1}
    return ", ".join(units.rate(value, meters.of(name, "").unit) for name, value in told.items())
