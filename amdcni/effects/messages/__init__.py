"""Between the messages of route netlink, as pyroute2 has them, and the types of `amdcni.core.host`.

Each module makes the requests about one kind of thing, and reads what the kernel answers.
"""
