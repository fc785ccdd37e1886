"""Load settings compared in a world where the KV cache decides what fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.context.options import TestOptions
from lmstrix.context.tune import Tuning, variants
from lmstrix.context.tuning import tune
from lmstrix.errors import OutOfMemoryError, UnreachableError, UnsupportedError
from lmstrix.store import Entry
from lmstrix.types import LoadConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmstrix.types import Instance, Model

ROOM = {None: 3000, "q8_0": 6000, "q4_0": 8192}


@pytest.fixture
def here(bench: Callable[..., Any]) -> Any:
    """A model of 8,192 tokens; a quarter of the bytes per token, four times the context."""
    made = bench()
    load = made.world.load

    async def by_type(model: Model, config: LoadConfig, **options: Any) -> Instance:
        if config.flash_attention is False:
            raise UnsupportedError("This server has it always on.")
        if (config.context_tokens or 0) > ROOM[config.kv_type_k]:
            raise OutOfMemoryError("full", model=model.key, context_tokens=config.context_tokens)
        return await load(model, config, **options)

    made.world.load = by_type
    return made


async def tuned(here: Any, **options: Any) -> Tuning:
    return await tune(
        Entry(model=here.model, added_at=0.0),
        here.world,
        here.store,
        TestOptions(**options),
        variants(LoadConfig()),
        settings=here.settings,
        places=here.places,
        on_event=here._take,
    )


async def test_the_settings_that_hold_most_are_found(here: Any):
    found = await tuned(here)
    by_type = {one.load.kv_type_k: one for one in found.tried if one.usable_tokens}
    assert by_type["q4_0"].usable_tokens == 8192
    assert 5900 <= by_type["q8_0"].usable_tokens <= 6000
    assert found.best is not None
    assert found.tried[found.best].load.kv_type_k == "q4_0"
    assert here.world.instances == {}


async def test_speeds_are_compared_at_one_length(here: Any):
    found = await tuned(here)
    lengths = [one.speed.tokens for one in found.tried if one.speed is not None]
    assert len(lengths) >= 3
    assert max(lengths) - min(lengths) < 0.1 * min(lengths)
    assert max(lengths) <= 3000


async def test_every_choice_has_a_result_of_its_own_in_the_store(here: Any):
    found = await tuned(here)
    kept = {result.id: result for result in here.store.results(here.model)}
    for one in found.tried:
        if one.result is not None:
            assert kept[one.result.id].key.load == one.load


async def test_what_the_server_cannot_do_says_why_and_hinders_nothing(here: Any):
    found = await tuned(here)
    off = next(one for one in found.tried if one.load.flash_attention is False)
    assert off.usable_tokens == 0
    assert off.why_not


async def test_a_server_that_is_gone_is_an_error_and_what_was_tested_is_kept(here: Any):
    here.world.calls_left = 25
    with pytest.raises(UnreachableError):
        await tuned(here)
    here.world.calls_left = 10**9
    assert (await tuned(here)).best is not None


async def test_nothing_is_tested_twice(here: Any):
    await tuned(here)
    asked, loaded = len(here.world.asked), len(here.world.loaded)
    await tuned(here)
    assert (len(here.world.asked), len(here.world.loaded)) == (asked, loaded)


async def test_without_time_nothing_is_recommended(here: Any):
    found = await tuned(here, budget_s=1e-6)
    assert found.best is None
    assert all(one.why_not or not one.usable_tokens for one in found.tried)
