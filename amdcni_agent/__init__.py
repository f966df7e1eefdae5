"""The agent: one resident process a node, which serves calls, heals and reports."""
