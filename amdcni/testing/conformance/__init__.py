"""The conformance suite: what CNI SPEC 1.1 requires of a plugin, as a test for each clause.

    amdcni conformance --plugin /usr/lib/cni/bridge --config bridge.json
    pytest --pyargs amdcni.testing.conformance --cni-plugin /usr/lib/cni/bridge

It judges any executable.  Every clause has a throwaway node of its own, see `stage`.  A clause that
does not concern a plugin is skipped, and says why.  `clauses` defines what a clause is, `findings`
what is reported about it.
"""
