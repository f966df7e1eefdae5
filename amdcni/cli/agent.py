"""`amdcni agent`: the resident process that serves calls, heals by itself and reports."""

import argparse
import os
from typing import IO

from amdcni.core.errors import InvalidEnvironment
from amdcni.core.request import LogLevel
from amdcni.log import Log, make_log
from amdcni_agent.address import OFF, Address
from amdcni_agent.cluster import Cluster, Posting, find_cluster
from amdcni_agent.door import Door
from amdcni_agent.load import load
from amdcni_agent.notify import Notifier
from amdcni_agent.reports import Reporter
from amdcni_agent.serving import Agent


def serve(options: argparse.Namespace, stdout: IO[str], stderr: IO[str]) -> int:
    """Serve until a signal ends it; 0, whatever the calls came to."""
    address = None if options.metrics == OFF else Address.parse(options.metrics)
    load()
    log = make_log(LogLevel.INFO, None, stderr, command="agent")
    cluster = find_cluster_if_wanted(Posting(options.events), options.service_account, log)
    notifier = Notifier.of(os.environ, os.getpid())
    Agent(Door(options.socket), log, Reporter(address, log, cluster), notifier).run()
    return 0


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
