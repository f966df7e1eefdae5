"""What a netdev has on the host and may lose in a pod: one module for each aspect.

A module says what of the netdev goes into the record (`keep`), what of that has yet to be set
(`due`), and how it reads in words (`lines`).  `amdcni.core.capture` lists them.  The module of the
same name in `amdcni.effects.aspects` reads the aspect from the kernel, and sets what is due.
"""
