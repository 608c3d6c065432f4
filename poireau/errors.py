"""What can go wrong in a way the user can act on."""

from __future__ import annotations

REFUSED = 1  # a program that we talk to says no, or says nothing that makes sense
USAGE = 2
NOT_PRELOADED = 2
INCOMPLETE = 3  # under --strict
NO_ANSWER = 3  # in the time that was given
OUR_FAILURE = 125  # the three statuses env(1), nohup(1) and timeout(1) use
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class Failure(Exception):
    """One line for stderr, and the exit status that goes with it."""

    def __init__(self, message: str, status: int = OUR_FAILURE) -> None:
        super().__init__(message)
        self.status = status
