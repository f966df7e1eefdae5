"""`amdcni agent`: the resident process that serves calls, heals by itself and reports."""

import argparse
from functools import partial
from typing import IO

from amdcni.core.request import LogLevel
from amdcni.log import make_log
from amdcni_agent.door import Door
from amdcni_agent.load import load
from amdcni_agent.serving import Agent


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Serve until a signal ends it; 0, whatever the calls came to."""
    load()
    log = make_log(LogLevel.INFO, None, stderr, command="agent")
    Agent(Door(options.socket), partial(log, LogLevel.INFO)).run()
    return 0
