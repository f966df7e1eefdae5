"""What a netdev has on the host and a stay in a pod may take away: one module for each aspect.

A module tells what of the seen is kept in the record (`keep`), what of the kept is yet to be set
(`due`), and what the kept is in words (`lines`).  `amdcni.core.capture` lists them.  The module of
the same name in `amdcni.effects.aspects` reads the aspect from the kernel, and sets what is due.
"""
