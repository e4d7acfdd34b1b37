"""What a user's input can cause, in sentences: one error, or one for the runs that failed."""

import difflib
from collections.abc import Iterable

import click


class UserError(click.ClickException):
    """Input that cannot be used, in one sentence; a command that meets it exits with 2.

    It ends any click command (ours and papermill's) with the sentence alone, and in a notebook it
    is shown without a traceback.
    """

    exit_code = 2

    def __str__(self) -> str:
        return self.message

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self.message}"]


class FailedRuns(UserError):
    """Runs that failed, a line each, when all else that was asked for is in the store."""

    def __init__(self, message: str, exit_code: int):
        """`exit_code` is 2 if each is an error of the user's, else 1."""
        super().__init__(message)
        self.exit_code = exit_code


def choose(what: str, name: str, allowed: Iterable[str]) -> str:
    """Return `name` if it is one of `allowed`; raise UserError, with a guess, if it is not."""
    allowed = sorted(allowed)
    if name in allowed:
        return name
    close = difflib.get_close_matches(str(name), allowed, n=1)
    guess = f" (did you mean {close[0]!r}?)" if close else ""
    raise UserError(f"{name!r} is not {what}{guess}; allowed: {', '.join(allowed)}.")
