"""Lend NICs to Kubernetes pods and return everything to the host.

`amdcni.core` is the pure part: CNI types of every version, requests, decisions and plans.
`amdcni.effects` does the I/O, `amdcni.verbs` are the verbs, `amdcni.testing` is the test kit.
"""

__version__ = "0.2.0"
"""The version of the whole project; everything else that has a version takes it from here."""
