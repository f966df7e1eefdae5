from amdcni.testing.fixtures import node, plugin

__all__ = ["node", "plugin"]
