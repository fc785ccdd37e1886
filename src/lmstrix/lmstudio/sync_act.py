"""Rounds of tool use, for threads: tools run while the model still writes."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmstrix.lmstudio.acting import Act
    from lmstrix.lmstudio.results import ActResult
    from lmstrix.lmstudio.sync_models import LLM
    from lmstrix.lmstudio.tools import PreparedCall

_MANY_THREADS = 64


def run_act(llm: LLM, act: Act) -> ActResult:
    """Ask, run what is called, and ask again until nothing is."""
    with ThreadPoolExecutor(act.wishes.max_parallel_tool_calls or _MANY_THREADS) as pool:
        while not act.done:
            prediction = act.next_round()
            running: dict[int, Future[Any]] = {}
            stream = llm.prediction_stream(prediction)
            try:
                for event in stream.events():
                    prepared = act.take(event)
                    if prepared is not None:
                        running[prepared[0]] = pool.submit(_run, prepared[1])
            except BaseException:
                for future in running.values():
                    future.cancel()
                raise
            for number, future in running.items():
                try:
                    value = future.result()
                except Exception as problem:  # noqa: BLE001  # the caller's code; the model is told
                    act.fail(number, problem)
                else:
                    act.succeed(number, value)
            act.end_round(prediction)
    return act.result


def _run(call: PreparedCall) -> Any:
    if call.is_async:
        return asyncio.run(call.implementation(**call.arguments))
    return call.implementation(**call.arguments)
