"""Rounds of tool use, for asyncio: tools run while the model still writes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmstrix.lmstudio.acting import Act
    from lmstrix.lmstudio.async_models import AsyncLLM
    from lmstrix.lmstudio.results import ActResult
    from lmstrix.lmstudio.tools import PreparedCall


async def run_act(llm: AsyncLLM, act: Act) -> ActResult:
    """Ask, run what is called, and ask again until nothing is."""
    most = act.wishes.max_parallel_tool_calls
    slots = None if most is None else asyncio.Semaphore(most)
    while not act.done:
        prediction = act.next_round()
        running: dict[int, asyncio.Task[Any]] = {}
        try:
            async with aclosing(llm.prediction_stream(prediction).events()) as events:
                async for event in events:
                    prepared = act.take(event)
                    if prepared is not None:
                        running[prepared[0]] = asyncio.create_task(_run(prepared[1], slots))
            await _end(act, running)
        finally:
            for task in running.values():
                task.cancel()
        act.end_round(prediction)
    return act.result


async def _end(act: Act, running: dict[int, asyncio.Task[Any]]) -> None:
    for number, task in running.items():
        try:
            value = await task
        except Exception as problem:  # noqa: BLE001  # the caller's code; the model is told
            act.fail(number, problem)
        else:
            act.succeed(number, value)


async def _run(call: PreparedCall, slots: asyncio.Semaphore | None) -> Any:
    async with AsyncExitStack() as held:
        if slots is not None:
            await held.enter_async_context(slots)
        if call.is_async:
            return await call.implementation(**call.arguments)
        return await asyncio.to_thread(call.implementation, **call.arguments)
