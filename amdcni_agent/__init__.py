"""The resident process that serves calls at once, heals by itself and reports: `amdcni agent`."""
