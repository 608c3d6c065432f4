"""Where a native program's heap goes, what leaks, and who corrupts it: the front end of libpoireau.so."""

from poireau.version import __version__ as __version__
