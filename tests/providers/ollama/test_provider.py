"""What the provider makes of what Ollama tells, by a server that tells what a test wants."""

from __future__ import annotations

import math
import subprocess
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from servers.scripted import Asked, Wire, scripted

from lmstrix.config import ServerSettings, Settings
from lmstrix.errors import (
    ContextOverflowError,
    GenerationError,
    LoadError,
    ModelNotFoundError,
    NotFoundError,
    OutOfMemoryError,
    ProtocolError,
    UnsupportedError,
)
from lmstrix.providers.ollama import OllamaProvider
from lmstrix.providers.ollama.place import usual_server
from lmstrix.types import (
    Fragment,
    FragmentKind,
    Image,
    Instance,
    LoadConfig,
    Message,
    Model,
    ModelType,
    Request,
    Role,
    Tool,
)

if TYPE_CHECKING:
    from conftest import Start

    from lmstrix.config import Places

QWEN = {
    "name": "qwen3:8b",
    "model": "qwen3:8b",
    "modified_at": "2025-05-10T08:06:48.639712648-07:00",
    "size": 5_200_000_000,
    "digest": "a1b2",
    "details": {
        "format": "gguf",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": "8.2B",
        "quantization_level": "Q4_K_M",
    },
}
SHOWN = {
    "details": QWEN["details"],
    "model_info": {
        "general.architecture": "qwen3",
        "general.parameter_count": 8_190_735_360,
        "qwen3.context_length": 40960,
    },
    "capabilities": ["completion", "tools", "thinking"],
    "parameters": 'temperature                    0.6\nstop   "<|im_end|>"\nstop "x"\ntop_k 20',
}
MODEL = Model(key="qwen3:8b", provider="ollama", server="x")
HELLO = Request(messages=(Message(Role.USER, "Hello"),))
DONE = {"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True}


def loaded(*, context: int | None = 8192) -> Instance:
    return Instance(
        id="qwen3:8b", model_key="qwen3:8b", provider="ollama", server="x", context_tokens=context
    )


async def test_a_model_is_described_by_what_the_server_shows(ollama: Start):
    async with ollama(tags={"models": [QWEN]}, show=SHOWN) as (_, provider):
        listing = await provider.list_models()
        assert listing.complete
        (model,) = listing.models
        assert model == Model(
            key="qwen3:8b",
            provider="ollama",
            server=provider.server,
            size_bytes=5_200_000_000,
            architecture="qwen3",
            parameters=8_190_735_360,
            quantization="Q4_K_M",
            declared_context_tokens=40960,
            tools=True,
            reasoning=True,
            identity="a1b2",
            modified_at=pytest.approx(1746889608.64, abs=0.01),
        )
        assert provider.engine == "ollama 0.12.6"
        able = await provider.capabilities_of(model)
        assert able.supports_tools
        assert able.supports_reasoning
        assert not able.supports_vision
        assert not able.supports_embeddings


async def test_a_model_that_is_known_is_not_asked_about_again(ollama: Start):
    async with ollama(tags={"models": [QWEN]}, show=SHOWN) as (server, provider):
        before = (await provider.list_models()).models
        assert (await provider.list_models(known=before)).models == before
        assert server.paths() == ["/api/show"]
        other = [Model(**{**_fields(before[0]), "identity": "older"})]
        await provider.list_models(known=other)
        assert server.paths() == ["/api/show", "/api/show"]


def _fields(model: Model) -> dict[str, Any]:
    return {name: getattr(model, name) for name in model.__struct_fields__}


async def test_a_model_that_cannot_be_shown_makes_the_listing_incomplete(ollama: Start):
    broken = {**QWEN, "name": "b", "model": "b"}

    def show(asked: Asked) -> object:
        return SHOWN if asked.json["model"] == "qwen3:8b" else (500, {"error": "corrupt"})

    async with ollama(tags={"models": [QWEN, broken]}, show=show) as (_, provider):
        listing = await provider.list_models()
        assert [model.key for model in listing.models] == ["qwen3:8b"]
        assert not listing.complete
        assert "corrupt" in listing.problems[0]


@pytest.mark.parametrize(
    ("details", "able", "kind"),
    [
        ({"family": "nomic-bert"}, None, ModelType.EMBEDDING),
        ({"family": "llama", "families": ["llama", "clip"]}, None, ModelType.VLM),
        ({"family": "llama", "families": None}, None, ModelType.LLM),
        ({"family": "gemma3"}, ["completion", "vision"], ModelType.VLM),
        ({"family": "bert"}, ["embedding"], ModelType.EMBEDDING),
        ({"family": "qwen3"}, ["completion", "embedding"], ModelType.LLM),
    ],
)
async def test_what_a_model_is_for_is_told_or_read_from_its_families(
    ollama: Start, details: dict[str, object], able: list[str] | None, kind: ModelType
):
    shown = {"details": details, "capabilities": able}
    async with ollama(tags={"models": [QWEN]}, show=shown) as (_, provider):
        (model,) = (await provider.list_models()).models
        assert model.type is kind


class World:
    """An Ollama with one model that can be loaded. `tells` is whether it tells contexts."""

    def __init__(self, *, tells: bool = True, most: int = 40960) -> None:
        self.tells = tells
        self.most = most
        self.context: int | None = None
        self.refusal: tuple[int, object] | None = None

    def generate(self, asked: Asked) -> object:
        if self.refusal is not None:
            return self.refusal
        if asked.json.get("keep_alive") == 0:
            self.context = None
            return DONE | {"done_reason": "unload"}
        options: dict[str, Any] = asked.json.get("options", {})
        self.context = min(options.get("num_ctx", 4096), self.most)
        return DONE | {"done_reason": "load"}

    def ps(self, asked: Asked) -> object:
        if self.context is None:
            return {"models": None}
        one = {"name": "qwen3:8b", "model": "qwen3:8b", "size": 100, "size_vram": 60}
        return {"models": [one | ({"context_length": self.context} if self.tells else {})]}

    def embed(self, asked: Asked) -> object:
        self.generate(asked)
        return {"embeddings": []}


def start(ollama: Start, world: World, **facts: object) -> Any:
    return ollama(generate=world.generate, ps=world.ps, embed=world.embed, **facts)


async def test_the_context_is_read_back_after_a_load(ollama: Start):
    world = World(most=40960)
    async with start(ollama, world) as (_, provider):
        instance = await provider.load(MODEL, LoadConfig(context_tokens=100_000))
        assert instance.id == "qwen3:8b"
        assert instance.context_tokens == 40960
        assert instance.config.context_tokens == 100_000
        assert instance.owned
        assert instance.memory is not None
        assert instance.memory.weights_bytes == 100
        (again,) = await provider.list_instances()
        assert again.config == instance.config


async def test_an_older_server_does_not_tell_the_context(ollama: Start):
    async with start(ollama, World(tells=False)) as (_, provider):
        instance = await provider.load(MODEL, LoadConfig(context_tokens=8192))
        assert instance.context_tokens is None
        (again,) = await provider.list_instances()
        assert again.config.context_tokens == 8192


async def test_every_request_brings_the_size_that_is_loaded(ollama: Start):
    world = World()
    config = LoadConfig(context_tokens=8192, gpu_layers=0, threads=2, ttl_s=math.inf)
    async with start(ollama, world, chat=DONE) as (server, provider):
        instance = await provider.load(MODEL, config)
        async with aclosing(provider.stream(instance, HELLO)) as stream:
            assert [item async for item in stream]
        load, chat = (
            one.json for one in server.asked if one.path in ("/api/generate", "/api/chat")
        )
        assert load["options"] == chat["options"]
        assert chat["options"] == {"num_ctx": 8192, "num_gpu": 0, "num_thread": 2}
        assert load["keep_alive"] == chat["keep_alive"] == -1


async def test_one_that_somebody_else_loaded_is_asked_at_its_size(ollama: Start):
    world = World()
    world.context = 2048
    async with start(ollama, world) as (_, provider):
        (instance,) = await provider.list_instances()
        assert not instance.owned
        sent = provider.wire_request(instance, HELLO).body
        assert b'"options":{"num_ctx":2048}' in sent
        older = provider.wire_request(loaded(context=None), HELLO).body
        assert b"options" not in older


async def test_one_that_was_loaded_anew_by_somebody_else_is_not_ours_any_more(ollama: Start):
    world = World()
    async with start(ollama, world) as (_, provider):
        await provider.load(MODEL, LoadConfig(context_tokens=8192, ttl_s=60))
        world.context = 1024
        (instance,) = await provider.list_instances()
        assert instance.config == LoadConfig()
        assert not instance.owned
        await provider.aclose()
        assert world.context == 1024


async def test_what_was_loaded_here_ends_with_the_provider(ollama: Start):
    world = World()
    async with start(ollama, world) as (_, provider):
        await provider.load(MODEL, LoadConfig(context_tokens=1024))
        await provider.aclose()
        assert world.context is None


@pytest.mark.parametrize("resident", [True, False])
async def test_what_is_to_stay_or_was_there_before_stays(ollama: Start, *, resident: bool):
    world = World()
    world.context = None if resident else 512
    async with start(ollama, world) as (_, provider):
        await provider.load(MODEL, LoadConfig(context_tokens=1024), resident=resident)
        await provider.aclose()
        assert world.context == 1024


async def test_an_instance_is_unloaded_by_its_id(ollama: Start):
    world = World()
    async with start(ollama, world) as (_, provider):
        await provider.load(MODEL, LoadConfig())
        await provider.unload("qwen3:8b")
        assert world.context is None
        with pytest.raises(NotFoundError, match="qwen3:8b"):
            await provider.unload("qwen3:8b")


async def test_an_embedding_model_is_loaded_without_an_answer(ollama: Start):
    world = World()
    model = Model(key="qwen3:8b", provider="ollama", server="x", type=ModelType.EMBEDDING)
    async with start(ollama, world) as (server, provider):
        instance = await provider.load(model, LoadConfig(context_tokens=512))
        assert instance.context_tokens == 512
        assert server.paths() == ["/api/embed"]


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (500, "model requires more system memory (9 GiB) than is available", OutOfMemoryError),
        (500, "llama runner process has terminated: cudaMalloc failed", OutOfMemoryError),
        (500, "llama runner process has terminated: exit status 2", LoadError),
        (404, "model 'qwen3:8b' not found", ModelNotFoundError),
    ],
)
async def test_a_load_that_fails_says_why(
    ollama: Start, status: int, said: str, kind: type[Exception]
):
    world = World()
    world.refusal = (status, {"error": said})
    async with start(ollama, world) as (_, provider):
        with pytest.raises(kind) as caught:
            await provider.load(MODEL, LoadConfig(context_tokens=1024))
        assert type(caught.value) is kind
        assert said.partition(":")[0] in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        LoadConfig(kv_type_k="q8_0"),
        LoadConfig(flash_attention=True),
        LoadConfig(parallel=2),
        LoadConfig(memory_limit_bytes=1),
    ],
)
async def test_what_ollama_has_for_the_whole_server_only_is_refused(
    ollama: Start, config: LoadConfig
):
    world = World()
    async with start(ollama, world) as (server, provider):
        with pytest.raises(UnsupportedError, match="whole server"):
            await provider.load(MODEL, config)
        assert server.paths() == []


@pytest.mark.parametrize(
    "request_",
    [
        Request(messages=HELLO.messages, tools=(Tool(name="f"),)),
        Request(messages=(Message(Role.USER, "?", images=(Image(b"x"),)),)),
        Request(messages=HELLO.messages, think=True),
        Request(messages=HELLO.messages, grammar="root ::= x"),
    ],
)
async def test_what_a_model_lacks_is_refused_before_it_is_asked(ollama: Start, request_: Request):
    shown = SHOWN | {"capabilities": ["completion"]}
    async with ollama(show=shown, chat=DONE) as (server, provider):
        with pytest.raises(UnsupportedError):
            async for _ in provider.stream(loaded(), request_):
                pass
        assert "/api/chat" not in server.paths()


async def test_a_model_that_can_is_asked(ollama: Start):
    asked = Request(messages=HELLO.messages, tools=(Tool(name="f"),), think=True)
    answer = DONE | {"message": {"role": "assistant", "content": "Hi", "thinking": "Hm"}}
    async with ollama(show=SHOWN, chat=answer) as (server, provider):
        items = [item async for item in provider.stream(loaded(), asked)]
        assert [i.kind for i in items if isinstance(i, Fragment)] == [
            FragmentKind.REASONING,
            FragmentKind.ANSWER,
        ]
        assert [item async for item in provider.stream(loaded(), asked)] == items
        assert server.paths() == ["/api/show", "/api/chat", "/api/chat"]


async def test_an_overflow_tells_the_context_of_the_instance(ollama: Start):
    said = (400, {"error": "the input length exceeds the context length"})
    async with ollama(chat=said, embed=said) as (_, provider):
        with pytest.raises(ContextOverflowError) as caught:
            await provider.chat(loaded(), HELLO)
        assert caught.value.context_tokens == 8192
        with pytest.raises(ContextOverflowError) as caught:
            await provider.embed(loaded(), ["x"])
        assert caught.value.context_tokens == 8192


async def test_too_few_vectors_are_an_error(ollama: Start):
    async with ollama(embed={"embeddings": [[1.0]]}) as (_, provider):
        with pytest.raises(ProtocolError, match="1 vectors for 2"):
            await provider.embed(loaded(), ["a", "b"])


async def test_a_prompt_is_rendered_where_the_server_knows_how(ollama: Start):
    rendered = {"model": "m", "_debug_info": {"rendered_template": "<user>Hello"}}
    async with ollama(chat=rendered) as (server, provider):
        assert await provider.render(loaded(), HELLO) == "<user>Hello"
        (asked,) = [one.json for one in server.asked if one.method == "POST"]
        assert asked["_debug_render_only"] is True
        assert asked["stream"] is False
        assert asked["options"] == {"num_ctx": 8192}
        assert await provider.render(loaded(), Request(prompt="raw")) == "raw"
    async with ollama(version={"version": "0.11.4"}, chat=rendered) as (server, provider):
        with pytest.raises(UnsupportedError, match=r"0\.11\.5"):
            await provider.render(loaded(), HELLO)
        assert server.paths() == []
        assert not (await provider.capabilities_of(MODEL)).supports_templates


async def test_sampling_defaults_are_those_of_the_models_parameters(ollama: Start):
    async with ollama(show=SHOWN) as (_, provider):
        assert await provider.sampling_defaults(loaded()) == {
            "temperature": 0.6,
            "top_k": 20,
            "stop": ("<|im_end|>", "x"),
        }
    async with ollama(show={}) as (_, provider):
        assert await provider.sampling_defaults(loaded()) == {}


async def test_a_pull_tells_how_far_it_is_and_what_goes_wrong(places: Places):
    async def respond(asked: Asked, wire: Wire) -> None:
        await wire.head(content_type="application/x-ndjson")
        await wire.raw(b'{"status":"pulling manifest"}\n{"status":"pulling x","total":100,')
        await wire.raw(b'"completed":25}\n')
        if asked.json["model"] == "bad":
            await wire.raw(b'{"error":"pull model manifest: file does not exist"}\n')
        else:
            await wire.raw(b'{"status":"success"}')

    async with scripted(respond) as server:
        provider = OllamaProvider.at(server.url, Settings(discover=False), places)
        steps = [(step.note, step.fraction) async for step in provider.pull("good")]
        assert steps == [("pulling manifest", None), ("pulling x", 0.25), ("success", None)]
        with pytest.raises(GenerationError, match="does not exist"):
            async for _ in provider.pull("bad"):
                pass


@pytest.mark.parametrize(
    ("said", "server"),
    [
        (None, "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("localhost", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":56789", "http://127.0.0.1:56789"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        ("1.2.3.4:56789", "http://1.2.3.4:56789"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:56789/path/", "https://example.com:56789/path"),
        ("example.com/path", "http://example.com:11434/path"),
        ('"example.com"', "http://example.com:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[fe80::1]:99", "http://[fe80::1]:99"),
    ],
)
def test_ollama_host_is_read_in_every_form_that_ollama_takes(said: str | None, server: str):
    assert usual_server({} if said is None else {"OLLAMA_HOST": said}) == server


async def test_a_server_is_found_where_ollama_host_says(
    ollama: Start, places: Places, monkeypatch: pytest.MonkeyPatch
):
    async with ollama() as (server, _):
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        (found,) = await OllamaProvider.discover(Settings(), places)
        assert found.server == server.url
        assert found.engine == "ollama 0.12.6"
        assert not found.expected
        assert await OllamaProvider.discover(Settings(discover=False), places) == []


async def test_a_server_that_the_user_named_without_its_kind_is_asked(
    ollama: Start, places: Places
):
    async with ollama() as (server, _):
        named = Settings(servers={"box": ServerSettings(url=server.url)}, discover=False)
        (found,) = await OllamaProvider.discover(named, places)
        assert found.expected
        chosen = Settings(server=server.url, discover=False)
        (found,) = await OllamaProvider.discover(chosen, places)
        assert found.expected
        told = Settings(
            servers={"box": ServerSettings(url=server.url, provider="ollama")}, discover=False
        )
        assert await OllamaProvider.discover(told, places) == []
        (known,) = OllamaProvider.connect(told, places)
        assert known.server == server.url
        assert known.expected


def test_who_has_no_ollama_pays_nothing_for_it(places: Places):
    program = (
        "import sys\nfrom lmstrix.config import Places, Settings\n"
        "from lmstrix.providers.ollama import OllamaProvider\n"
        "OllamaProvider.at('http://127.0.0.1:1', Settings(), Places.locate())\n"
        "print([name for name in sys.modules if 'protocol.ollama' in name])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert told.stdout.strip() == b"[]"
