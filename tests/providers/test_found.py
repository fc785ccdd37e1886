from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Self

import pytest

from lmstrix.config import EmbeddedSettings, Places, Settings
from lmstrix.errors import NotFoundError
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.providers.found import GROUP, Kinds, preferred

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sound:
    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        return [cls(), cls()]


class Broken(Sound):
    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        raise RuntimeError("no luck")


class Looking:
    """A kind with one configured server, and one that answers where it looks."""

    def __init__(self, how: str = "", server: str = "http://a", preference: int = 0) -> None:
        self.name = self.how = how
        self.server = server
        self.preference = preference

    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        return [cls("connect", "http://b")]

    @classmethod
    def at(cls, server: str, settings: Settings, places: Places) -> Self:
        return cls("at", server)

    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:
        return [cls("discover")]


class Lost(Looking):
    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:
        raise RuntimeError("gone astray")


def plugin(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def loading(kind: type) -> EntryPoint:
    """A plugin whose class is defined here, where no module of that name can be imported."""
    found = plugin(kind.__name__, "json:loads")
    object.__setattr__(found, "load", lambda: kind)
    return found


def test_the_embedded_engine_is_found_like_any_other(places: Places) -> None:
    providers = Kinds(Settings(), places).connect()
    assert EmbeddedProvider in [type(provider) for provider in providers]


def test_a_provider_that_is_switched_off_is_not_there(places: Places) -> None:
    settings = Settings(embedded=EmbeddedSettings(enabled=False))
    assert EmbeddedProvider.connect(settings, places) == []
    with pytest.raises(NotFoundError, match="switched off"):
        Kinds(settings, places).at("embedded", "embedded")


def test_a_provider_may_be_there_once_per_server(places: Places) -> None:
    kinds = Kinds(Settings(), places, plugins=[loading(Sound)])
    assert [type(provider) for provider in kinds.connect()] == [Sound, Sound]
    assert kinds.problems == []


async def test_a_broken_plugin_is_named_and_left_out(places: Places) -> None:
    plugins = [
        plugin("missing", "no_such_module:Provider"),
        plugin("shapeless", "json:loads"),
        loading(Broken),
        plugin("embedded", "lmstrix.providers.embedded:EmbeddedProvider"),
    ]
    kinds = Kinds(Settings(), places, plugins=plugins)
    assert [type(provider) for provider in kinds.connect()] == [EmbeddedProvider]
    assert [sentence.split()[2] for sentence in kinds.problems] == [
        "missing",
        "shapeless",
        "Broken",
    ]
    assert "no luck" in kinds.problems[2]
    assert kinds.names == ["embedded"]
    assert await kinds.discover() == []


def test_of_two_plugins_with_one_name_the_first_counts(places: Places) -> None:
    value = "lmstrix.providers.embedded:EmbeddedProvider"
    kinds = Kinds(
        Settings(), places, plugins=[plugin("embedded", value), plugin("embedded", value)]
    )
    assert len(kinds.connect()) == 1
    assert "second" in kinds.problems[0]


async def test_what_a_kind_finds_by_looking_is_among_the_found(places: Places) -> None:
    kinds = Kinds(Settings(), places, plugins=[loading(Looking), loading(Lost)])
    assert [type(provider) for provider in await kinds.discover()] == [Looking]
    assert "gone astray" in kinds.problems[0]


def test_a_configured_server_is_reached_as_it_is_configured(places: Places) -> None:
    kinds = Kinds(Settings(), places, plugins=[loading(Looking)])
    configured, other = kinds.at("Looking", "http://b"), kinds.at("Looking", "http://c")
    assert isinstance(configured, Looking)
    assert isinstance(other, Looking)
    assert (configured.how, other.how) == ("connect", "at")
    assert kinds.at("unknown", "http://b") is None


def test_one_server_is_one_provider_the_one_that_is_named_or_preferred() -> None:
    views: list[Any] = [
        Looking("x", "http://a", 1),
        Looking("y", "http://a", 3),
        Looking("x", "http://b", 1),
    ]
    assert [(one.name, one.server) for one in preferred(views)] == [
        ("y", "http://a"),
        ("x", "http://b"),
    ]
    assert [one.name for one in preferred(views, name="x")] == ["x", "x"]


@pytest.mark.parametrize("kind", ["openai", "lmstudio-openai", "ollama", "lmstudio"])
def test_kinds_without_a_configured_server_are_not_imported(kind: str) -> None:
    code = f"""if True:
        import json, sys
        from lmstrix.config import Places, ServerSettings, Settings
        from lmstrix.providers.found import Kinds

        def names(settings):
            return sorted(one.name for one in Kinds(settings, Places.locate()).connect())

        plain = names(Settings())
        loaded = [name for name in sys.modules if name.startswith("lmstrix.providers.")]
        server = ServerSettings(url="http://h:1", provider="{kind}")
        print(json.dumps([plain, loaded, names(Settings(servers={{"x": server}}))]))
    """
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    plain, loaded, named = json.loads(told.stdout)
    assert plain == ["embedded"]
    assert not [
        name for name in loaded if any(word in name for word in ("openai", "ollama", "lmstudio"))
    ]
    assert named == sorted(["embedded", kind])
