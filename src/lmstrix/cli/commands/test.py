"""`lmstrix test`: measure the context a model really handles."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lmstrix.cli.formats import encode, format_option
from lmstrix.cli.invocation import Invocation, pass_invocation
from lmstrix.cli.options import (
    load_config,
    load_options,
    model_options,
    one_model,
    shared_load_arguments,
)
from lmstrix.cli.resetting import confirm_reset
from lmstrix.cli.root import command as declare
from lmstrix.cli.units import counted
from lmstrix.cli.values import DURATION, TOKENS
from lmstrix.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lmstrix.async_client import AsyncLMStrix
    from lmstrix.context.options import EventListener, TestOptions
    from lmstrix.results import TestResult
    from lmstrix.store import Entry


class Job(NamedTuple):
    """One model to test, by the name that finds it."""

    name: str
    entry: Entry
    options: TestOptions


SECTIONS = {
    "Which models": (
        "model_option", "every", "chosen", "keywords", "sort", "parallel", "interrupted",
    ),
    "How far": (
        "ctx", "fast", "curve", "threshold", "timeout", "budget", "force", "reset", "yes",
    ),
    "Loading": (
        "kv_type", "flash", "gpu_layers", "threads", "memory_limit", "tuned", "layers",
    ),
}  # fmt: skip
EXAMPLES = """\
\b
Examples:
  lmstrix test my-model
  lmstrix test --all --fast                 every model, without the quality part
  lmstrix test --all --parallel 3           on three servers at a time
  lmstrix test --filter 'size:<5GB' --budget 1h
  lmstrix test my-model --ctx 32k           this one size only
  lmstrix test --continue                   take up what was interrupted
  lmstrix test my-model --curve             quality and speed at every length
  lmstrix test my-model --tune              compare KV cache types and flash attention

Three limits are found. Loadable: the model loads, really that large. Processable: a prompt that
fills the context is processed whole. Effective: answers stay as good as at short lengths.
"""


@declare(name="test", epilog=EXAMPLES, sections=SECTIONS)
@model_options
@click.option("--all", "-a", "every", is_flag=True, help="Test every model that is there.")
@click.option("--filter", "chosen", metavar="FILTER", help="Test those that 'list FILTER' shows.")
@click.option("--key", "keywords", metavar="A,B", help="Test those with these words in their name.")
@click.option("--sort", metavar="KEY", help="Order of the tests, as in 'list'.  [default: smart]")
@click.option(
    "--parallel",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Test on so many servers at a time, one model on each.",
)
@click.option(
    "--continue",
    "interrupted",
    is_flag=True,
    help="Take up the tests that were interrupted, with the options they had.",
)
@click.option("--ctx", "-c", type=TOKENS, help="Test this one context size.")
@click.option("--fast", is_flag=True, help="Leave out the quality part (effective limit).")
@click.option("--curve", is_flag=True, help="Map quality and speed over prompt lengths as well.")
@click.option("--threshold", type=TOKENS, help="Never go above this context size.")
@click.option("--timeout", type=DURATION, help="Longest time for one probe.  [default: 600 s]")
@click.option("--budget", type=DURATION, help="Longest time for the whole: 30m, 2h.")
@click.option("--force", is_flag=True, help="Try sizes again that are known to be bad.")
@click.option("--reset", is_flag=True, help="Forget what was found before (a backup is taken).")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before --reset.")
@load_options
@click.option(
    "--tune", "tuned", is_flag=True, help="Compare KV cache types, flash attention and offload."
)
@click.option(
    "--tune-layers",
    "layers",
    metavar="N,N",
    callback=lambda _, __, text: parse_layers(text),
    help="With --tune: these numbers of layers on the GPU too.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done.")
@format_option()
@pass_invocation
def command(invocation: Invocation, /, **given: Any) -> int:
    """Find the context that MODEL really handles on this machine."""
    model = one_model(given["model"], given["model_option"])
    several = bool(given["every"] or given["chosen"] or given["keywords"] or given["interrupted"])
    if model is None and not several:
        raise UsageError(
            "Which model is to be tested?", hint="lmstrix test MODEL, or --all for every model."
        )
    if model is not None and (given["every"] or given["chosen"] or given["keywords"]):
        raise UsageError(f"Either {model!r} is to be tested or several, not both.")
    if given["dry_run"] and given["reset"]:
        raise UsageError("--dry-run changes nothing; --reset would.", hint="Leave one of them out.")
    if given["yes"] and not given["reset"]:
        raise UsageError("--yes answers the question of --reset; there is none without it.")
    if given["tuned"] and given["curve"]:
        raise UsageError("--tune and --curve are two things.", hint="One after the other.")
    if given["parallel"] > 1 and (given["curve"] or given["tuned"]):
        raise UsageError(
            "--parallel is for the limits alone.", hint="Leave out --curve and --tune."
        )
    if given["layers"] and not given["tuned"]:
        raise UsageError("--tune-layers says what --tune compares.", hint="Add --tune.")
    return invocation.run(_test(invocation, model, given))


async def _test(invocation: Invocation, model: str | None, given: Mapping[str, Any]) -> int:
    from lmstrix.cli.limits_report import (  # not needed for --help
        plan_data,
        plan_lines,
    )

    terminal = invocation.terminal
    async with invocation.client() as client:
        jobs = await _jobs(client, model, given)
        if given["dry_run"]:
            jobs = _tuned_jobs(jobs, given) if given["tuned"] else jobs
            plans = [await client.plan_test(job.name, options=job.options) for job in jobs]
            for plan in plans if given["form"] == "text" else ():
                terminal.print("\n".join(plan_lines(plan, terminal)))
            if given["form"] != "text":
                terminal.print(encode([plan_data(plan) for plan in plans], given["form"]))
            return 0
        if given["reset"]:
            _reset(invocation, jobs, given)
        if given["tuned"]:
            from lmstrix.cli.tuning_report import tune_all

            return await tune_all(invocation, client, jobs, given)
        results = await _run(invocation, client, jobs, given)
    _show(invocation, jobs, given, results)
    return _exit_code(results)


def _show(
    invocation: Invocation,
    jobs: Sequence[Job],
    given: Mapping[str, Any],
    results: Sequence[TestResult],
) -> None:
    """What was found; of servers that were silent only that they were."""
    from lmstrix.cli.limits_report import report_lines

    terminal = invocation.terminal
    ran, silent = _sorted_out(results)
    done = len(ran) + len(silent)
    if done < len(jobs):
        terminal.note(f"note: The budget ended after {done} of {len(jobs)} models.")
    for why, number in Counter(" ".join(one.notes) for one in silent).items():
        terminal.note(f"note: {counted(number, 'model')} left out: {why}")
    if given["form"] != "text":
        terminal.print(encode([*ran, *silent], given["form"]))
        return
    for line in report_lines(ran, terminal):
        terminal.print(line)
    for line in _curve_lines(ran) if given["curve"] else ():
        terminal.print(line)


def _sorted_out(
    results: Sequence[TestResult],
) -> tuple[list[TestResult], list[TestResult]]:
    """Those that ran, and those whose server was silent; others had no time."""
    from lmstrix.results import FailureKind, TestStatus

    silent = [one for one in results if one.failure is FailureKind.UNREACHABLE]
    ran = [one for one in results if one not in silent and one.status is not TestStatus.UNTESTED]
    return ran, silent


def _curve_lines(results: Sequence[TestResult]) -> Iterator[str]:
    from lmstrix.cli.commands.info import curve_lines
    from lmstrix.registry.layout import one_line

    for result in (result for result in results if result.curve):
        yield ""
        yield one_line(f"{result.model_key}: quality and speed by prompt length")
        yield from (f"  {line}" for line in curve_lines(result.curve))


def _tuned_jobs(jobs: Sequence[Job], given: Mapping[str, Any]) -> list[Job]:
    """Each job once for each of the load settings that are compared."""
    from msgspec.structs import replace

    from lmstrix.context.tune import variants

    return [
        job._replace(options=replace(job.options, load=load))
        for job in jobs
        for load in variants(job.options.load, gpu_layers=given["layers"])
    ]


def parse_layers(text: str | None) -> tuple[int, ...]:
    """`0,20,99` as numbers. Raises `UsageError`."""
    pieces = [piece.strip() for piece in (text or "").split(",") if piece.strip()]
    if not all(piece.isdecimal() for piece in pieces):
        raise UsageError(
            f"--tune-layers {text}: expected numbers of layers.", hint="--tune-layers 0,20,99"
        )
    return tuple(int(piece) for piece in pieces)


def _reset(invocation: Invocation, jobs: Sequence[Job], given: Mapping[str, Any]) -> None:
    """Forget all at once, so that the one backup has everything."""
    from lmstrix.store import Store

    if not given["yes"]:
        confirm_reset(len(jobs))
    with Store.open(invocation.places.database) as store:
        store.reset_tests([job.entry.model for job in jobs])


async def _jobs(client: AsyncLMStrix, model: str | None, given: Mapping[str, Any]) -> list[Job]:
    """What to test, in order. Raises `NotFoundError` where there is nothing."""
    from lmstrix.registry.find import qualified_name

    if model is not None:
        entries = [await client.find(model)]
    else:
        words = [word.strip() for word in (given["keywords"] or "").split(",") if word.strip()]
        found = await client.list_models(
            given["chosen"] or "", keywords=words, sort=given["sort"] or "smart"
        )
        entries = [entry for entry in found if entry.missing_since is None]
    if not entries:
        raise NotFoundError("There is no model to test.", hint="Find models first: lmstrix scan")
    options = _options(given)
    # The name as given may be a file that was never scanned.
    jobs = [Job(model or qualified_name(entry), entry, options) for entry in entries]
    return await _interrupted(client, jobs) if given["interrupted"] else jobs


async def _interrupted(client: AsyncLMStrix, jobs: Sequence[Job]) -> list[Job]:
    """Those whose test was interrupted, each with the options it had, unless given anew."""
    from lmstrix.store.models import subject

    left = {
        (found.key.provider, found.key.identity): found
        for found in reversed(await client.interrupted_tests())
    }
    chosen = []
    for job in jobs:
        found = left.get((job.entry.model.provider, subject(job.entry.model)))
        if found is not None:
            chosen.append(job._replace(options=job.options.after(found)))
    if not chosen:
        raise NotFoundError("No test was interrupted.", hint="lmstrix test --all")
    return chosen


def _options(given: Mapping[str, Any]) -> TestOptions:
    from lmstrix.context.options import TestOptions  # not needed for --help

    return TestOptions(
        context_tokens=given["ctx"],
        fast=given["fast"],
        threshold_tokens=given["threshold"],
        timeout_s=given["timeout"],
        force=given["force"],
        load=load_config(**shared_load_arguments(given)),
    )


async def _run(
    invocation: Invocation,
    client: AsyncLMStrix,
    jobs: Sequence[Job],
    given: Mapping[str, Any],
) -> Sequence[TestResult]:
    terminal = invocation.terminal
    invocation.kept = "every probe so far is kept. Take it up again: lmstrix test --continue"
    if terminal.err_live and not terminal.quiet:
        from lmstrix.cli.live_tests import LiveTests

        entries = [job.entry for job in jobs]
        with LiveTests(terminal, entries, parallel=given["parallel"]) as live:
            return await _all(client, jobs, given, live.on_event)
    from lmstrix.cli.limits_report import EventLines

    return await _all(client, jobs, given, EventLines(terminal).on_event)


async def _all(
    client: AsyncLMStrix,
    jobs: Sequence[Job],
    given: Mapping[str, Any],
    on_event: EventListener,
) -> Sequence[TestResult]:
    """Test in the order given (--sort), all within the one budget."""
    from msgspec.structs import replace

    jobs = [job._replace(options=replace(job.options, budget_s=given["budget"])) for job in jobs]
    if given["curve"]:
        return await _curves(client, jobs, on_event)
    if len(jobs) == 1:  # its error is the command's
        (job,) = jobs
        return [await client.test_model(job.name, options=job.options, on_event=on_event)]
    return await client.test_models(
        [job.entry for job in jobs],
        options=[job.options for job in jobs],
        parallel=given["parallel"],
        on_event=on_event,
    )


async def _curves(
    client: AsyncLMStrix, jobs: Sequence[Job], on_event: EventListener
) -> Sequence[TestResult]:
    from msgspec.structs import replace

    began = time.monotonic()
    results: list[TestResult] = []
    for name, _, options in jobs:
        if options.budget_s is not None:
            left = options.budget_s - (time.monotonic() - began)
            if left <= 0 and results:
                break
            options = replace(options, budget_s=left)  # noqa: PLW2901  # the same, held to the rest
        results.append(await client.map_curve(name, options=options, on_event=on_event))
    return results


def _exit_code(results: Sequence[TestResult]) -> int:
    from lmstrix.results import FailureKind, TestStatus  # not for --help

    if any(result.failure is FailureKind.UNREACHABLE for result in results):
        return 4
    return 1 if any(result.status is not TestStatus.COMPLETED for result in results) else 0
