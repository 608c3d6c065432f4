"""What the events of a home mean, one after the other.

A home (the lower 40 bits of an id) has one block at a time, and each has a higher id than the one before. So all that
has to be remembered of a home is its last event that was any news: a birth, whose block is alive, or a free whose
birth was not seen, for which it may still come. `_one_by_one` says what each event means then; `_all_at_once` says the
same of homes where nothing is out of order, which in a sound trace are all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poireau.model_lives import FREED, LOST, RESIZED, Rows

Numbers = NDArray[np.int64]
KINDS = ("alloc", "live", "resize", "free")
RESIZE, FREE = 2, 3


@dataclass
class Events:
    """Births and frees of one batch, and before them what was remembered of their homes; by home, in their order."""

    home: NDArray[np.uint64]  # process << 40 | home
    id: NDArray[np.uint64]
    kind: NDArray[np.uint8]
    time: NDArray[np.int64]
    place: Numbers  # in all the rows of the batch's four kinds, one after the other; or below 0: ~place in `known`
    known: Rows  # what was remembered


@dataclass
class Found:
    """Numbers of events."""

    birth: Numbers  # of each life that ended
    end: Numbers  # what ended it
    fate: NDArray[np.uint8]
    last: Numbers  # what is to be remembered of each home of which there is anything; by home
    unseen: Numbers  # frees of what was not known
    matched: Numbers  # frees that were unseen, but for which the birth came


def look_at(events: Events) -> Found:
    same_home = np.zeros(len(events.home), np.bool_)
    same_home[1:] = events.home[1:] == events.home[:-1]
    same_id = same_home.copy()
    same_id[1:] &= events.id[1:] == events.id[:-1]
    odd = same_home.copy()
    odd[1:] &= (events.id[1:] < events.id[:-1]) | (same_id[1:] & (events.kind[:-1] == FREE))
    if not odd.any():
        return _all_at_once(events, np.arange(len(events.home)), same_home, same_id)
    group = np.cumsum(~same_home) - 1
    odd_group = np.zeros(int(group[-1]) + 1, np.bool_)
    odd_group[group[odd]] = True
    odd = odd_group[group]
    sound = np.flatnonzero(~odd)
    one = _all_at_once(events, sound, same_home[sound], same_id[sound])
    other = _one_by_one(events, np.flatnonzero(odd))
    both = [np.concatenate([getattr(one, name), getattr(other, name)]) for name in Found.__annotations__]
    found = Found(*both)
    found.last.sort()
    return found


def _all_at_once(events: Events, numbers: Numbers, same_home: NDArray[np.bool_], same_id: NDArray[np.bool_]) -> Found:
    """Of homes where ids never fall and a free is the last of its id. `same`: as in the event before."""
    kind = events.kind[numbers]
    news = ~same_id | (kind >= RESIZE)
    numbers, kind, same_home, same_id = numbers[news], kind[news], same_home[news], same_id[news]
    free = kind == FREE
    followed = np.zeros(len(numbers), np.bool_)
    followed[:-1] = same_home[1:]
    over = np.flatnonzero(~free & followed)
    fate = np.where(same_id[over + 1], np.where(free[over + 1], FREED, RESIZED), LOST).astype(np.uint8)
    unseen = free & ~same_id
    new = events.place[numbers] >= 0
    nothing = np.empty(0, np.int64)
    return Found(
        numbers[over], numbers[over + 1], fate, numbers[~followed & (~free | unseen)], numbers[unseen & new], nothing
    )


def _one_by_one(events: Events, numbers: Numbers) -> Found:
    """Events of any order, by home."""
    birth, end, fate, last, unseen, matched = [], [], [], [], [], []
    now = (-1, -1, -1)  # home, id and number of what is known
    alive = waiting = False
    columns = [column[numbers].tolist() for column in (events.home, events.id, events.kind, events.place)]
    for home, identity, kind, place, number in zip(*columns, numbers.tolist()):
        if home != now[0]:
            if alive or waiting:
                last.append(now[2])
            alive = waiting = False
            now = (home, -1, number)
        known = alive or waiting
        if kind == FREE:
            if alive and identity >= now[1]:
                birth.append(now[2])
                end.append(number)
                fate.append(FREED if identity == now[1] else LOST)
                alive = False
                if identity == now[1]:
                    continue
                known = False
            if place >= 0:
                unseen.append(number)
            if not known or (waiting and identity >= now[1]):
                now, waiting = (home, identity, number), True
        elif known and identity < now[1]:  # late news of a block whose home has had another since
            birth.append(number)
            end.append(now[2])
            fate.append(LOST)
        elif waiting and identity == now[1]:
            birth.append(number)
            end.append(now[2])
            fate.append(FREED)
            matched.append(now[2])
            waiting = False
        elif not alive or identity > now[1] or kind == RESIZE:
            if alive:
                birth.append(now[2])
                end.append(number)
                fate.append(RESIZED if identity == now[1] else LOST)
            now, alive, waiting = (home, identity, number), True, False
    if alive or waiting:
        last.append(now[2])
    birth_, end_, last_, unseen_, matched_ = (np.array(each, np.int64) for each in (birth, end, last, unseen, matched))
    return Found(birth_, end_, np.array(fate, np.uint8), last_, unseen_, matched_)
