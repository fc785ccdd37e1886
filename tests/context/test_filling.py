from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.config import Timeouts
from lmstrix.context.families import LANGUAGES
from lmstrix.context.families.keyed import Keyed
from lmstrix.context.filling import Filler, question_room
from lmstrix.session import Session
from lmstrix.types import Instance

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

INSTANCE = Instance(id="i", model_key="m", provider="world", server="s", context_tokens=8192)


class Coarse:
    """A tokenizer to whom two of three letters are a token each."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    async def tokenize(self, instance: Instance, text: str) -> range:
        return range(len(text) * 2 // 3)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("tokens", [500, 976, 4096, 20_000])
@pytest.mark.parametrize("dress", [lambda world: world, Coarse], ids=["words", "letters"])
async def test_a_haystack_fills_the_prompt_almost_and_never_more(
    worlds: ModuleType, language: str, tokens: int, dress: Callable[[Any], Any]
) -> None:
    provider = dress(worlds.World())
    haystack = await Filler(Session(provider, Timeouts())).haystack(
        INSTANCE, Keyed(), seed="a", tokens=tokens, questions=3, language=language
    )
    assert len(haystack.questions) == 3
    for question in haystack.questions:
        count = len(await provider.tokenize(INSTANCE, haystack.text + question.text))
        assert count <= tokens
        assert count > tokens - max(130, tokens // 40)


async def test_where_there_is_no_room_for_many_questions_there_are_fewer(
    worlds: ModuleType,
) -> None:
    session = Session(worlds.World(), Timeouts())
    haystack = await Filler(session).haystack(
        INSTANCE, Keyed(), seed="a", tokens=80, questions=6, language="en"
    )
    assert 1 <= len(haystack.questions) < 6


async def test_text_for_embeddings_is_measured(worlds: ModuleType) -> None:
    world = worlds.World()
    text, count = await Filler(Session(world, Timeouts())).text(INSTANCE, seed="a", tokens=500)
    assert count == len(await world.tokenize(INSTANCE, text))
    assert count == 500


def test_room_for_an_answer_is_small_unless_the_model_thinks_aloud() -> None:
    assert question_room(8192, reasoning=False) == 48
    assert question_room(8192, reasoning=True) == 1024
    assert question_room(256, reasoning=True) == 32
