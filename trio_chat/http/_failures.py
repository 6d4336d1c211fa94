"""What has gone wrong, whatever the nurseries have wrapped it into."""

from __future__ import annotations

from ._errors import HTTPError


def is_failure(exc: BaseException) -> bool:
    """Whether this is a failure like any other, and no cancellation or such.

    If a generator is closed while it yields within a nursery, the nursery puts the GeneratorExit into a group, which
    leaves `aclose` and is no `Exception`.
    """
    if isinstance(exc, BaseExceptionGroup):
        return exc.split((Exception, GeneratorExit))[1] is None
    return isinstance(exc, Exception)


def http_error_of(exc: BaseException) -> HTTPError | None:
    """The HTTPError that this is, or that a group consists of, even of several; None if it is something else."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc if isinstance(exc, HTTPError) else None
    errors = [http_error_of(each) for each in exc.exceptions]
    return errors[0] if all(errors) else None
