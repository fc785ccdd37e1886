from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Self

from lmstrix.config import EmbeddedSettings, Places, Settings
from lmstrix.providers.embedded import EmbeddedProvider
from lmstrix.providers.found import GROUP, find_providers

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sound:
    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        return [cls(), cls()]


class Broken:
    @classmethod
    def connect(cls, settings: Settings, places: Places) -> Sequence[Self]:
        raise RuntimeError("no luck")


def plugin(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


def test_the_embedded_engine_is_found_like_any_other(places: Places) -> None:
    providers, _ = find_providers(Settings(), places)
    assert EmbeddedProvider in [type(provider) for provider in providers]


def test_a_provider_that_is_switched_off_is_not_there(places: Places) -> None:
    settings = Settings(embedded=EmbeddedSettings(enabled=False))
    assert EmbeddedProvider.connect(settings, places) == []


def test_a_provider_may_be_there_once_per_server(places: Places, monkeypatch: object) -> None:
    sound = plugin("sound", "json:loads")
    object.__setattr__(sound, "load", lambda: Sound)
    providers, problems = find_providers(Settings(), places, plugins=[sound])
    assert [type(provider) for provider in providers] == [Sound, Sound]
    assert problems == []


def test_a_broken_plugin_is_named_and_left_out(places: Places) -> None:
    raising = plugin("raising", "json:loads")
    object.__setattr__(raising, "load", lambda: Broken)
    plugins = [
        plugin("missing", "no_such_module:Provider"),
        plugin("shapeless", "json:loads"),
        raising,
        plugin("embedded", "lmstrix.providers.embedded:EmbeddedProvider"),
    ]
    providers, problems = find_providers(Settings(), places, plugins=plugins)
    assert [type(provider) for provider in providers] == [EmbeddedProvider]
    assert [sentence.split()[2] for sentence in problems] == ["missing", "shapeless", "raising"]
    assert "no luck" in problems[2]


def test_of_two_plugins_with_one_name_the_first_counts(places: Places) -> None:
    value = "lmstrix.providers.embedded:EmbeddedProvider"
    providers, problems = find_providers(
        Settings(), places, plugins=[plugin("embedded", value), plugin("embedded", value)]
    )
    assert len(providers) == 1
    assert "second" in problems[0]
