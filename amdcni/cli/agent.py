"""`amdcni agent`: the resident process that serves calls, heals by itself and reports."""

import argparse
import os
from typing import IO, NoReturn

from amdcni.core.errors import InvalidEnvironment
from amdcni.core.request import LogLevel
from amdcni.log import Log, make_log
from amdcni_agent.address import OFF, Address
from amdcni_agent.cluster import DESCRIPTORS, Cluster, Posting, find_cluster
from amdcni_agent.door import Door
from amdcni_agent.lines import Lines
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
    log = make_log(LogLevel.INFO, None, Lines(stderr.fileno()), command="agent")
    cluster = find_cluster_if_wanted(Posting(options.events), options.service_account, log)
    notifier = Notifier.of(os.environ, os.getpid())
    Agent(Door(options.socket), log, Reporter(address, log, cluster), notifier).run()
    return 0


def _become_that_of_the_host(options: argparse.Namespace) -> NoReturn:
    from amdcni.effects.installing.look import read_tree, tree_of_this_process
    from amdcni.effects.installing.on_host import execute_on_host

    name = read_tree(tree_of_this_process()).name
    words = ["agent", "--socket", options.socket, "--metrics", options.metrics]
    words += ["--events", options.events, "--service-account", _inherited(options.service_account)]
    execute_on_host(options.on_host, name, words)


def _inherited(folder: str) -> str:
    """A path to the folder for the program that this process becomes, wherever that looks for it.

    The kubelet replaces the token in the folder, so the folder is kept open, and not its files.
    """
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return folder
    os.set_inheritable(descriptor, True)
    return f"{DESCRIPTORS}{descriptor}"


def find_cluster_if_wanted(posting: Posting, folder: str, log: Log) -> Cluster | None:
    """The cluster to which events are posted; None if none are."""
    if posting is Posting.OFF:
        return None
    try:
        return find_cluster(os.environ, folder)
    except InvalidEnvironment as failure:
        if posting is Posting.ON:
            raise
        log(LogLevel.INFO, "events-off", reason=failure.message)
        return None
