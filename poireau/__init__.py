"""Where a native program's heap goes, what leaks, and who corrupts it: the front end of libpoireau.so.

In a notebook: `heap = poireau.open(path)`, then heap.flame(), heap.stream(), heap.live(names=True), heap.peak(),
heap.over_time().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poireau.version import __version__ as __version__

if TYPE_CHECKING:
    from poireau.model import Heap


def open(targets: Any, **settings: Any) -> Heap:
    """The heap whose traces lie at `targets`: see poireau/opening.py."""
    from poireau import notebook, opening

    notebook.attach()
    return opening.open(targets, **settings)
