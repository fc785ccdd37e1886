"""Where the first guess of a limit comes from, and the loads that it saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lmstrix.context.plan import UNKNOWN_MEMORY_CEILING
from lmstrix.context.priors import expectation_of, of_architecture
from lmstrix.context.search import Estimate
from lmstrix.results import Limit, TestKey, TestResult, TestStatus, Verdict
from lmstrix.store import Entry
from lmstrix.types import Listing, LoadConfig, Model

if TYPE_CHECKING:
    from types import ModuleType

    from lmstrix.store import Store

GIB = 2**30


def tested(key: str, size_gib: float, limit: Limit, **fields: Any) -> Entry:
    model = Model(
        **{
            "key": key,
            "provider": "lmstudio",
            "server": "http://10.0.0.7:1234",
            "architecture": "llama",
            "size_bytes": int(size_gib * GIB),
            "declared_context_tokens": 131072,
            **fields,
        }
    )
    test = TestKey(identity=key, provider="lmstudio", machine="m")
    result = TestResult(
        key=test, model_key=key, status=TestStatus.COMPLETED, started_at=0.0, loadable=limit
    )
    return Entry(model=model, added_at=0.0, result=result)


def ended(tokens: int) -> Limit:
    return Limit(verdict=Verdict.FOUND, tokens=tokens, below_tokens=tokens + 256)


MODEL = tested("new", 5.0, Limit()).model


def test_a_model_alike_is_expected_to_hold_as_much():
    prior = of_architecture(MODEL, [tested("alike", 5.2, ended(20_000))])
    assert prior == Estimate(20_000, 0.25)


def test_of_several_the_one_nearest_in_size_counts():
    others = [tested("small", 2, ended(90_000)), tested("alike", 5.2, ended(20_000))]
    prior = of_architecture(MODEL, others)
    assert prior is not None
    assert prior.tokens == 20_000
    far = of_architecture(MODEL, others[:1])
    assert far == Estimate(90_000, 0.6)


def test_where_a_larger_one_held_all_it_declares_all_is_expected():
    whole = Limit(verdict=Verdict.FOUND, tokens=32_768)
    prior = of_architecture(MODEL, [tested("large", 8, whole)])
    assert prior is not None
    assert prior.tokens == 131_072
    assert of_architecture(MODEL, [tested("small", 2, whole)]) is None


def test_nothing_follows_from_other_architectures_places_and_tests():
    others = [
        tested("other", 5, ended(20_000), architecture="qwen3"),
        tested("elsewhere", 5, ended(20_000), server="http://10.0.0.8:1234"),
        tested("undecided", 5, replace(ended(20_000), verdict=Verdict.AT_LEAST)),
        tested("new", 5, ended(20_000)),
    ]
    assert of_architecture(MODEL, others) is None


async def test_the_servers_own_word_is_asked_for_before_anything_is_loaded(
    bench: Any, worlds: ModuleType, store: Store
):
    world = worlds.World(says_fits_up_to=5000)
    settings = bench().settings
    prior = await expectation_of(worlds.model(), LoadConfig(), world, store, settings=settings)
    assert prior == (Estimate(4864, 0.2), True)
    assert not world.loaded


async def test_a_server_that_says_yes_to_everything_has_said_nothing(
    bench: Any, worlds: ModuleType, store: Store
):
    world = worlds.World(says_fits_up_to=2**40)
    settings = bench().settings
    prior = await expectation_of(worlds.model(), LoadConfig(), world, store, settings=settings)
    assert prior == (None, False)


async def test_what_is_only_known_of_others_keeps_the_careful_ceiling(
    bench: Any, worlds: ModuleType, store: Store
):
    older = worlds.model("older", declared=131_072, architecture="llama", size_bytes=5 * GIB)
    newer = worlds.model("newer", declared=131_072, architecture="llama", size_bytes=5 * GIB)
    store.record_listing("world", "nowhere", Listing(models=(older, newer)), at=0.0)
    await bench(older, loads_up_to=20_000).run(fast=True, economical=True)
    at = bench(newer, loads_up_to=20_000)
    result = await at.run(fast=True, economical=True)
    assert max(at.world.loaded) <= UNKNOWN_MEMORY_CEILING
    assert result.loads <= 5
    assert 19_000 <= result.loadable.tokens <= 20_000


async def test_a_server_that_says_what_fits_saves_loads_and_one_that_is_wrong_costs_no_truth(
    bench: Any, store: Store
):
    blind = await bench(loads_up_to=5000).run(fast=True)
    store.reset_tests()
    told = await bench(loads_up_to=5000, says_fits_up_to=5000).run(fast=True)
    store.reset_tests()
    lied = await bench(loads_up_to=5000, says_fits_up_to=8192).run(fast=True)
    limits = {one.loadable.tokens // 50 for one in (blind, told, lied)}
    assert max(limits) - min(limits) <= 1
    assert told.loads < blind.loads
