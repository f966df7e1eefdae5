"""Builds what is delivered: the self-contained tree, and the OCI image that consists of it.

Everything comes from Debian's packages, from the wheels that `requirements/tree.txt` pins, and from
this checkout.  Two builds of the same give the same bytes, wherever they are made.
"""
