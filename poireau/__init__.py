"""Where a native program's heap goes, what leaks, and who corrupts it: the front end of libpoireau.so."""

__version__ = "0.1.0"
