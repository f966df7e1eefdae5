"""How the program gets onto a node and off it again, as plans of steps; nothing here does I/O.

    <binDir>/amd-host-device                the launcher, a plain file
    <binDir>/.amdcni/<name>/                a tree, with MANIFEST.json if it is complete
    <binDir>/.amdcni/amdcni                 a link to the command of the tree in use
    <binDir>/.amdcni/kept/                  what had the launcher's name before
    <binDir>/.amdcni/installed.json         what has been installed, the latest first

`tree` has the values, `seen` what is on the node, `steps` the steps, `plans` the plan of an
installation, and `removal` that of the opposite.  All paths are relative to the binDir.
"""
