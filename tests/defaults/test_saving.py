"""Limits saved for models: through the façade, into real files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.defaults.lmstudio import CONTEXT, FLASH, KV_TYPE_K, KV_TYPE_V
from lmstrix.defaults.place import defaults_of
from lmstrix.defaults.saving import SaveOptions, Saver, SaveStatus
from lmstrix.errors import DefaultsError, ModelNotFoundError, UsageError
from lmstrix.store import Store
from lmstrix.types import Listing, Model

if TYPE_CHECKING:
    from pathlib import Path

    from lmstrix import AsyncLMStrix

EMBED = "pub/tiny/tiny-embed.gguf"
BY_HAND = '{"load": {"fields": [{"key": "llm.load.seed", "value": 3}]}, "mine": 1.0}'


def fields(path: Path) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in json.loads(path.read_text())["load"]["fields"]}


async def test_the_tested_limit_becomes_the_default(client: AsyncLMStrix, studio: Any):
    studio.tested("tiny-chat", 4096)
    (saved,) = await client.save("tiny-chat")
    assert saved.status is SaveStatus.SAVED
    assert (saved.context_tokens, saved.place) == (4096, str(studio.file()))
    assert fields(studio.file()) == {CONTEXT: 4096}
    assert [(c.name, c.before, c.after) for c in saved.changes] == [("context", None, 4096)]
    assert studio.backups() == []  # there was nothing to keep


async def test_other_settings_stay_and_a_backup_has_them_all(client: AsyncLMStrix, studio: Any):
    path = studio.write(BY_HAND)
    studio.tested("tiny-chat", 4096)
    (saved,) = await client.save("tiny-chat")
    assert path.read_text() == BY_HAND.replace(
        '"value": 3}', '"value": 3}, {"key": "llm.load.contextLength", "value": 4096}'
    )
    assert [str(copy) for copy in studio.backups()] == [saved.backup]
    assert studio.backups()[0].read_text() == BY_HAND


async def test_what_is_there_already_is_not_written_again(client: AsyncLMStrix, studio: Any):
    studio.tested("tiny-chat", 4096)
    await client.save("tiny-chat")
    before = studio.file().stat()
    (saved,) = await client.save("tiny-chat")
    assert saved.status is SaveStatus.UNCHANGED
    assert saved.changes == ()
    assert studio.file().stat().st_ino == before.st_ino
    assert studio.backups() == []


async def test_a_dry_run_shows_the_change_and_writes_nothing(client: AsyncLMStrix, studio: Any):
    path = studio.write(BY_HAND)
    studio.tested("tiny-chat", 4096)
    (saved,) = await client.save("tiny-chat", dry_run=True)
    assert saved.status is SaveStatus.WOULD_SAVE
    assert "+" in saved.diff
    assert "4096" in saved.diff
    assert path.read_text() == BY_HAND
    assert studio.backups() == []


async def test_flash_attention_and_kv_type_come_with_the_limit_tested_so(
    client: AsyncLMStrix, studio: Any
):
    studio.tested("tiny-chat", 4096)
    studio.tested("tiny-chat", 8000, kv_type_k="q8_0", kv_type_v="q8_0")
    await client.save("tiny-chat", flash=True)
    assert fields(studio.file()) == {CONTEXT: 4096, FLASH: True}
    await client.save("tiny-chat", kv_type="q8_0")
    quantized = {"checked": True, "value": "q8_0"}
    assert fields(studio.file()) == {
        CONTEXT: 8000, FLASH: True, KV_TYPE_K: quantized, KV_TYPE_V: quantized,
    }  # fmt: skip


async def test_a_limit_tested_otherwise_than_it_will_be_loaded_is_not_saved(
    client: AsyncLMStrix, studio: Any
):
    studio.tested("tiny-chat", 8000, kv_type_k="q8_0", kv_type_v="q8_0")
    (saved,) = await client.save("tiny-chat")
    assert saved.status is SaveStatus.SKIPPED
    assert "q8_0" in saved.reason
    assert "--kv q8_0" in saved.hint
    assert not studio.file().exists()


async def test_a_cache_type_set_in_lm_studio_is_pointed_out(client: AsyncLMStrix, studio: Any):
    box = {"key": KV_TYPE_K, "value": {"checked": True, "value": "q4_0"}}
    studio.write(json.dumps({"load": {"fields": [box]}}))
    studio.tested("tiny-chat", 4096)
    (saved,) = await client.save("tiny-chat")
    assert any("q4_0" in note and "f16" in note for note in saved.notes)


async def test_all_are_those_of_lm_studio(client: AsyncLMStrix, studio: Any):
    for key, tokens in (("tiny-chat", 4096), ("tiny-chat-overclaimed", 2048)):
        studio.tested(key, tokens)
    saved = {one.model_key: one for one in await client.save(limit="50%", above_tokens=1000)}
    assert set(saved) == {"tiny-chat", "tiny-embed"}
    assert saved["tiny-chat"].context_tokens == 2048
    assert saved["tiny-embed"].status is SaveStatus.SKIPPED
    assert "lmstrix test tiny-embed" in saved["tiny-embed"].hint


async def test_an_embedding_model_gets_its_own_key(client: AsyncLMStrix, studio: Any):
    studio.tested("tiny-embed", 512)
    await client.save("tiny-embed")
    assert fields(studio.file(EMBED)) == {"embedding.load.contextLength": 512}


async def test_a_model_lm_studio_has_not_is_skipped_with_the_reason(
    client: AsyncLMStrix, studio: Any
):
    studio.tested("tiny-chat-overclaimed", 2048)
    (saved,) = await client.save("tiny-chat-overclaimed")
    assert saved.status is SaveStatus.SKIPPED
    assert saved.exit_code == 3
    assert "publisher/repository" in saved.hint


@pytest.mark.parametrize("text", ["", "{", "[]", '{"load": 1}', "\xff"])
async def test_a_file_that_cannot_be_read_is_named_and_left_alone(
    client: AsyncLMStrix, studio: Any, text: str
):
    path = studio.write("")
    path.write_bytes(text.encode("latin-1"))
    studio.tested("tiny-chat", 4096)
    (saved,) = await client.save("tiny-chat")
    assert saved.status is SaveStatus.FAILED
    assert str(path) in saved.reason
    assert "--force" in saved.hint
    assert path.read_bytes() == text.encode("latin-1")
    (forced,) = await client.save("tiny-chat", force=True)
    assert forced.status is SaveStatus.SAVED
    assert fields(path) == {CONTEXT: 4096}
    assert [copy.read_bytes() for copy in studio.backups()] == [text.encode("latin-1")]


async def test_one_bad_file_keeps_no_other_from_being_saved(client: AsyncLMStrix, studio: Any):
    studio.write("{")
    studio.tested("tiny-chat", 4096)
    studio.tested("tiny-embed", 512)
    saved = {one.model_key: one.status for one in await client.save()}
    assert saved == {"tiny-chat": SaveStatus.FAILED, "tiny-embed": SaveStatus.SAVED}


async def test_a_limit_that_cannot_be_is_refused_before_anything_is_written(
    client: AsyncLMStrix, studio: Any
):
    studio.tested("tiny-chat", 4096)
    with pytest.raises(UsageError):
        await client.save("tiny-chat", limit=0)
    (saved,) = await client.save("tiny-chat", limit="0.01%")
    assert saved.status is SaveStatus.SKIPPED
    assert not studio.file().exists()
    with pytest.raises(ModelNotFoundError):
        await client.save("nothing")


async def test_a_type_lm_studio_has_not_is_an_error_of_that_model(
    client: AsyncLMStrix, studio: Any
):
    studio.tested("tiny-chat", 4096, kv_type_k="bf16", kv_type_v="bf16")
    (saved,) = await client.save("tiny-chat", kv_type="bf16")
    assert saved.status is SaveStatus.FAILED
    assert "bf16" in saved.reason


async def test_a_model_known_twice_is_saved_once_as_lm_studio_lists_it(
    client: AsyncLMStrix, studio: Any
):
    studio.tested("tiny-chat", 4096)
    entry = await client.find("tiny-chat")
    served = Model(
        key="tiny@q8",
        provider="lmstudio",
        server="http://127.0.0.1:1234",
        path=entry.model.path,
    )
    with Store.open(studio.places.database) as store:
        store.record_listing("lmstudio", served.server, Listing(models=(served,)), at=1.0)
        saver = Saver(store, studio.places, SaveOptions(), provider_of=no_provider)
        chosen = {one.model.key: one for one in saver.reachable(store.entries())}
        assert set(chosen) == {"tiny@q8", "tiny-embed"}
        saved = await saver.save(chosen["tiny@q8"])
    assert fields(studio.file()) == {CONTEXT: 4096}
    assert saved.notes == ("The limit was measured with the provider embedded.",)


@pytest.mark.parametrize(
    "model",
    [
        Model(key="m", provider="lmstudio", server="http://192.0.2.7:1234", path="p/r/m.gguf"),
        Model(key="one-word", provider="lmstudio", server="http://127.0.0.1:1234"),
        Model(key="p/m@q4_0", provider="lmstudio", server="http://127.0.0.1:1234"),
    ],
)
async def test_an_lm_studio_elsewhere_has_no_files_here(studio: Any, model: Model):
    with Store.open(studio.places.database) as store:
        store.record_listing("lmstudio", model.server, Listing(models=(model,)), at=1.0)
        saver = Saver(store, studio.places, SaveOptions(), provider_of=no_provider)
        assert list(saver.reachable(store.entries())) == []


async def test_a_virtual_model_has_a_file_of_its_own(studio: Any):
    model = Model(key="pub/virtual", provider="lmstudio", server="http://127.0.0.1:1234")
    with Store.open(studio.places.database) as store:
        store.record_listing("lmstudio", model.server, Listing(models=(model,)), at=1.0)
        record_result(store, model)
        saver = Saver(store, studio.places, SaveOptions(), provider_of=no_provider)
        (entry,) = saver.reachable(store.entries())
        await saver.save(entry)
    assert fields(studio.file("pub/virtual")) == {CONTEXT: 4096}


async def test_a_path_from_a_server_cannot_lead_out_of_the_folder(studio: Any):
    evil = Model(key="m", provider="lmstudio", server="http://127.0.0.1:1", path="../../../evil/x")
    with Store.open(studio.places.database) as store:
        store.record_listing("lmstudio", evil.server, Listing(models=(evil,)), at=1.0)
        (entry,) = store.entries()
        record_result(store, entry.model)
        saver = Saver(store, studio.places, SaveOptions(), provider_of=no_provider)
        saved = await saver.save(entry)
    assert saved.status is SaveStatus.FAILED
    assert "outside" in saved.reason
    assert not list(studio.home.parent.rglob("x.json"))


async def test_what_lm_studio_will_use_can_be_read(client: AsyncLMStrix, studio: Any):
    chat = (await client.find("tiny-chat")).model
    assert defaults_of(chat) is None
    studio.tested("tiny-chat", 4096)
    await client.save("tiny-chat", flash=True)
    found = defaults_of(chat)
    assert found is not None
    assert (found.context_tokens, found.flash_attention) == (4096, True)
    studio.write("{")
    with pytest.raises(DefaultsError, match="not valid JSON"):
        defaults_of(chat)


def no_provider(model: Model) -> Any:
    """The provider of a model whose plugin is not there."""
    from lmstrix.errors import NotFoundError

    raise NotFoundError(model.provider)


def record_result(store: Store, model: Model, tokens: int = 4096) -> None:
    """A test of a model without a file that found this limit."""
    from lmstrix.results import Limit, TestKey, TestResult, TestStatus, Verdict
    from lmstrix.store import machine_id

    store.begin_test(
        TestResult(
            key=TestKey(identity=model.key, provider=model.provider, machine=machine_id()),
            model_key=model.key,
            status=TestStatus.COMPLETED,
            started_at=1.0,
            loadable=Limit(verdict=Verdict.FOUND, tokens=tokens),
        )
    )
