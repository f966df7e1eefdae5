"""A network manager with one policy rule, which it has set only while it sees the netdev.

Executed as `rule_manager.py IFNAME DELAY_S RULE...`, the rule in the words of `ip rule`.  It sets
the rule so many seconds after the netdev has appeared, as NetworkManager does, and prints what it
does, with the exit status of `ip`.
"""

import socket
import subprocess
import sys
import time

_POLL_S = 0.01


def sees(ifname: str) -> bool:
    try:
        socket.if_nametoindex(ifname)
    except OSError:
        return False
    return True


def main(ifname: str, delay_s: str, *rule: str) -> None:
    is_set = False
    while True:
        if sees(ifname) != is_set:
            if not is_set:
                time.sleep(float(delay_s))
            is_set = not is_set
            verb = "add" if is_set else "delete"
            done = subprocess.run(["ip", "rule", verb, *rule], check=False)
            print(verb, done.returncode, flush=True)
        time.sleep(_POLL_S)


main(*sys.argv[1:])
