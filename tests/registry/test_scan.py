"""Scanning servers that answer, answer by half, are slow, or are down."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from lmstrix.errors import StoreFullError, UnreachableError, UnsupportedError
from lmstrix.registry.legacy import PROVIDER
from lmstrix.registry.scan import preview, reset_candidates, scan
from lmstrix.results import TestStatus
from lmstrix.store import LegacyTest, Store
from lmstrix.types import Listing, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lmstrix.registry.scan import ScanReport
    from lmstrix.store import Entry


class Server:
    """A provider of which only the listing is asked."""

    def __init__(
        self,
        answer: Any,
        *,
        name: str = "one",
        server: str = "http://one",
        after: asyncio.Event | None = None,
    ) -> None:
        self.answer = answer
        self.name = name
        self.server = server
        self.after = after

    async def list_models(self, *, known: object = ()) -> Listing:
        if self.after is not None:
            await self.after.wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def model(key: str, *, provider: str = "one", server: str = "http://one", **rest: Any) -> Model:
    return Model(key=key, provider=provider, server=server, **rest)


def listing(
    *keys: str, complete: bool = True, problems: tuple[str, ...] = (), **rest: Any
) -> Listing:
    models = tuple(model(key, **rest) for key in keys)
    return Listing(models=models, complete=complete, problems=problems)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "lmstrix.db") as opened:
        yield opened


async def run(store: Store, *providers: Server, **options: Any) -> ScanReport:
    return await scan(store, providers, clock=lambda: 50.0, **options)


def known(store: Store) -> dict[str, Entry]:
    return {entry.model.key: entry for entry in store.entries()}


async def test_a_scan_tells_new_known_changed_and_missing(store: Store) -> None:
    await run(store, Server(listing("a", "b", "c")))
    second = Listing(models=(model("a"), model("b", size_bytes=5), model("d")))
    (server,) = (await run(store, Server(second))).servers
    assert (server.provider, server.server) == ("one", "http://one")
    assert server.change.known == ("a",)
    assert server.change.changed == ("b",)
    assert server.change.new == ("d",)
    assert server.change.missing == ("c",)
    assert server.found == 3
    assert known(store)["c"].missing_since == 50.0


async def test_servers_are_asked_at_the_same_time(store: Store) -> None:
    asked = asyncio.Barrier(2)

    class Meeting(Server):
        async def list_models(self, *, known: object = ()) -> Listing:
            await asked.wait()  # neither could pass if the other were asked later
            return self.answer

    first = Meeting(listing("a"))
    second = Meeting(listing("b", provider="two", server="x"), name="two", server="x")
    report = await run(store, first, second, timeout_s=20)
    assert [server.provider for server in report.servers] == ["one", "two"]
    assert report.found == 2
    assert report.reached_any


@pytest.mark.parametrize(
    "failure",
    [
        UnreachableError("Nothing answers at http://one.", server="http://one"),
        ConnectionRefusedError("refused"),
        TimeoutError(),
    ],
)
async def test_a_server_that_is_down_changes_nothing(store: Store, failure: Exception) -> None:
    await run(store, Server(listing("a", "b")))
    before = known(store)
    report = await run(store, Server(failure))
    assert report.servers[0].unreachable
    assert not report.reached_any
    assert report.found == 0
    assert known(store) == before


async def test_a_server_that_is_too_slow_counts_as_down(store: Store) -> None:
    await run(store, Server(listing("a")))
    before = known(store)
    never = asyncio.Event()
    report = await run(store, Server(listing(), after=never), timeout_s=0.01)
    assert report.servers[0].unreachable == "no answer in time"
    assert known(store) == before


async def test_half_a_listing_marks_nothing_missing(store: Store) -> None:
    await run(store, Server(listing("a", "b")))
    half = listing("a", "c", complete=False, problems=("folder x: no rights",))
    (server,) = (await run(store, Server(half))).servers
    assert not server.complete
    assert server.problems == ("folder x: no rights",)
    assert server.change.missing == ()
    assert set(known(store)) == {"a", "b", "c"}
    assert known(store)["b"].missing_since is None


async def test_an_empty_listing_deletes_nothing(store: Store) -> None:
    await run(store, Server(listing("a", "b")))
    (server,) = (await run(store, Server(listing()))).servers
    assert server.change.missing == ("a", "b")
    assert set(known(store)) == {"a", "b"}
    await run(store, Server(listing("a", "b")))
    assert known(store)["a"].missing_since is None


async def test_one_servers_failure_does_not_touch_anothers_models(store: Store) -> None:
    other = Server(listing("b", provider="two", server="y"), name="two", server="y")
    report = await run(store, Server(UnsupportedError("It cannot list.")), other)
    assert report.servers[0].problems == ("It cannot list.",)
    assert not report.servers[0].complete
    assert report.servers[1].change.new == ("b",)


async def test_a_providers_own_mistake_is_raised_after_the_others_are_recorded(
    store: Store,
) -> None:
    other = Server(listing("b", provider="two", server="y"), name="two", server="y")
    with pytest.raises(ZeroDivisionError):
        await run(store, Server(ZeroDivisionError()), other)
    assert set(known(store)) == {"b"}


async def test_a_full_disk_is_not_taken_for_a_server_that_is_down(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_kwargs: object) -> NoReturn:
        raise StoreFullError("No room.", path=Path("x"))

    monkeypatch.setattr(Store, "record_listing", full)
    with pytest.raises(StoreFullError):
        await run(store, Server(listing("a")))


async def test_without_update_nothing_is_written_but_the_changes_are_told(store: Store) -> None:
    await run(store, Server(listing("a", "b", "c")))
    before = known(store)
    second = Listing(models=(model("a"), model("b", size_bytes=5), model("d")))
    told = (await run(store, Server(second), update=False)).servers[0].change
    assert known(store) == before
    assert told == (await run(store, Server(second))).servers[0].change


@pytest.mark.parametrize("complete", [True, False])
def test_the_preview_agrees_with_what_the_store_does(store: Store, *, complete: bool) -> None:
    first = Listing(models=(model("a", identity="1"), model("b"), model("c"), model("e")))
    second = Listing(
        models=(model("moved", identity="1"), model("b"), model("c", size_bytes=9), model("new")),
        complete=complete,
    )
    store.record_listing("one", "http://one", first, at=1.0)
    told = preview("one", "http://one", second, store.entries())
    assert told == store.record_listing("one", "http://one", second, at=2.0)


async def test_what_1x_knew_of_a_file_goes_to_every_model_of_that_file(store: Store) -> None:
    old = Model(key="llama", provider=PROVIDER, server="", path="meta/llama-GGUF/llama-Q4.gguf")
    legacy = LegacyTest(tested_max_context=8192, status=TestStatus.COMPLETED)
    store.record_legacy([(old, legacy)], at=1.0)
    found = listing("meta-llama", path="/lmstudio/models/meta/llama-GGUF/llama-Q4.gguf")
    other = model("other", path="/lmstudio/models/meta/other-GGUF/llama-Q4.gguf")
    await run(store, Server(Listing(models=(*found.models, other))))
    entries = known(store)
    assert entries["meta-llama"].legacy == legacy
    assert entries["other"].legacy is None


def test_a_reset_takes_what_was_tested_and_can_keep_to_failures_and_servers(
    make_entry: Callable[..., Entry],
) -> None:
    entries = [
        make_entry("new"),
        make_entry("good", ctx=4096),
        make_entry("bad", status=TestStatus.FAILED),
        make_entry("old", legacy=LegacyTest(status=TestStatus.FAILED)),
        make_entry("far", status=TestStatus.FAILED, server="http://far"),
    ]

    def keys(**options: Any) -> list[str]:
        return [model.key for model in reset_candidates(entries, **options)]

    assert keys() == ["good", "bad", "old", "far"]
    assert keys(failed=True) == ["bad", "old", "far"]
    far = Server(None, name="embedded", server="http://far")
    assert keys(failed=True, servers=[far]) == ["far"]
