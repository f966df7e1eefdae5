"""`amdcni agent`: the resident process that serves calls, heals by itself and reports."""

import argparse
import os
from typing import IO, NoReturn

from amdcni.core.request import LogLevel
from amdcni.log import make_log
from amdcni_agent.address import OFF, Address
from amdcni_agent.door import Door
from amdcni_agent.load import load
from amdcni_agent.notify import Notifier
from amdcni_agent.reports import Reporter
from amdcni_agent.serving import Agent


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Serve until a signal ends it; 0, whatever the calls came to."""
    if options.on_host is not None:
        _become_that_of_the_host(options)
    address = None if options.metrics == OFF else Address.parse(options.metrics)
    load()
    log = make_log(LogLevel.INFO, None, stderr, command="agent")
    notifier = Notifier.of(os.environ, os.getpid())
    Agent(Door(options.socket), log, Reporter(address, log), notifier).run()
    return 0


def _become_that_of_the_host(options: argparse.Namespace) -> NoReturn:
    from amdcni.effects.installing.look import read_tree, tree_of_this_process
    from amdcni.effects.installing.on_host import execute_on_host

    name = read_tree(tree_of_this_process()).name
    words = ("agent", "--socket", options.socket, "--metrics", options.metrics)
    execute_on_host(options.on_host, name, words)
