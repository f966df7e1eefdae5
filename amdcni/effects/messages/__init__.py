"""Translates between route netlink messages, as in pyroute2, and the types of `amdcni.core.host`.

Each module makes the requests about one kind of thing, and reads the kernel's answers.
"""
