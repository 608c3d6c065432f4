"""What can go wrong in a way the user can act on."""

from __future__ import annotations

USAGE = 2
OUR_FAILURE = 125  # the three statuses env(1), nohup(1) and timeout(1) use
NOT_EXECUTABLE = 126
NOT_FOUND = 127


class Failure(Exception):
    """One line for stderr, and the exit status that goes with it."""

    def __init__(self, message: str, status: int = OUR_FAILURE) -> None:
        super().__init__(message)
        self.status = status
