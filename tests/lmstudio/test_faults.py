"""Servers that die, stall, lie or babble, and machines that sleep."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

import pytest
from scripted.lmstudio import LLM_INFO, ScriptedServer, fragment, instance, success

import lmstrix.lmstudio as lms
from lmstrix.lmstudio.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripted.lmstudio import Talk

    Make = Callable[..., Any]


def test_a_server_that_dies_within_an_answer_ends_it_with_what_came(
    llm: Any, server: ScriptedServer
) -> None:
    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        talk.drop()

    server.handlers["predict"] = predict
    got: list[str] = []
    with pytest.raises(lms.LMStudioWebsocketError, match="was lost"):
        got.extend(piece.content for piece in llm.respond_stream("hi"))
    assert got == ["one"]
    del server.handlers["predict"]
    assert llm.respond("hi").content == "Hello, world!"  # a new connection by itself


def test_a_load_that_is_cut_off_is_not_asked_for_again(client: Any, server: ScriptedServer) -> None:
    async def load(talk: Talk) -> None:
        await talk.send({"type": "progress", "progress": 0.5})
        talk.drop()

    server.handlers["loadModel"] = load
    with pytest.raises(lms.LMStudioWebsocketError):
        client.llm.load_new_instance("tiny")
    assert len(server.sent("channelCreate")) == 1


def test_a_call_that_only_reads_is_asked_again_once(client: Any, server: ScriptedServer) -> None:
    drops = [1]

    async def listing(talk: Talk) -> None:
        if drops:
            drops.pop()
            talk.drop()
        else:
            await talk.result([instance(LLM_INFO, "tiny")])

    server.handlers["listLoaded"] = listing
    assert [model.identifier for model in client.llm.list_loaded()] == ["tiny"]
    assert len(server.sent("rpcCall")) == 2
    drops.extend([1, 1])
    with pytest.raises(lms.LMStudioWebsocketError):
        client.llm.list_loaded()
    assert len(server.sent("rpcCall")) == 4


def test_a_call_that_changes_something_is_never_asked_again(
    client: Any, server: ScriptedServer
) -> None:
    async def unload(talk: Talk) -> None:
        talk.drop()

    server.handlers["unloadModel"] = unload
    with pytest.raises(lms.LMStudioWebsocketError):
        client.llm.unload("tiny")
    assert len(server.sent("rpcCall")) == 1


def test_of_many_calls_only_the_lost_ones_are_asked_again(
    client: Any, server: ScriptedServer
) -> None:
    asked: list[str] = []

    async def embed(talk: Talk) -> None:
        text = talk.parameter.input_string
        asked.append(text)
        if len(asked) == 3:
            talk.drop()
            return
        await talk.result({"embedding": [float(text)]})

    server.handlers["embedString"] = embed
    vectors = client.embedding.handle("tiny-embed").embed([str(n) for n in range(200)])
    assert vectors == [[float(n)] for n in range(200)]


def test_a_connection_that_died_while_idle_is_replaced_before_it_is_used(
    client: Any, server: ScriptedServer, flavour: str
) -> None:
    client.llm.list_loaded()
    server.drop_all()
    while flavour == "async" and client.llm.connected:
        client._run(asyncio.sleep(0))  # a loop that runs notices by itself
    client.llm.unload("tiny")  # never asked twice, and yet done
    assert [frame["endpoint"] for frame in server.sent("rpcCall")] == ["listLoaded", "unloadModel"]
    assert server.sockets == 2


def test_a_server_that_was_started_anew_is_found_again(make: Make) -> None:
    with ScriptedServer() as first:
        client = make(first.host)
        assert client.llm.list_loaded()
        port = first.port
    with pytest.raises(lms.LMStudioWebsocketError, match="not reachable"):
        client.llm.list_loaded()
    with ScriptedServer(port=port):
        assert client.llm.list_loaded()


def test_after_a_long_silence_the_server_is_asked_for_a_sign_of_life(
    client: Any, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.llm.list_loaded()
    now = time.time()
    for jump in (10 * Silence.LIMIT_S, -3600.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: now + jump)
        assert client.llm.list_loaded()
    assert server.sockets == 1  # it lives: the connection stays


def test_a_connection_that_slept_away_is_replaced(
    make: Make, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make(server.host)
    client.llm.list_loaded()
    monkeypatch.setattr(Silence, "ANSWER_S", 0.05)
    session = getattr(client.llm, "inner", client.llm)
    sock = session._socket
    monkeypatch.setattr(sock.link, "ping", lambda: None)  # what is sent goes nowhere
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    client.llm.unload("tiny")
    assert server.sockets == 2


@pytest.mark.parametrize(
    "frame",
    ["{", "nonsense", "[]", '{"type":5}', '{"type":"channelSend","channelId":"x"}', "\x00"],
)
def test_what_is_no_message_ends_the_connection_and_what_waits_on_it(
    llm: Any, server: ScriptedServer, frame: str
) -> None:
    async def predict(talk: Talk) -> None:
        await talk.raw(frame)
        await talk.messages.get()

    server.handlers["predict"] = predict
    with pytest.raises(lms.LMStudioWebsocketError, match="no message of LM Studio's protocol"):
        llm.respond("hi")
    assert llm.count_tokens("x") == 1


def test_frames_that_belong_to_nothing_are_passed_over(llm: Any, server: ScriptedServer) -> None:
    async def predict(talk: Talk) -> None:
        for odd in (
            {"type": "channelSend", "channelId": 999, "message": fragment("x")},
            {"type": "rpcResult", "callId": 999, "result": 1},
            {"type": "rpcError", "callId": 1, "error": {}},
            {"type": "channelClose", "channelId": 999},
            {"type": "keepAliveAck"},
            {"type": "signalUpdate", "subscribeId": 3, "patches": []},
            {"type": "communicationWarning", "warning": "careful"},
        ):
            await talk.raw(json.dumps(odd))
        await talk.send(fragment("one"))
        await talk.send(success())
        await talk.send(success())
        await talk.close()
        await talk.close()

    server.handlers["predict"] = predict
    assert llm.respond("hi").content == "one"
    assert llm.respond("hi").content == "one"


def test_a_warning_of_the_server_is_logged_as_an_error(
    client: Any, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(lms.LMStudioTimeoutError):
        client.llm.remote_call("noSuchEndpoint", timeouts=lms.Timeouts(call_s=0.2))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "SDK communication warning" in caplog.text
    assert "noSuchEndpoint" in caplog.text


def test_a_frame_beyond_the_limit_ends_the_connection(make: Make, server: ScriptedServer) -> None:
    async def tokenize(talk: Talk) -> None:
        await talk.raw(
            '{"type":"rpcResult","callId":1,"result":{"tokens":[1' + ",1" * 10**6 + "]}}"
        )

    server.handlers["tokenize"] = tokenize
    small = make(server.host, frame_limit_bytes=10**6)
    with pytest.raises(lms.LMStudioWebsocketError, match="1,000,000 bytes"):
        small.llm.handle("tiny").tokenize("x")
    assert small.llm.handle("tiny").count_tokens("x") == 1
    assert len(make(server.host).llm.handle("tiny").tokenize("x")) == 10**6 + 1


def test_a_frame_of_100_megabytes_is_refused_before_it_is_read_whole(
    make: Make, server: ScriptedServer
) -> None:
    async def count(talk: Talk) -> None:
        # The head of a frame that says it has 100 MB; the rest would follow.
        talk.peer.socket.transport.write(b"\x81\x7f" + (100 * 2**20).to_bytes(8, "big"))

    server.handlers["countTokens"] = count
    client = make(server.host)
    with pytest.raises(lms.LMStudioWebsocketError, match="67,108,864 bytes"):
        client.llm.handle("tiny").count_tokens("x")


def test_half_a_frame_is_no_answer(llm: Any, server: ScriptedServer) -> None:
    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        talk.peer.socket.transport.write(b'\x81\x7e\x10\x00{"type":"chan')
        talk.peer.socket.transport.close()

    server.handlers["predict"] = predict
    got: list[str] = []
    with pytest.raises(lms.LMStudioWebsocketError, match="was lost"):
        got.extend(piece.content for piece in llm.respond_stream("hi"))
    assert got == ["one"]


def test_a_message_in_several_frames_is_one(llm: Any, server: ScriptedServer) -> None:
    async def predict(talk: Talk) -> None:
        whole = json.dumps(
            {"type": "channelSend", "channelId": talk.number, "message": fragment("é")},
            ensure_ascii=False,
        )
        await talk.peer.socket.send([whole[:20], whole[20:30], whole[30:]])
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict
    assert llm.respond("hi").content == "é"


def test_a_client_that_is_not_let_in_is_told_why(make: Make, server: ScriptedServer) -> None:
    server.refusal = "Invalid token"
    with pytest.raises(
        lms.LMStudioServerError, match=r"Authentication failed.*\n.*\n[\s\S]*Invalid"
    ):
        make(server.host).llm.list_loaded()


def test_tokens_come_from_the_caller_or_the_environment(
    make: Make, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "sk-lm-abcDEF78:abcDEF7890abcDEF7890"
    for name in ("LMSTUDIO_API_TOKEN", "LM_API_TOKEN"):
        monkeypatch.setenv(name, token)
        make(server.host).llm.list_loaded()
        monkeypatch.delenv(name)
    make(server.host, token).llm.list_loaded()
    monkeypatch.setenv("LM_API_TOKEN", "nonsense")
    make(server.host, "").llm.list_loaded()
    hellos = [frame for _, frame in server.frames if "authVersion" in frame]
    assert [hello["clientIdentifier"] for hello in hellos[:3]] == ["abcDEF78"] * 3
    assert hellos[0]["clientPasskey"] == "abcDEF7890abcDEF7890"
    assert hellos[3]["clientIdentifier"].startswith("guest:")
    with pytest.raises(lms.LMStudioValueError, match="API token"):
        make(server.host)


def test_a_server_that_accepts_and_says_nothing_is_not_reachable(make: Make) -> None:
    quick = lms.Timeouts(connect_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(lms.LMStudioWebsocketError, match=r"said nothing for 0\.2 s"):
            make(host, timeouts=quick).llm.list_loaded()
    with ScriptedServer() as mute:
        mute.silent = True
        with pytest.raises(lms.LMStudioWebsocketError, match="not reachable"):
            make(mute.host, timeouts=quick).llm.list_loaded()


def test_what_is_no_lm_studio_is_not_reachable(make: Make) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(lms.LMStudioWebsocketError, match="not reachable") as caught:
            make(host).llm.list_loaded()
        assert caught.value.exit_code == 4
        with pytest.raises(lms.LMStudioClientError, match="not reachable"):
            make(host).__enter__()
    with (
        ScriptedServer(base_path="/base") as elsewhere,
        pytest.raises(lms.LMStudioWebsocketError, match="HTTP status 404"),
    ):
        make(elsewhere.host).llm.list_loaded()


def test_a_redirection_is_named_and_not_followed(make: Make) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/llm\r\nContent-Length: 0\r\n\r\n"
    with (
        answering(answer) as host,
        pytest.raises(lms.LMStudioWebsocketError, match="redirect to 'http://elsewhere/llm'"),
    ):
        make(host).llm.list_loaded()


@pytest.mark.parametrize("text", ["", "localhost:x", "ftp://x", "http://", "http://x?y=1"])
def test_what_is_no_address_is_refused(make: Make, text: str) -> None:
    with pytest.raises(lms.LMStudioValueError, match="no address"):
        make(text)


def test_a_server_below_a_path_and_behind_tls_is_reached(
    make: Make, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    with ScriptedServer(tls=tls, base_path="/lm/base") as server:
        url = f"wss://localhost:{server.port}/lm/base/"
        client = make(url, ssl_context=trusting, headers={"X-Who": "me"})
        with client:
            assert client.llm.handle("tiny").respond("hi").content == "Hello, world!"
            assert client.embedding.handle("tiny-embed").embed(["a"] * 100) == [[1.0]] * 100
        assert {request.headers["X-Who"] for request in server.requests} == {"me"}
        with pytest.raises(lms.LMStudioWebsocketError, match="CERTIFICATE_VERIFY_FAILED"):
            make(url).llm.list_loaded()


def test_a_proxy_opens_a_way_or_is_named(make: Make, server: ScriptedServer) -> None:
    with Proxy() as proxy:
        client = make(server.host, proxy=f"http://{proxy.host}")
        assert client.llm.handle("tiny").respond("hi").content == "Hello, world!"
        assert proxy.asked == [server.host]
    with (
        answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as host,
        pytest.raises(lms.LMStudioWebsocketError, match=r"opened no way.*407"),
    ):
        make(server.host, proxy=f"http://{host}").llm.list_loaded()


def test_a_client_that_is_closed_stays_closed(client: Any) -> None:
    client.llm.list_loaded()
    client.close()
    with pytest.raises(lms.LMStudioClientError, match="The client is closed"):
        client.llm.list_loaded()


def test_a_session_may_be_opened_and_closed_by_hand(client: Any) -> None:
    session = client.system
    assert not session.connected
    session.disconnect()
    with session as entered:
        assert entered == session
        assert session.connected
        with pytest.raises(lms.LMStudioWebsocketError, match="already connected"):
            session.connect()
    assert not session.connected
    assert session.remote_call("listDownloadedModels")
    assert session.connected


def test_a_client_of_asyncio_may_be_used_in_one_loop_after_the_other(
    server: ScriptedServer,
) -> None:
    client = lms.AsyncClient(server.host)

    async def ask() -> None:
        assert (await client.llm.handle("tiny").respond("hi")).content == "Hello, world!"
        await client.llm.disconnect()

    asyncio.run(ask())
    asyncio.run(ask())


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # what the test leaves open
def test_a_loop_that_is_closed_with_streams_open_is_survived(server: ScriptedServer) -> None:
    async def endless(talk: Talk) -> None:
        await talk.send(fragment("one"))
        await talk.messages.get()

    server.handlers["predict"] = endless
    client = lms.AsyncClient(server.host)
    kept = []

    async def begin() -> None:
        stream = await client.llm.handle("tiny").respond_stream("hi")
        events = stream.events()
        kept.append((stream, events, await anext(events)))

    asyncio.run(begin())
    del server.handlers["predict"]

    async def again() -> None:
        assert (await client.llm.handle("tiny").respond("hi")).content == "Hello, world!"
        await kept[0][0].aclose()
        await client.aclose()

    asyncio.run(again())
    kept.clear()
    gc.collect()  # the socket of the loop that is gone is closed by nobody else


async def test_a_task_that_is_cancelled_cancels_its_load_on_the_server(
    server: ScriptedServer,
) -> None:
    begun, told = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    async def load(talk: Talk) -> None:
        await talk.send({"type": "progress", "progress": 0.1})
        loop.call_soon_threadsafe(begun.set)
        assert await talk.messages.get() == {"type": "cancel"}
        told.set()

    server.handlers["loadModel"] = load
    async with lms.AsyncClient(server.host) as client:
        task = asyncio.create_task(client.llm.load_new_instance("tiny"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(told.wait, 10)


async def test_many_streams_at_once_lose_nothing(server: ScriptedServer) -> None:
    async def predict(talk: Talk) -> None:
        for number in range(20):
            await talk.send(fragment(f"{number},"))
        await talk.send(success())
        await talk.close()

    server.handlers["predict"] = predict
    async with lms.AsyncClient(server.host) as client:
        model = client.llm.handle("tiny")
        results = await asyncio.gather(*(model.respond("hi") for _ in range(100)))
    whole = "".join(f"{number}," for number in range(20))
    assert [result.content for result in results] == [whole] * 100


def test_threads_share_a_client_without_mixing_answers_up(server: ScriptedServer) -> None:
    async def count(talk: Talk) -> None:
        await talk.result({"tokenCount": int(talk.parameter.input_string)})

    async def predict(talk: Talk) -> None:
        text = talk.parameter.history.messages[0].content[0].text
        for _ in range(20):
            await talk.send(fragment(text))
        await talk.send(success())
        await talk.close()

    server.handlers |= {"countTokens": count, "predict": predict}
    wrong: list[object] = []
    with lms.Client(server.host) as client:
        model = client.llm.handle("tiny")

        def work(number: int) -> None:
            for _ in range(20):
                if model.count_tokens(str(number)) != number:
                    wrong.append(number)
                if model.respond(f"<{number}>").content != f"<{number}>" * 20:
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert server.sockets == 1


def test_a_call_in_the_middle_of_a_stream_costs_it_nothing(server: ScriptedServer) -> None:
    with lms.Client(server.host) as client:
        model = client.llm.handle("tiny")
        pieces = []
        for piece in model.respond_stream("hi"):
            pieces.append(piece.content)
            assert model.count_tokens("abc") == 3
    assert pieces == ["Hello", ", ", "world", "!"]


def test_closing_a_client_wakes_a_thread_that_waits_on_it(server: ScriptedServer) -> None:
    asked = threading.Event()

    async def count(talk: Talk) -> None:
        asked.set()
        await talk.messages.get()

    server.handlers["countTokens"] = count
    problems: list[BaseException] = []
    client = lms.Client(server.host)

    def wait() -> None:
        try:
            client.llm.handle("tiny").count_tokens("x")
        except lms.LMStudioError as problem:
            problems.append(problem)

    thread = threading.Thread(target=wait)
    thread.start()
    assert asked.wait(10)
    client.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(problems) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent another way there")
def test_ctrl_c_within_a_stream_ends_it_and_leaves_the_client_sound(
    server: ScriptedServer, tmp_path: Path
) -> None:
    told = threading.Event()

    async def predict(talk: Talk) -> None:
        await talk.send(fragment("one"))
        assert await talk.messages.get() == {"type": "cancel"}
        told.set()

    server.handlers["predict"] = predict
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "import lmstrix.lmstudio as lms\n"
        "client = lms.Client(sys.argv[1])\n"
        "model = client.llm.handle('tiny')\n"
        "try:\n"
        "    for piece in model.respond_stream('hi'):\n"
        "        print(piece.content, flush=True)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted', model.count_tokens('abc'), flush=True)\n"
        "client.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script), server.host], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "interrupted 3\n"
    assert process.returncode == 0
    assert told.wait(10)
    assert server.sockets == 1


def test_the_shared_client_is_made_once_and_configured_before(
    server: ScriptedServer,
) -> None:
    try:
        lms.configure_default_client(server.host, "sk-lm-abcDEF78:abcDEF7890abcDEF7890")
        assert lms.llm("tiny").identifier == "tiny"
        assert lms.embedding_model("tiny-embed").embed("ab") == [2.0]
        assert lms.prepare_image(b"x").file_type == "image"
        assert lms.prepare_file(b"x").name
        assert [model.type for model in lms.list_downloaded_models()] == ["llm", "embedding"]
        assert [model.identifier for model in lms.list_loaded_models("llm")] == ["tiny"]
        assert lms.get_default_client() is lms.get_default_client()
        with pytest.raises(lms.LMStudioClientError, match="already created"):
            lms.configure_default_client(server.host)
        with pytest.raises(lms.LMStudioClientError, match="already created"):
            lms.get_default_client(server.host)
        hellos = [frame for _, frame in server.frames if "authVersion" in frame]
        assert {hello["clientIdentifier"] for hello in hellos} == {"abcDEF78"}
    finally:
        lms.reset_default_client()


def test_the_limit_for_all_clients_without_one_can_be_set(server: ScriptedServer) -> None:
    async def never(talk: Talk) -> None:
        await talk.messages.get()

    assert lms.get_sync_api_timeout() == 60
    server.handlers["countTokens"] = never
    with lms.Client(server.host) as client:
        model = client.llm.handle("tiny")
        try:
            lms.set_sync_api_timeout(0)
            with pytest.raises(lms.LMStudioTimeoutError):
                model.count_tokens("x")
        finally:
            lms.set_sync_api_timeout(60)


def test_lm_studio_is_looked_for_at_all_its_places_at_once(
    monkeypatch: pytest.MonkeyPatch, make: Make
) -> None:
    from lmstrix.lmstudio import greeting
    from lmstrix.lmstudio.addresses import Address

    with (
        ScriptedServer() as server,
        socket.create_server(("127.0.0.1", 0)) as silent,
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as other,
    ):
        places = [
            Address("127.0.0.1", silent.getsockname()[1]),
            Address.parse(other),
            Address("127.0.0.1", server.port),
        ]
        monkeypatch.setattr(greeting, "LIMIT_S", 0.3)
        monkeypatch.setattr(greeting.find_usual, "__defaults__", (places,))
        monkeypatch.setattr(greeting.find_usual_async, "__defaults__", (places,))
        client = make()
        with pytest.raises(lms.LMStudioRuntimeError, match="not yet resolved"):
            _ = client.api_host
        assert client.llm.list_loaded()
        assert client.api_host == server.host
        assert client.is_valid_api_host(server.host)
        assert not client.is_valid_api_host(other)
        assert client.find_default_local_api_host() == server.host


class answering:  # noqa: N801  # used as a function
    """A port that answers whoever comes with these bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> str:
        self._thread.start()
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._answer)


class Proxy:
    """An HTTP proxy that opens tunnels and keeps for whom."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._spawn(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _spawn(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            line = connection.recv(65536).decode().split(" ")
            self.asked.append(line[1])
            host, _, port = line[1].partition(":")
            upstream = socket.create_connection((host, int(port)))
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._spawn(_pump, connection, upstream)
            self._spawn(_pump, upstream, connection)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for one in (source, target):
            one.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key
