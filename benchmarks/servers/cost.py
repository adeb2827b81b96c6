"""A service with the agent, whose requests the benchmark sends itself."""

import os
from urllib.request import urlopen

from leakcheck import scenario


@scenario
def served(ctx):
    with ctx.service(os.environ["COMMAND"], ready=os.environ["URL"]):
        yield lambda: urlopen(os.environ["URL"]).close()
