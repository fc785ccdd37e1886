from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest
from scripted.lmstudio import ScriptedServer

import lmstrix.lmstudio as lms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Blocking:
    """An object of asyncio, used as its twin for threads is: every coroutine is waited for."""

    def __init__(self, inner: Any, run: Callable[[Any], Any]) -> None:
        self.inner = inner
        self._run = run

    def __getattr__(self, name: str) -> Any:
        names = {"close": ("aclose", "close")}.get(name, (name,))
        for one in names:
            if hasattr(self.inner, one):
                return self._wrap(getattr(self.inner, one))
        raise AttributeError(name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._wrap(self.inner(*args, **options))

    def __iter__(self) -> Iterator[Any]:
        generator = self.inner if inspect.isasyncgen(self.inner) else aiter(self.inner)
        try:
            while True:
                try:
                    yield self._run(anext(generator))
                except StopAsyncIteration:
                    return
        finally:
            self._run(generator.aclose())

    def __enter__(self) -> Any:
        return self._wrap(self._run(self.inner.__aenter__()))

    def __exit__(self, *about: object) -> None:
        self._run(self.inner.__aexit__(*about))

    def __eq__(self, other: object) -> bool:
        return self.inner == (other.inner if isinstance(other, Blocking) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.inner)

    def _wrap(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            value = self._run(value)
        if isinstance(value, list):
            return [self._wrap(item) for item in value]
        kind = type(value)
        is_async = kind.__name__.startswith("Async") and kind.__module__.startswith("lmstrix")
        is_session = kind.__module__ == "lmstrix.lmstudio.async_system"
        if (
            is_async
            or is_session
            or inspect.isasyncgen(value)
            or inspect.ismethod(value)
            or inspect.isfunction(value)
        ):
            return Blocking(value, self._run)
        return value


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Which of the twins a test is about."""
    return str(request.param)


@pytest.fixture
def make(flavour: str) -> Iterator[Callable[..., Any]]:
    """`make(host, …)`: a client of that flavour, to be used as one for threads; closed after."""
    clients: list[Any] = []
    with asyncio.Runner() as runner:

        def run(awaitable: Any) -> Any:
            async def wait() -> Any:
                return await awaitable

            return runner.run(wait())

        def build(*args: Any, **options: Any) -> Any:
            made: Any
            if flavour == "sync":
                made = lms.Client(*args, **options)
            else:
                made = Blocking(lms.AsyncClient(*args, **options), run)
            clients.append(made)
            return made

        yield build
        for client in clients:
            client.close()
        run(asyncio.sleep(0))  # transports end in the next turn of the loop


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as running:
        yield running


@pytest.fixture
def client(make: Callable[..., Any], server: ScriptedServer) -> Any:
    return make(server.host)


@pytest.fixture
def llm(client: Any) -> Any:
    return client.llm.model("tiny")


@pytest.fixture
def gateway() -> Iterator[str]:
    """The address of a gateway with the shipped models, in a thread of its own."""
    with _Gateway() as url:
        yield url


# The names that the SDK's documentation has, for the models there are.
_ALIASES = {"llama-3.2-1b-instruct": "tiny-chat", "nomic-embed-text-v1.5": "tiny-embed"}


class _Gateway:
    def __init__(self) -> None:
        self._url = ""
        self._problem: BaseException | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> str:
        self._thread.start()
        self._ready.wait(60)
        if self._problem is not None:
            raise self._problem
        assert self._url
        return self._url

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as problem:  # noqa: BLE001  # handed to the test
            self._problem = problem
            self._ready.set()

    async def _serve(self) -> None:
        from lmstrix import AsyncLMStrix
        from lmstrix.config import Settings
        from lmstrix.gateway.options import GatewayOptions
        from lmstrix.gateway.server import serving

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        settings = Settings(shipped_models=True, discover=False)
        async with (
            AsyncLMStrix(settings=settings) as client,
            serving(
                client, GatewayOptions(port=0, drain_s=1, max_loaded=2, aliases=_ALIASES)
            ) as running,
        ):
            self._url = running.url
            self._ready.set()
            await self._stop.wait()
