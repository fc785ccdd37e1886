from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import asdict, replace

from lmstrix.context.options import Stage, TestOptions
from lmstrix.context.runner import plan_test
from lmstrix.context.runner import test_models as run_tests
from lmstrix.errors import BusyError, UnreachableError, UsageError
from lmstrix.results import FailureKind, ProbeKind, TestStatus, Verdict
from lmstrix.store import Entry
from lmstrix.types import Instance, LoadConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from lmstrix.config import Places
    from lmstrix.store import Store

HOLDER = """
import os, sys, filelock
from pathlib import Path
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
Path(sys.argv[1]).with_suffix(".pid").write_text(str(os.getpid()))
print("held", flush=True)
sys.stdin.read()
"""


async def test_a_model_without_limits_is_found_whole_and_loaded_as_few_times_as_possible(
    bench: Any,
) -> None:
    at = bench()
    result = await at.run()
    assert result.status is TestStatus.COMPLETED
    for limit in (result.loadable, result.processable, result.effective):
        assert (limit.verdict, limit.tokens) == (Verdict.FOUND, 8192)
        assert limit.evidence
    assert at.world.loaded == sorted(set(at.world.loaded)), "nothing is loaded twice"
    assert result.loads == len(at.world.loaded)
    assert not at.world.instances, "its own instance is unloaded"


@pytest.mark.parametrize("limit", [700, 3000, 5001, 8191])
async def test_loadable_is_found_within_a_percent_and_never_above_the_truth(
    bench: Any, limit: int
) -> None:
    result = await bench(loads_up_to=limit).run(fast=True)
    assert limit - max(32, limit * 0.011) <= result.loadable.tokens <= limit
    assert result.loadable.verdict is Verdict.FOUND
    assert result.loadable.failure is FailureKind.OUT_OF_MEMORY
    assert result.loadable.below_tokens > limit
    assert result.processable.tokens == result.loadable.tokens


async def test_sizes_that_a_server_rounds_to_the_same_are_not_tried_twice(bench: Any) -> None:
    at = bench(loads_up_to=5000, rounds_up_to=256)
    result = await at.run(fast=True)
    assert result.loadable.tokens == 4864
    assert result.loadable.below_tokens == 4865
    rounded = [-(-size // 256) for size in at.world.loaded]
    assert len(rounded) == len(set(rounded))


async def test_nothing_that_loads_is_a_failed_test_with_its_reason(bench: Any) -> None:
    at = bench(loads_up_to=10)
    result = await at.run()
    assert result.status is TestStatus.FAILED
    assert result.failure is FailureKind.OUT_OF_MEMORY
    assert result.loadable.verdict is Verdict.NONE
    assert result.processable.verdict is Verdict.NOT_TESTED
    assert (await at.run()).id == result.id, "and is not tried again"


async def test_a_server_that_gives_less_than_asked_is_not_believed(bench: Any) -> None:
    result = await bench(gives_at_most=2048).run(fast=True)
    assert result.loadable.tokens == 2048
    assert result.loadable.failure is FailureKind.LOAD_REFUSED
    assert "gave 2,048" in " ".join(result.loadable.evidence)


async def test_a_server_that_cuts_prompts_is_reported_as_truncating(bench: Any) -> None:
    result = await bench(reads_at_most=3000).run(fast=True)
    assert result.loadable.tokens == 8192
    assert result.processable.failure is FailureKind.SILENT_TRUNCATION
    assert 2900 <= result.processable.tokens <= 3100
    assert "without saying so" in " ".join(result.processable.evidence)
    assert "cut without a word" in " ".join(result.processable.evidence)


async def test_without_a_count_missed_markers_show_the_cut(bench: Any) -> None:
    result = await bench(reads_at_most=3000, tells_count=False).run(fast=True)
    assert result.processable.failure is FailureKind.SILENT_TRUNCATION
    assert result.processable.tokens < 4000


async def test_an_engine_that_dies_on_long_prompts_is_a_crash_at_that_size(bench: Any) -> None:
    at = bench(dies_above=4000)
    result = await at.run(fast=True)
    assert result.loadable.tokens == 8192
    assert result.processable.failure is FailureKind.CRASH
    assert 3900 <= result.processable.tokens <= 4100
    assert not at.world.instances


async def test_silence_while_processing_is_a_hang(bench: Any) -> None:
    result = await bench(hangs_above=6000).run(fast=True, economical=True)
    assert result.processable.failure is FailureKind.HANG
    assert result.processable.tokens <= 6100


async def test_silence_while_loading_is_a_hang(bench: Any) -> None:
    result = await bench(hangs_loading_above=6000).run(fast=True, economical=True)
    assert result.loadable.failure is FailureKind.HANG
    assert result.loadable.tokens <= 6000


async def test_a_probe_that_takes_longer_than_it_may_is_a_timeout(bench: Any) -> None:
    at = bench(hangs_loading_above=6000)
    result = await at.run(fast=True, economical=True, timeout_s=0.1)
    assert result.loadable.failure is FailureKind.TIMEOUT


async def test_answers_that_get_worse_end_the_effective_limit(bench: Any) -> None:
    result = await bench(understands_up_to=3000).run()
    assert result.processable.tokens == 8192
    assert result.effective.verdict is Verdict.FOUND
    assert 2500 <= result.effective.tokens <= 3100
    means = {point.tokens: point.mean for point in result.curve}
    assert means[1024] == 1.0
    assert means[8192] == 0.0 if 8192 in means else True
    assert all(point.prompt_tokens_per_s == 1000 for point in result.curve)


async def test_a_family_that_the_model_cannot_do_is_left_out_and_named(bench: Any) -> None:
    result = await bench().run()
    assert "latent" in " ".join(result.effective.evidence)
    assert result.effective.tokens == 8192


async def test_a_model_that_says_nothing_useful_still_has_two_limits(bench: Any) -> None:
    at = bench(understands_up_to=0)
    result = await at.run()
    assert result.status is TestStatus.COMPLETED
    assert result.processable.tokens == 8192
    assert result.effective.tokens is None
    assert (await at.run()).id == result.id


async def test_questions_of_one_haystack_follow_each_other_on_one_instance(bench: Any) -> None:
    at = bench()
    await at.run()
    assert len(at.world.unloaded) == len(at.world.loaded)
    assert len(at.world.asked) > 50


async def test_an_embedding_model_is_loaded_and_filled_and_has_no_effective_limit(
    bench: Any, worlds: ModuleType
) -> None:
    result = await bench(worlds.embedding()).run()
    assert result.loadable.tokens == result.processable.tokens == 512
    assert result.effective.verdict is Verdict.NOT_APPLICABLE


async def test_an_embedding_model_that_takes_less_than_it_says(
    bench: Any, worlds: ModuleType
) -> None:
    result = await bench(worlds.embedding(), dies_above=300).run()
    assert result.loadable.tokens == 512
    assert result.processable.tokens <= 320
    assert result.processable.failure is FailureKind.CRASH


async def test_one_size_alone_is_tried_with_ctx(bench: Any) -> None:
    at = bench()
    result = await at.run(context_tokens=4096)
    assert at.world.loaded == [4096]
    assert result.loadable.verdict is Verdict.AT_LEAST
    assert result.processable.tokens == 4096
    assert result.effective.verdict is Verdict.NOT_TESTED
    whole = await at.run(fast=True)
    assert whole.loadable.tokens == 8192, "a later test of the whole is not answered by it"
    assert 4096 not in at.world.loaded[1:], "what is known is not loaded again"


async def test_a_size_known_to_be_bad_is_tried_again_only_with_force(bench: Any) -> None:
    at = bench(loads_up_to=3000)
    first = await at.run(context_tokens=4096)
    assert first.status is TestStatus.FAILED
    assert (first.loadable.tokens, first.loadable.below_tokens) == (None, 4096)
    await at.run(context_tokens=6000)
    await at.run(fast=True)
    assert 4096 not in at.world.loaded[1:]
    assert max(at.world.loaded[1:]) < 4096
    await at.run(context_tokens=4096, force=True)
    assert at.world.loaded[-1] == 4096


async def test_what_a_server_would_round_to_a_bad_size_is_not_tried_either(bench: Any) -> None:
    at = bench(loads_up_to=3900, rounds_up_to=256)
    await at.run(context_tokens=4096)
    result = await at.run(fast=True)
    assert result.loadable.tokens == 3840
    assert all(-(-size // 256) * 256 < 4096 for size in at.world.loaded[1:])


async def test_the_threshold_is_never_passed(bench: Any) -> None:
    at = bench()
    result = await at.run(threshold_tokens=2000, fast=True)
    assert max(at.world.loaded) == 2000
    assert (result.loadable.verdict, result.loadable.tokens) == (Verdict.AT_LEAST, 2000)
    assert (await at.run(threshold_tokens=2000, fast=True)).id == result.id


async def test_what_the_threshold_ends_is_no_limit_of_the_model(bench: Any) -> None:
    result = await bench().run(threshold_tokens=2000)
    for limit in (result.loadable, result.processable, result.effective):
        assert (limit.verdict, limit.tokens) == (Verdict.AT_LEAST, 2000)


async def test_without_a_known_memory_need_the_ceiling_is_102_400(
    bench: Any, worlds: ModuleType
) -> None:
    at = bench(worlds.model(declared=10**6))
    result = await at.run(fast=True)
    assert max(at.world.loaded) == result.loadable.tokens == 102_400


async def test_a_size_above_what_is_allowed_is_refused_before_anything_is_done(bench: Any) -> None:
    at = bench()
    with pytest.raises(UsageError, match="declares 8,192"):
        await at.run(context_tokens=9000)
    with pytest.raises(UsageError, match="held to 1,000"):
        await at.run(context_tokens=2000, threshold_tokens=1000)
    assert not at.world.loaded


async def test_a_finished_result_stays_until_reset(bench: Any) -> None:
    at = bench()
    first = await at.run()
    loads = len(at.world.loaded)
    assert (await at.run()).id == first.id
    assert len(at.world.loaded) == loads
    again = await at.run(reset=True)
    assert again.id != first.id
    assert len(at.world.loaded) > loads


async def test_a_result_of_an_older_engine_is_confirmed_by_one_probe(
    bench: Any, store: Store
) -> None:
    at = bench()
    first = await at.run()
    assert first.engine == "world 1"
    at.world.engine = "world 2"
    loads, asked = len(at.world.loaded), len(at.world.asked)
    again = await at.run()
    assert (again.id, again.engine) == (first.id, "world 2")
    assert again.effective == first.effective
    assert at.world.loaded[loads:] == [8192]
    assert len(at.world.asked) - asked == 4
    assert store.probes(first.id)[-1].kind is ProbeKind.PROCESS
    assert not at.world.instances


async def test_an_older_result_that_is_not_confirmed_is_found_anew(bench: Any) -> None:
    at = bench()
    first = await at.run(fast=True)
    at.world.engine = "world 2"
    at.world.dies_above = 6000
    again = await at.run(fast=True)
    assert again.id != first.id
    assert again.processable.tokens <= 6100
    assert again.processable.failure is FailureKind.CRASH


async def test_quality_is_added_to_a_fast_result_without_searching_again(bench: Any) -> None:
    at = bench(loads_up_to=5000)
    fast = await at.run(fast=True)
    loads = len(at.world.loaded)
    full = await at.run()
    assert full.loadable.tokens == fast.loadable.tokens
    assert full.effective.tokens == full.processable.tokens
    assert len(at.world.loaded) == loads + 1


async def test_other_load_settings_reuse_the_effective_limit_they_do_not_change(
    bench: Any,
) -> None:
    at = bench()
    first = await at.run()
    asked = len(at.world.asked)
    at.world.loads_up_to = 5000
    capped = await at.run(load=LoadConfig(memory_limit_bytes=10**9))
    assert capped.effective.tokens == capped.processable.tokens < 5000
    assert len(at.world.asked) - asked <= 10
    assert str(first.id) in capped.effective.evidence[-1]


async def test_an_unreachable_server_is_no_failure_of_the_model(bench: Any, store: Store) -> None:
    at = bench()
    at.world.calls_left = 12
    with pytest.raises(UnreachableError):
        await at.run()
    kept = store.loadable_results(at.events[0].result.key)[0]
    assert kept.status is TestStatus.INTERRUPTED
    at.world.calls_left = 10**9
    resumed = await at.run()
    assert resumed.id == kept.id
    assert resumed.effective.tokens == 8192


async def test_the_budget_is_kept_and_ends_in_at_least(bench: Any) -> None:
    at = bench(hangs_loading_above=4000)
    at.settings = replace(at.settings, timeouts=replace(at.settings.timeouts, load_s=60.0))
    result = await at.run(budget_s=0.4, timeout_s=60)
    assert result.status is TestStatus.COMPLETED
    assert result.loadable.verdict is Verdict.AT_LEAST
    assert result.loadable.below_tokens is None, "what the budget cut off is not bad"
    assert "time" in " ".join(result.notes)
    at.world.hangs_loading_above = 10**9
    assert (await at.run()).loadable.tokens == 8192, "and a later test goes on"


async def test_cancelling_leaves_the_test_resumable_and_the_server_tidy(
    bench: Any, store: Store
) -> None:
    at = bench()
    reached = asyncio.Event()

    def listen(event: Any) -> None:
        if event.stage is Stage.ANSWER and event.probe >= 6:
            at.world.hangs_above = 0
            reached.set()

    at.settings = replace(at.settings, timeouts=replace(at.settings.timeouts, prompt_s=60.0))
    at.listen = listen
    running = asyncio.create_task(at.run())
    async with asyncio.timeout(30):
        await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not at.world.instances
    kept = store.loadable_results(at.events[0].result.key)[0]
    assert kept.status is TestStatus.INTERRUPTED
    probes = store.probes(kept.id)
    assert probes[-1].outcome.failure is FailureKind.INTERRUPTED
    at.listen = lambda _: None
    at.world.hangs_above = 10**9
    asked = len(at.world.asked)
    resumed = await at.run()
    assert resumed.id == kept.id
    assert resumed.effective.tokens == 8192
    done = [p for p in probes if p.kind is ProbeKind.ANSWER and p.outcome.ok]
    fresh = [p for p in store.probes(kept.id)[len(probes) :] if p.kind is ProbeKind.ANSWER]
    assert len(at.world.asked) - asked == sum(len(p.outcome.scores) for p in fresh)
    assert len(done) >= 1


async def test_an_interrupted_test_tells_what_was_asked_of_it_and_does_not_repeat_itself(
    bench: Any, store: Store
) -> None:
    at = bench(loads_up_to=3000)
    asked = {"fast": True, "force": True, "threshold_tokens": 4096, "timeout_s": 7.0}

    def listen(event: Any) -> None:
        if event.stage is Stage.PROCESS:
            asyncio.current_task().cancel()

    at.listen = listen
    run = asyncio.create_task(at.run(**asked, budget_s=60.0))
    await asyncio.wait([run])
    assert run.cancelled()
    at.listen = lambda _: None
    (left,) = store.interrupted()
    again = TestOptions().after(left)
    assert again == TestOptions(**asked)
    other = TestOptions(threshold_tokens=2048, load=LoadConfig(threads=2)).after(left)
    assert other == replace(again, threshold_tokens=2048, load=LoadConfig(threads=2))
    tried = len(at.world.loaded)
    resumed = await at.run(**asdict(again))
    assert resumed.id == left.id
    assert 2900 < resumed.loadable.tokens <= 3000
    assert max(at.world.loaded[:tried]) > 3000
    assert max(at.world.loaded[tried:]) <= 3000, "what failed in this very test is not tried again"


async def test_instances_of_others_are_left_alone(bench: Any) -> None:
    at = bench()
    theirs = Instance(
        id="theirs", model_key=at.model.key, provider="world", server="nowhere", context_tokens=99
    )
    at.world.instances["theirs"] = theirs
    await at.run(fast=True)
    assert at.world.instances == {"theirs": theirs}


async def test_what_a_dead_tool_left_loaded_is_ended_first(bench: Any) -> None:
    at = bench()
    await at.run(fast=True)
    own = at.world.unloaded[0]
    at.world.instances[own] = Instance(
        id=own, model_key=at.model.key, provider="world", server="nowhere", context_tokens=99
    )
    await at.run()
    assert own not in at.world.instances


async def test_a_second_test_of_the_same_model_is_told_which_process_has_it(
    bench: Any, places: Places
) -> None:
    at = bench()
    await at.run(fast=True)
    lock = next(places.locks.glob("*.lock"))
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOLDER,
        str(lock),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert (await holder.stdout.readline()).strip() == b"held"
        with pytest.raises(BusyError) as busy:
            await at.run()
        assert busy.value.pid == holder.pid
        at.model = replace(at.model, key="other", identity="other")
        assert (await at.run(fast=True)).status is TestStatus.COMPLETED
    finally:
        holder.stdin.close()
        await holder.wait()


async def test_models_are_tested_in_the_order_given_and_a_failure_stops_none(
    bench: Any, worlds: ModuleType, store: Store, places: Places
) -> None:
    models = [
        worlds.model("large", size_bytes=300),
        replace(worlds.model("broken", size_bytes=200), server="elsewhere"),
        worlds.model("small", size_bytes=100),
    ]
    worlds_by_key = {m.key: worlds.World() for m in models}
    worlds_by_key["broken"].calls_left = 3
    at = bench()
    results = await run_tests(
        [Entry(model=m, added_at=0.0) for m in models],
        lambda m: worlds_by_key[m.key],
        store,
        TestOptions(fast=True),
        settings=at.settings,
        places=places,
        on_event=at.events.append,
    )
    assert [r.model_key for r in results] == ["large", "broken", "small"]
    assert [r.status.value for r in results] == ["completed", "interrupted", "completed"]
    assert results[1].failure is FailureKind.UNREACHABLE
    assert at.events[-1].stage is Stage.DONE


async def test_a_plan_says_what_would_be_done_and_does_nothing(
    bench: Any, store: Store, places: Places
) -> None:
    at = bench(loads_up_to=3000)

    async def plan(**options: Any) -> Any:
        return await plan_test(
            Entry(model=at.model, added_at=0.0),
            at.world,
            store,
            TestOptions(**options),
            settings=at.settings,
            places=places,
        )

    first = await plan()
    assert first.ceiling_tokens == 8192
    assert first.sizes
    assert list(first.sizes) == sorted(first.sizes, reverse=True)
    assert first.kept is None
    assert not at.world.loaded
    done = await at.run(fast=True)
    later = await plan(fast=True)
    assert later.kept is not None
    assert later.kept.id == done.id
    assert later.known_good == done.loadable.tokens
    assert later.known_bad == done.loadable.below_tokens
    assert (await plan(fast=True, force=True)).kept is None


async def test_events_tell_stage_size_progress_and_what_is_found_so_far(bench: Any) -> None:
    at = bench()
    result = await at.run()
    stages = [event.stage for event in at.events]
    assert list(dict.fromkeys(stages)) == [Stage.LOAD, Stage.PROCESS, Stage.ANSWER, Stage.DONE]
    assert any(event.fraction == 1.0 for event in at.events)
    assert at.events[-1].result == result
    assert all(event.model_key == "a-model" for event in at.events)
    numbers = [event.probe for event in at.events[:-1]]
    assert numbers == sorted(numbers)


async def test_the_budget_and_the_reset_are_for_all_models_together(
    bench: Any, worlds: ModuleType, store: Store, places: Places
) -> None:
    at = bench()
    models = [worlds.model("one", size_bytes=1), worlds.model("two", size_bytes=2)]

    async def run_all(**options: Any) -> list[Any]:
        return await run_tests(
            [Entry(model=m, added_at=0.0) for m in models],
            lambda _: at.world,
            store,
            TestOptions(fast=True, **options),
            settings=at.settings,
            places=places,
        )

    late = await run_all(budget_s=1e-9)
    assert {result.status for result in late} == {TestStatus.UNTESTED}
    assert not at.world.loaded
    first = await run_all(budget_s=600)
    assert [r.id for r in await run_all()] == [r.id for r in first]
    loads = len(at.world.loaded)
    again = await run_all(reset=True)
    assert [r.loadable.tokens for r in again] == [8192, 8192]
    assert len(at.world.loaded) == 2 * loads
    assert len(list(places.backups.iterdir())) == 1


async def test_a_busy_model_does_not_stop_the_others(
    bench: Any, worlds: ModuleType, store: Store, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = bench()
    monkeypatch.setattr(
        "lmstrix.context.runner.testing", lambda key, *_: _refuse() if key == "one" else _allow()
    )
    results = await run_tests(
        [Entry(model=worlds.model(key), added_at=0.0) for key in ("one", "two")],
        lambda _: at.world,
        store,
        TestOptions(fast=True),
        settings=at.settings,
        places=places,
    )
    assert [r.status for r in results] == [TestStatus.FAILED, TestStatus.COMPLETED]
    assert "held" in results[0].notes[0]


@contextmanager
def _allow() -> Iterator[None]:
    yield


@contextmanager
def _refuse() -> Iterator[None]:
    raise BusyError("It is held.", pid=1)
    yield


@pytest.mark.parametrize("end", ["cancelled", "listener broken"])
async def test_an_end_at_any_event_leaves_a_tidy_journal_and_blames_no_size(
    bench: Any, end: str
) -> None:
    at = bench()
    expected = await at.run(fast=True)
    for number in range(len(at.events)):
        at.store.reset_tests()
        left = iter(range(number))

        def listen(event: object, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                if end == "listener broken":
                    raise BrokenPipeError
                asyncio.current_task().cancel()

        at.listen = listen
        run = asyncio.create_task(at.run(fast=True))
        await asyncio.wait([run])
        assert run.cancelled() or isinstance(run.exception(), BrokenPipeError | None)
        assert not at.world.instances
        for result in at.store.loadable_results(expected.key):
            assert result.status is not TestStatus.TESTING
            for probe in at.store.probes(result.id):
                assert probe.outcome is not None, f"event {number} left a probe open"
                assert probe.outcome.ok or not probe.outcome.failure.blames_model
