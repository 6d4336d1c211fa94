"""Waiting until nothing goes on any more, which has to come to an end whatever goes on."""

from __future__ import annotations

import gc
import threading

import trio

from trio_chat.testing._idleness import wait_until_idle


async def test_a_thread_that_never_ends_is_not_waited_for_without_end() -> None:
    async def wait_in_a_thread() -> None:
        await trio.to_thread.run_sync(go_on.wait)

    go_on = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_in_a_thread)
        try:
            assert await wait_until_idle(patience=0.01)
        finally:
            go_on.set()


async def test_who_never_rests_is_told_from_who_is_idle() -> None:
    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    assert await wait_until_idle()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spin)
        assert not await wait_until_idle()
        nursery.cancel_scope.cancel()


async def test_no_instrument_is_left_behind() -> None:
    def instruments() -> int:
        return sum(issubclass(type(thing), trio.abc.Instrument) for thing in gc.get_objects())

    before = instruments()
    await wait_until_idle()
    assert instruments() <= before
