"""Several protocols of one server are one set of models."""

from __future__ import annotations

from lmstrix.config import ServerSettings, Settings
from lmstrix.store import Entry
from lmstrix.types import Model
from lmstrix.views import one_view_each

SERVER = "http://127.0.0.1:1234"
PREFERENCES = {"native": 30, "compatible": 20, "plain": 10}


def entry(provider: str, key: str = "m", server: str = SERVER, *, seen: bool = True) -> Entry:
    model = Model(key=key, provider=provider, server=server)
    return Entry(model=model, added_at=1.0, seen_at=1.0 if seen else None)


def views(entries: list[Entry], settings: Settings | None = None) -> list[str]:
    chosen = one_view_each(entries, settings or Settings(), PREFERENCES.__getitem__)
    return [f"{one.model.provider}/{one.model.key}" for one in chosen]


def test_of_two_views_the_preferred_one_counts():
    both = [entry("compatible"), entry("native"), entry("native", "n")]
    assert views(both) == ["native/m", "native/n"]


def test_a_view_counts_where_it_is_the_only_one():
    assert views([entry("compatible")]) == ["compatible/m"]
    elsewhere = [entry("compatible"), entry("native", server="http://10.0.0.1:1")]
    assert views(elsewhere) == ["compatible/m", "native/m"]


def test_the_settings_choose_a_view_for_all_servers_or_for_one():
    both = [entry("compatible"), entry("native"), entry("plain")]
    assert views(both, Settings(provider="compatible")) == ["compatible/m"]
    office = ServerSettings(url=f"{SERVER}/v1", provider="plain")
    assert views(both, Settings(servers={"office": office})) == ["plain/m"]
    assert views(both, Settings(servers={"office": office}, provider="compatible")) == [
        "compatible/m"
    ]


def test_a_wish_for_a_view_that_was_never_seen_changes_nothing():
    both = [entry("compatible"), entry("native")]
    office = ServerSettings(url=SERVER, provider="plain")
    assert views(both, Settings(servers={"office": office})) == ["native/m"]


def test_what_was_only_imported_is_no_view():
    assert views([entry("compatible"), entry("native", seen=False)]) == [
        "compatible/m",
        "native/m",
    ]


def test_models_of_this_machine_are_no_servers():
    here = [entry("one", server="embedded"), entry("two", server="embedded")]
    assert views(here) == ["one/m", "two/m"]


def test_nothing_is_asked_of_the_kinds_without_need():
    def never(name: str) -> int:
        raise AssertionError(name)

    alone = [entry("native"), entry("embedded", server="embedded")]
    assert one_view_each(alone, Settings(), never) == alone
