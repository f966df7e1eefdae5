"""`python -m amdcni`: the same as the command `amdcni`.

As root, `python -I -m amdcni` keeps the current folder and `PYTHON*` variables from choosing the
code that is executed; the executable `amdcni` always does so.
"""

from amdcni.cli import run

if __name__ == "__main__":
    run()
