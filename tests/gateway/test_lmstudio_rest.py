"""LM Studio's REST interface, models and chats, on the embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from lmstrix.config import Settings
from lmstrix.protocol.events import EventDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.conftest import Serve

    from lmstrix.gateway.server import Serving

QUESTION = {"model": "tiny-chat", "input": "What is the capital of Poland?", "temperature": 0}


@pytest.fixture
async def http(gateway: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=60) as client:
        yield client


async def told(http: httpx2.AsyncClient, body: dict[str, object]) -> list[tuple[str, Any]]:
    import json

    async with http.stream("POST", "/api/v1/chat", json={**body, "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        decoder = EventDecoder()
        return [
            (event.name, json.loads(event.data))
            async for chunk in response.aiter_bytes()
            for event in decoder.feed(chunk)
        ]


async def test_a_program_that_looks_for_lm_studio_finds_it(http: httpx2.AsyncClient):
    assert (await http.get("/lmstudio-greeting")).json() == {"lmstudio": True}
    assert (await http.get("/lms-status")).json()["package"] == "lmstrix"


async def test_version_0_lists_models_with_their_state(http: httpx2.AsyncClient):
    found = (await http.get("/api/v0/models")).json()
    assert found["object"] == "list"
    models = {model["id"]: model for model in found["data"]}
    assert models["tiny-embed"]["type"] == "embeddings"
    chat = models["tiny-chat"]
    assert (chat["type"], chat["compatibility_type"]) == ("llm", "gguf")
    assert chat["state"] == "not-loaded"
    assert "loaded_context_length" not in chat
    assert chat["max_context_length"] > 0
    await http.post("/api/v1/models/load", json={"model": "tiny-chat", "context_length": 1024})
    chat = (await http.get("/api/v0/models/tiny-chat")).json()
    assert (chat["state"], chat["loaded_context_length"]) == ("loaded", 1024)


async def test_version_1_lists_models_with_their_instances(http: httpx2.AsyncClient):
    body = {"model": "tiny-chat", "context_length": 512, "echo_load_config": True}
    loaded = (await http.post("/api/v1/models/load", json=body)).json()
    assert (loaded["type"], loaded["status"]) == ("llm", "loaded")
    assert loaded["instance_id"] == "tiny-chat"
    assert loaded["load_config"]["context_length"] == 512
    second = (await http.post("/api/v1/models/load", json={"model": "tiny-chat"})).json()
    assert second["instance_id"] == "tiny-chat:2"
    assert "load_config" not in second
    models = {m["key"]: m for m in (await http.get("/api/v1/models")).json()["models"]}
    instances = models["tiny-chat"]["loaded_instances"]
    assert sorted(one["id"] for one in instances) == ["tiny-chat", "tiny-chat:2"]
    assert models["tiny-chat"]["capabilities"]["vision"] is False
    assert models["tiny-embed"]["type"] == "embedding"
    assert not {"capabilities", "architecture", "description"} & set(models["tiny-embed"])


async def test_an_instance_is_unloaded_by_its_id_once(http: httpx2.AsyncClient):
    await http.post("/api/v1/models/load", json={"model": "tiny-chat"})
    body = {"instance_id": "tiny-chat"}
    assert (await http.post("/api/v1/models/unload", json=body)).json() == body
    again = await http.post("/api/v1/models/unload", json=body)
    assert again.status_code == 404
    assert again.json()["error"]["type"] == "model_not_found"


async def test_a_misspelt_setting_is_refused_by_name(http: httpx2.AsyncClient):
    body = {"model": "tiny-chat", "contextlength": 1}
    refused = await http.post("/api/v1/models/load", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "invalid_request"
    assert "contextlength" in refused.json()["error"]["message"]


async def test_a_chat_is_answered_whole(http: httpx2.AsyncClient):
    answer = (await http.post("/api/v1/chat", json=QUESTION)).json()
    assert answer["model_instance_id"] == "tiny-chat"
    assert [part["type"] for part in answer["output"]] == ["message"]
    assert "Warsaw" in answer["output"][0]["content"]
    stats = answer["stats"]
    assert stats["input_tokens"] > 5
    assert stats["total_output_tokens"] > 0
    assert stats["tokens_per_second"] > 0
    assert stats["time_to_first_token_seconds"] > 0
    assert stats["model_load_time_seconds"] > 0
    assert answer["response_id"].startswith("resp_")
    again = (await http.post("/api/v1/chat", json=QUESTION)).json()
    assert "model_load_time_seconds" not in again["stats"]


async def test_a_streamed_chat_tells_load_reading_and_answer_in_their_order(
    http: httpx2.AsyncClient,
):
    events = await told(http, QUESTION)
    assert all(body["type"] == name for name, body in events)
    order = list(dict.fromkeys(name for name, _ in events))
    assert order[0] == "chat.start"
    assert order[-4:] == ["message.start", "message.delta", "message.end", "chat.end"]
    assert order.index("model_load.start") < order.index("model_load.end")
    assert order.index("model_load.end") < order.index("prompt_processing.start")
    text = "".join(body["content"] for name, body in events if name == "message.delta")
    assert events[-1][1]["result"]["output"] == [{"type": "message", "content": text}]
    assert "model_load.start" not in [name for name, _ in await told(http, QUESTION)]


async def test_a_conversation_goes_on_from_any_answer_that_was_kept(http: httpx2.AsyncClient):
    first = (await http.post("/api/v1/chat", json=QUESTION)).json()
    alone = first["stats"]["input_tokens"]
    more = {**QUESTION, "input": "And of France?", "previous_response_id": first["response_id"]}
    second = (await http.post("/api/v1/chat", json={**more, "store": False})).json()
    assert second["stats"]["input_tokens"] > alone + first["stats"]["total_output_tokens"]
    assert "response_id" not in second
    lost = await http.post("/api/v1/chat", json={**more, "previous_response_id": "resp_lost"})
    assert lost.status_code == 404


async def test_a_chat_loads_the_context_it_asks_for(http: httpx2.AsyncClient):
    await http.post("/api/v1/chat", json={**QUESTION, "context_length": 768})
    found = (await http.get("/api/v0/models/tiny-chat")).json()
    assert found["loaded_context_length"] == 768


async def test_an_unknown_model_is_refused_before_the_stream(http: httpx2.AsyncClient):
    body = {**QUESTION, "model": "no-such-model", "stream": True}
    refused = await http.post("/api/v1/chat", json=body)
    assert refused.status_code == 404
    assert refused.json()["error"]["type"] == "model_not_found"


async def test_an_error_on_the_way_is_an_event(http: httpx2.AsyncClient):
    body = {**QUESTION, "input": "word " * 3000, "context_length": 512}
    events = await told(http, body)
    assert [name for name, _ in events][-2:] == ["error", "chat.end"]
    assert "512" in events[-2][1]["error"]["message"]
    whole = await http.post("/api/v1/chat", json=body)
    assert whole.status_code == 400


async def test_tools_that_the_server_would_run_are_refused(http: httpx2.AsyncClient):
    body = {**QUESTION, "integrations": ["mcp/playwright"]}
    refused = await http.post("/api/v1/chat", json=body)
    assert refused.status_code == 400
    assert "integrations" in refused.json()["error"]["message"]


async def test_version_0_says_of_a_chat_how_it_went_and_by_what(http: httpx2.AsyncClient):
    body = {
        "model": "tiny-chat",
        "messages": [{"role": "user", "content": "What is the capital of Poland?"}],
        "temperature": 0,
    }
    answer = (await http.post("/api/v0/chat/completions", json=body)).json()
    assert answer["choices"][0]["message"]["content"] == "Warsaw."
    assert answer["usage"]["completion_tokens"] > 0
    stats = answer["stats"]
    assert stats["stop_reason"] == "eosFound"
    assert stats["time_to_first_token"] > 0
    assert stats["tokens_per_second"] > 0
    assert answer["model_info"]["quant"] == "Q8_0"
    assert answer["model_info"]["context_length"] > 0
    assert answer["runtime"]["supported_formats"] == ["gguf"]
    assert answer["runtime"]["version"]


async def test_a_stream_of_version_0_has_that_in_its_last_piece(http: httpx2.AsyncClient):
    import json

    body = {"model": "tiny-chat", "prompt": "Once upon", "max_tokens": 4, "stream": True}
    response = await http.post("/api/v0/completions", json=body)
    events = EventDecoder().feed(response.content)
    assert events[-1].data == b"[DONE]"
    pieces = [json.loads(event.data) for event in events[:-1]]
    assert pieces[-1]["choices"][0]["finish_reason"] == "length"
    assert pieces[-1]["stats"]["stop_reason"] == "maxPredictedTokensReached"
    assert pieces[-1]["model_info"]["arch"] == "llama"
    assert all("stats" not in piece for piece in pieces[:-1])


async def test_version_0_makes_vectors(http: httpx2.AsyncClient):
    body = {"model": "tiny-embed", "input": ["a", "b"]}
    answer = (await http.post("/api/v0/embeddings", json=body)).json()
    assert [one["index"] for one in answer["data"]] == [0, 1]
    assert len(answer["data"][0]["embedding"]) == 96


async def test_version_0_refuses_an_unknown_model_and_none(http: httpx2.AsyncClient):
    for body, status in (({"model": "none", "prompt": "a"}, 404), ({"prompt": "a"}, 400)):
        refused = await http.post("/api/v0/completions", json=body)
        assert refused.status_code == status
        assert "error" in refused.json()


async def test_a_download_is_begun_and_followed(serve: Serve, tmp_path: Path, shipped: Path):
    import asyncio
    import shutil

    folder = tmp_path / "somebody" / "Small-GGUF"
    folder.mkdir(parents=True)
    shutil.copy(shipped / "tiny-chat.gguf", folder / "small-Q8_0.gguf")
    serving = await serve(settings=Settings(discover=False), repositories=(str(tmp_path),))
    async with httpx2.AsyncClient(base_url=serving.url, timeout=60) as http:
        body = {"model": "somebody/Small-GGUF", "quantization": "Q8_0"}
        begun = (await http.post("/api/v1/models/download", json=body)).json()
        assert begun["status"] in ("downloading", "completed")
        async with asyncio.timeout(30):
            while begun["status"] == "downloading":
                path = f"/api/v1/models/download/status/{begun['job_id']}"
                begun = (await http.get(path)).json()
        assert begun["status"] == "completed"
        assert begun["downloaded_bytes"] == begun["total_size_bytes"] > 0
        models = (await http.get("/api/v1/models")).json()["models"]
        assert [(one["key"], one["publisher"]) for one in models] == [("small-Q8_0", "somebody")]
        again = (await http.post("/api/v1/models/download", json=body)).json()
        assert again["status"] == "already_downloaded"
        assert "job_id" not in again
        for wrong, status in (
            ({"model": "nothing"}, 404),
            ({"model": "https://huggingface.co/a/b"}, 400),
            ({**body, "quantization": "Q2_K"}, 400),
        ):
            refused = await http.post("/api/v1/models/download", json=wrong)
            assert refused.status_code == status
        lost = await http.get("/api/v1/models/download/status/none")
        assert lost.status_code == 404
