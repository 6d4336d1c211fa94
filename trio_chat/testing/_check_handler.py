"""What every handler has to keep, whatever its protocol is."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import trio
from trio.testing import memory_stream_pair

from .. import HandlerFactory
from ._arguments import as_bytes, check_number, made_by
from ._cancellation import cancel_at_every_checkpoint
from ._dialogue import shortened
from ._idleness import in_time, wait_until_idle
from ._keeping import Keepers
from ._logged import noting_logged_errors
from ._splits import assert_same_under_every_split
from ._streams import BreakingStream
from ._tasks import background_tasks, new_system_tasks, system_tasks

_MAX_STEPS_TO_END = 1_000  # that a handler takes when it is cancelled, as in cancel_at_every_checkpoint()
_QUIET_TURNS = 20  # in which it takes no step: it waits for something


#: Exceptions, as `except` takes them.
Errors: TypeAlias = type[Exception] | tuple[type[Exception], ...]


class BrokenPromise(AssertionError):
    """A handler does not keep what every handler has to; the message says what, and after which input."""


async def check_handler(
    handler_factory: HandlerFactory,
    data: bytes,
    *,
    most: int = 300,
    seed: int = 0,
    patience: float = 5.0,
    comparable: Callable[[bytes], bytes] = bytes,
    expected_errors: Errors = (),
) -> None:
    """See that a handler keeps what every handler has to, if a client sends `data`, or as much of it as you like:

    - it does the same however its input was split (`assert_same_under_every_split`);
    - it raises no exception, whatever happens, and logs none below "trio_chat" as an error (if logging is not
      configured to drop those);
    - it ends when the client ends its side;
    - it ends when the connection breaks;
    - it ends when it is cancelled, wherever (`cancel_at_every_checkpoint`), within 1,000 steps, no callback keeps the
      cancellation for itself, and the stream is closed;
    - it ends when it is to stop (`AsyncChat.close_when_idle`) and the client ends its side;
    - it leaves no system task behind.

    A handler that takes its time, say by `trio.sleep`, is checked while it does. Where it waits for threads, have it
    checked on a `trio.testing.MockClock` that stands still: one that jumps does not know of them.

    Args:
        data: some of everything that a client may say, right and wrong. It should make the handler wait wherever it
            does.
        most: how many splits and beginnings of `data`, and checkpoints, to try; if there are more, they are chosen at
            random.
        seed: of that.
        patience: how many seconds of Trio's clock the handler has to end.
        comparable: see `assert_same_under_every_split`.
        expected_errors: what it may raise, or log, all the same: say, an application's own exception that is answered
            with a 500. An exception group is expected if all that is in it is.

    Raises:
        BrokenPromise: an AssertionError that says which of these it does not keep, and after which input.
    """
    data = as_bytes("data", data)
    check_number("most", most, 0)
    lengths = range(len(data) + 1)
    if len(lengths) > most:
        lengths = sorted(random.Random(seed).sample(lengths, most))  # type: ignore[assignment]  # noqa: S311
    for length in lengths:
        for promise in (_ends_when_cancelled, _ends_with_its_input, _ends_when_broken, _ends_when_stopped):
            tasks = system_tasks()
            trial = Trial(handler_factory, data[:length], patience, expected_errors)
            async with _conversation(trial):
                await promise(trial)
            if left := await new_system_tasks(tasks):
                trial.fail(f"leaves tasks behind: {', '.join(left)}")
    try:
        await _check_every_checkpoint(lambda: Trial(handler_factory, data, patience, expected_errors), most, seed)
        await assert_same_under_every_split(
            handler_factory, data, most=most, seed=seed, patience=patience, comparable=comparable
        )
    except AssertionError as exc:
        raise BrokenPromise(str(exc)) from exc.__cause__


async def _check_every_checkpoint(new_trial: Callable[[], Trial], most: int, seed: int) -> None:
    trial: Trial

    async def whole_conversation() -> None:
        nonlocal trial
        trial = new_trial()
        try:
            async with _conversation(trial):
                await _ends_with_its_input(trial)
        except BrokenPromise:
            raise
        except BaseException:
            trial.check_end("it is cancelled")
            raise

    def note_raised(task: trio.lowlevel.Task) -> None:
        trial.keepers.note_raised(task)

    await cancel_at_every_checkpoint(whole_conversation, most=most, seed=seed, _tell_raised=note_raised)


class Trial:
    """A handler that has had some input, and does nothing any more but wait."""

    def __init__(self, factory: HandlerFactory, data: bytes, patience: float, expected_errors: Errors) -> None:
        self.data = data
        self.patience = patience
        self.client, server = memory_stream_pair()
        self.stream = BreakingStream(server)
        self.chat = made_by(factory, self.stream)
        self.keepers = Keepers(self.chat)
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.over = trio.Event()
        self._expected_errors = expected_errors
        self._failures: list[tuple[str, Exception]] = []

    async def run(self) -> None:
        self.task = trio.lowlevel.current_task()
        try:
            with self.scope:
                await self.chat.run()
        except Exception as exc:
            self._note("fails with", exc)
        except BaseExceptionGroup as group:  # somebody else has cancelled it, too
            failures, cancelled = group.split(Exception)
            if failures is not None:
                self._note("fails with", failures)
            if cancelled is not None:
                raise cancelled from None
        finally:
            self.over.set()

    def note_logged(self, error: Exception) -> None:
        self._note("logs as an error", error)

    def _note(self, what: str, error: Exception) -> None:
        if not _is_expected(error, self._expected_errors):
            self._failures.append((what, error))

    async def must_end(self, when: str) -> None:
        if not await in_time(self.over.wait, self.patience, moves_clock=True):
            self.fail(f"goes on for more than {self.patience:g} seconds when {when}")
        self.check_end(when)

    def check_what_it_did_by_itself(self) -> None:
        when = "it is given this input"
        if self.over.is_set():
            self.check_end(when)
        else:
            self._check_failures(when)

    def check_end(self, when: str) -> None:
        self._check_failures(when)
        if not self.stream.closed:
            self.fail(f"leaves its stream open when {when}")
        for name in self.keepers.names:
            self.fail(f"keeps the cancellation for itself, in {name}(): trio.Cancelled has to leave it")

    def _check_failures(self, when: str) -> None:
        for what, error in self._failures:
            self.fail(f"{what} {error!r} when {when}", error)

    def fail(self, what: str, cause: Exception | None = None) -> None:
        self.chat.close()  # so that one which swallows its cancellation may end
        raise BrokenPromise(f"the handler {what}; after {shortened(repr(self.data))}") from cause


def _is_expected(error: Exception, expected: Errors) -> bool:
    if isinstance(error, ExceptionGroup) and not isinstance(error, expected):
        return all(_is_expected(each, expected) for each in error.exceptions)
    return isinstance(error, expected)


@asynccontextmanager
async def _conversation(trial: Trial) -> AsyncGenerator[None, None]:
    with noting_logged_errors(trial.note_logged):
        async with background_tasks() as nursery:
            nursery.start_soon(trial.run)
            nursery.start_soon(_drop_output, trial.client)
            try:
                if trial.data:
                    await trial.client.send_all(trial.data)
                await wait_until_idle(patience=0)  # threads that work are what it is doing
                trial.check_what_it_did_by_itself()
                yield
            finally:
                await trio.aclose_forcefully(trial.client)


async def _drop_output(client: trio.abc.ReceiveStream) -> None:
    with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
        async for _ in client:
            pass


async def _end_input(trial: Trial) -> None:
    with suppress(trio.ClosedResourceError, trio.BrokenResourceError):  # the handler may have ended before
        await trial.client.send_eof()


async def _ends_with_its_input(trial: Trial) -> None:
    await _end_input(trial)
    await trial.must_end("the client ends its side")


async def _ends_when_broken(trial: Trial) -> None:
    trial.stream.break_now()
    await trial.must_end("the connection breaks")


async def _ends_when_cancelled(trial: Trial) -> None:
    steps = _Steps(trial)
    trio.lowlevel.add_instrument(steps)
    try:
        steps.cancel()
        quiet_turns = 0
        while quiet_turns < _QUIET_TURNS and steps.count < _MAX_STEPS_TO_END and not trial.over.is_set():
            count = steps.count
            await trio.lowlevel.checkpoint()
            quiet_turns = quiet_turns + 1 if steps.count == count else 0
    finally:
        trio.lowlevel.remove_instrument(steps)
    if steps.count >= _MAX_STEPS_TO_END:  # instead of ending or waiting, and no clock would go on meanwhile
        trial.fail("goes on and on when it is cancelled: trio.Cancelled has to leave every callback")
    await trial.must_end("it is cancelled")
    if steps.raised_in_run and not trial.scope.cancelled_caught:
        trial.fail("keeps the cancellation for itself: trio.Cancelled has to leave run()")


class _Steps(trio.abc.Instrument):
    """Cancels a handler, notes where that raises `trio.Cancelled`, and counts the steps that its task takes."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._cancelling = False
        self.raised_in_run = False
        self.count = 0

    def cancel(self) -> None:
        self._cancelling = True
        self._trial.scope.cancel()
        self._cancelling = False

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if self._cancelling:
            self.raised_in_run = self.raised_in_run or task is self._trial.task
            self._trial.keepers.note_raised(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self._trial.task


async def _ends_when_stopped(trial: Trial) -> None:
    trial.chat.close_when_idle()
    await wait_until_idle()
    await _end_input(trial)
    await trial.must_end("it is to stop, and the client ends its side")
