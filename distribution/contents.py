"""What a tree consists of, and what it leaves out because nothing in it loads that."""

from typing import Final

PYTHON: Final = "3.11"
LIBRARY: Final = f"lib/python{PYTHON}"
"""The standard library in the tree; the packages are in its `site-packages`."""

LINKER: Final = "ld-linux-x86-64.so.2"
"""The dynamic linker, which the executables in `bin` start."""

DEBIAN: Final = (
    *(f"python{PYTHON}-minimal", f"libpython{PYTHON}-minimal", f"libpython{PYTHON}-stdlib"),
    *("libc6", "libgcc-s1", "zlib1g", "libexpat1", "libffi8", "libsqlite3-0", "libssl3"),
    # musl is in the static executables.
    "musl-dev",
)
"""The packages that something in the tree comes from."""

FOR_LICENCES: Final = ("base-files", "gcc-12-base")
"""The packages with texts that the licences of others refer to."""

LIBRARIES: Final = (
    *(LINKER, "libc.so.6", "libm.so.6", "libgcc_s.so.1", "libz.so.1", "libexpat.so.1"),
    *("libffi.so.8", "libsqlite3.so.0", "libssl.so.3", "libcrypto.so.3"),
    # What the C library was made of before version 2.34; some wheels still name these.
    *("libpthread.so.0", "libdl.so.2", "librt.so.1"),
)
"""What the interpreter and its extension modules need, and libgcc, which ends threads."""

UNUSED_IN_LIBRARY: Final = (
    # Development, documentation, and what needs a terminal or a display.
    *("bdb.py", "cProfile.py", "cgitb.py", "cmd.py", "config-*", "curses", "distutils"),
    *("doctest.py", "ensurepip", "idlelib", "lib2to3", "modulefinder.py", "pdb.py", "profile.py"),
    *("pstats.py", "pyclbr.py", "pydoc.py", "pydoc_data", "rlcompleter.py", "tabnanny.py", "test"),
    *("this.py", "tkinter", "trace.py", "turtle.py", "turtledemo", "venv"),
    *("webbrowser.py", "zipapp.py", "__hello__.py", "__phello__", "antigravity.py"),
    # Mail, and other protocols and formats.
    *("aifc.py", "asynchat.py", "asyncore.py", "cgi.py", "chunk.py", "crypt.py", "dbm"),
    *("imaplib.py", "imghdr.py", "mailbox.py", "mailcap.py", "nntplib.py", "pipes.py"),
    *("poplib.py", "shelve.py", "smtpd.py", "smtplib.py", "sndhdr.py", "sunau.py"),
    *("telnetlib.py", "uu.py", "wave.py", "xdrlib.py", "xmlrpc"),
    # Other systems, and what Debian adds for its own installation.
    *("_aix_support.py", "_bootsubprocess.py", "_distutils_system_mod.py", "_osx_support.py"),
    *("EXTERNALLY-MANAGED", "LICENSE.txt", "sitecustomize.py", "__pycache__"),
    # Extension modules of the above, of tests, and those for East Asian encodings.
    *("lib-dynload/_codecs_*", "lib-dynload/_multibytecodec.*", "lib-dynload/*test*"),
    *("lib-dynload/_xx*", "lib-dynload/xx*", "lib-dynload/_crypt.*", "lib-dynload/_curses*"),
    *("lib-dynload/_dbm.*", "lib-dynload/_lsprof.*"),
    *("lib-dynload/audioop.*", "lib-dynload/nis.*", "lib-dynload/ossaudiodev.*"),
    *("lib-dynload/readline.*",),
    *(
        "encodings/big5*",
        "encodings/bz2_codec.py",
        "encodings/cp932.py",
        "encodings/cp949.py",
        "encodings/cp950.py",
    ),
    *("encodings/euc_*", "encodings/gb*", "encodings/hz.py", "encodings/iso2022_*"),
    *("encodings/johab.py", "encodings/shift_jis*"),
    # Python does without these where their libraries are missing.
    *("bz2.py", "lzma.py", "lib-dynload/_bz2.*", "lib-dynload/_lzma.*", "lib-dynload/_uuid.*"),
)
"""Files and folders of the standard library that stay outside, as patterns."""

UNUSED_PACKAGES: Final = (
    # The command `conformance` says where to get these.
    *("amdcni/testing", "amdcni/pytest_plugin.py"),
    # rich loads them only to show programs and texts in Markdown.
    *("pygments", "markdown_it", "mdurl"),
    *("pygments-*.dist-info", "markdown_it_py-*.dist-info", "mdurl-*.dist-info"),
    # PyYAML has the same in Python, which is enough for manifests.
    "yaml/_yaml.*",
    # The scripts of packages, which name the interpreter that has installed them.
    "bin",
)
"""The same of the packages."""

UNUSED_METADATA: Final = (
    *("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL", "top_level.txt"),
    *("entry_points.txt",),
)
"""What of a package's metadata describes its installation."""
