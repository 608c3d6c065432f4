"""A page of its own: one of the scripts that flamegraph/ is built to, what it is about, and no network.

What it is about is gzip in base64: nothing that anybody has named is ever markup, let alone code. The page's policy
names its script by its hash, and no other may run.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Any

from poireau import layout
from poireau.text import plain

_LEVEL = 3  # of compression; more takes longer than it is worth


def of(kind: str, title: str, about: Mapping[str, Any]) -> bytes:
    """`kind`: flame or stream. Raises Failure where the pages are not built."""
    content = json.dumps(about, separators=(",", ":"), allow_nan=False).encode()
    packed = b64encode(gzip.compress(content, _LEVEL, mtime=0)).decode()
    return around(kind, title, f'<script type="text/plain" id="data">{packed}</script>')


def around(kind: str, title: str, before: str = "", connect: str = "'none'") -> bytes:
    """`before`: markup before the script; `connect`: whom the script may ask."""
    script, look = (layout.page(name).read_text("utf-8") for name in (f"{kind}.js", "look.css"))
    # Whatever is in a string of it, the script ends where we say.
    script = f"\n{script.replace('</script', '<' + chr(92) + '/script')}\n"
    hashed = b64encode(sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; script-src 'sha256-{hashed}'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(plain(title))}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>\n{look}</style></head>\n<body>\n{before}\n<script>{script}</script></body></html>\n"
    ).encode()
