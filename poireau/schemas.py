"""Every object that a --json prints or a page has in it, by its `schema`; each has a `version` beside it. Printed
figures that are estimates are {value, ci95: [low, high], n: samples}; sizes are bytes, times nanoseconds since 1970,
unless a name says otherwise."""

from __future__ import annotations

SCHEMAS = {
    "poireau.attach": "attach: answers of the process, waiting (why there are none yet), refusals",
    "poireau.autopsy": "autopsy: what held the memory of a killed process, and what it rests on",
    "poireau.check": "check: runs, errors, leaks, and what of them counts",
    "poireau.ctl": "ctl: the same: answers, in the order of the requests",
    "poireau.dangling": "dangling: blocks with pointers, and holders with at, offset, where; more; swept_bytes",
    "poireau.diff": "diff: rows with before, after, change, the chance that there is none, significant",
    "poireau.doctor": "doctor: healthy, findings of level (ok, note, problem), about, text",
    "poireau.errors": "errors: memory errors, grouped, with their stacks",
    "poireau.flame": "flame: as poireau.tree",
    "poireau.leaks": "leaks: sites, the worst first, with rate, verdict, reason, what is alive and how old",
    "poireau.lib": "lib: library, extensions by allocator",
    "poireau.options": "config: options with name, default, help, values",
    "poireau.picture": "in a page of flame: nodes, views, what was when (flamegraph/src/picture.ts)",
    "poireau.ps": "ps: processes with pid, user, program, state, trace, rss_bytes, live, stats",
    "poireau.replay": "replay: facts of the record, runs by allocator",
    "poireau.settings": "config show: settings with value, default, origin, range, changes; wrong: what was not taken",
    "poireau.stream": "stream: what was in use, by time and line",
    "poireau.streams": "in a page of stream: bands by time, and a picture (the same)",
    "poireau.top": "top, live, freed, peak: total and rows with bytes, count, through; of: what it rests on",
    "poireau.tree": "top --tree, --inverted: nodes, that name their parents by number",
    "poireau.watch": "watch: what grows, an object each time",
    "poireau.whatis": "whatis: addresses, each with its block, who has it, and where in it it points",
}
