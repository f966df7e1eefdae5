"""The conformance suite: what CNI SPEC 1.1 asks of a plugin, one test a clause, for any executable.

    amdcni conformance --plugin /usr/lib/cni/bridge --config bridge.json
    pytest --pyargs amdcni.testing.conformance --cni-plugin /usr/lib/cni/bridge

Every clause has a throwaway node of its own, see `stage`.  A clause that does not concern a plugin
is skipped, and says why.  `clauses` tells what a clause is, `findings` what becomes of it.
"""
