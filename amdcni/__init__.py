"""Lend NICs to Kubernetes pods and return everything to the host.

`amdcni.core` is the pure part: CNI types of every version, requests, decisions and plans.
`amdcni.effects` does the I/O, `amdcni.verbs` are the verbs, `amdcni.testing` is the test kit.
"""
