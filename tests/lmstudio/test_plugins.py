from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import lmstudio.plugin as official
import pytest
from scripted.lmstudio import ScriptedServer

from lmstrix.lmstudio import plugin
from lmstrix.lmstudio.errors import LMStudioFileNotFoundError
from lmstrix.lmstudio.plugin.running import PluginClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripted.lmstudio import Talk

_SAID = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
_PREFIX = """
    from lmstrix.lmstudio.plugin import BaseConfigSchema, config_field

    class ConfigSchema(BaseConfigSchema):
        prefix: str = config_field(label="Prefix", hint="Comes first.", default="Well: ")
        times: int = config_field(label="Times", hint="How often.", default=1)

    async def preprocess_prompt(ctl, message):
        block = await ctl.notify_start("begun")
        await block.notify_done("done")
        text = message.content[0].text
        if text == "leave":
            return None
        if text == "fail":
            raise ValueError("no")
        if text == "odd":
            return 5
        said = message.to_dict()
        part = {"type": "text", "text": ctl.plugin_config.prefix * ctl.plugin_config.times}
        return {**said, "content": [part, *said["content"]]}
"""
_TOOLS = """
    import asyncio
    from lmstrix.lmstudio.plugin import get_tool_call_context, get_tool_call_context_async

    async def list_provided_tools(ctl):
        def roll(sides: int) -> int:
            '''Roll a die.'''
            get_tool_call_context().notify_status("rolling")
            return sides

        async def think(about: str) -> str:
            '''Think.'''
            await get_tool_call_context_async().notify_warning("hm")
            return about.upper()

        async def sleep() -> None:
            '''Sleep for ever.'''
            await asyncio.Event().wait()

        return [roll, think, sleep]
"""
_GENERATOR = """
    async def generate_tokens(ctl):
        ctl.fragment_generated("You said: ")
        ctl.fragment_generated(ctl.chat.messages[-1].content[0].text)
"""


@pytest.fixture
def make_plugin(tmp_path: Path) -> Callable[..., Path]:
    def make(source: str, **manifest: object) -> Path:
        folder = tmp_path / "plugin"
        (folder / "src").mkdir(parents=True)
        (folder / "src" / "plugin.py").write_text(textwrap.dedent(source))
        about = {"type": "plugin", "runner": "python", "owner": "us", "name": "ours", **manifest}
        (folder / "manifest.json").write_text(json.dumps(about))
        return folder

    return make


async def serve_plugin(
    folder: Path, channel: str, ask: Callable[[Talk], Any]
) -> tuple[Any, list[dict[str, Any]]]:
    """Run a plugin against a server that asks it something, until that has its answer."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    async def talk(one: Talk) -> None:
        answer = await ask(one)
        loop.call_soon_threadsafe(done.set_result, answer)
        await one.close()

    async def note(one: Talk) -> None:
        await one.result()

    handlers = {channel: talk}
    for call in ("processingHandleUpdate", "setConfigSchematics", "pluginInitCompleted"):
        handlers[call] = note
    with ScriptedServer(handlers) as server:
        async with PluginClient(folder, api_host=server.host) as client:
            assert await client.run_plugin() == 0
        return await done, server.sent("rpcCall")


async def test_a_prompt_is_preprocessed_by_what_the_user_set(make_plugin: Callable[..., Path]):
    async def ask(talk: Talk) -> list[Any]:
        answers = []
        for number, text in enumerate(("hi", "leave", "fail", "odd")):
            said = {"role": "user", "content": [{"type": "text", "text": text}]}
            await talk.send(
                {
                    "type": "preprocess",
                    "taskId": str(number),
                    "input": said,
                    "pluginConfig": {"fields": [{"key": "times", "value": 2}, {"key": "new"}]},
                    "globalPluginConfig": {"fields": []},
                    "workingDirectoryPath": None,
                    "pci": "p",
                    "token": "t",
                }
            )
            answers.append(await talk.messages.get())
        return answers

    answers, calls = await serve_plugin(make_plugin(_PREFIX), "setPromptPreprocessor", ask)
    assert answers[0] == {
        "type": "complete",
        "taskId": "0",
        "processed": {
            "role": "user",
            "content": [{"type": "text", "text": "Well: Well: "}, {"type": "text", "text": "hi"}],
        },
    }
    assert answers[1]["processed"]["content"] == [{"type": "text", "text": "leave"}]
    assert [answer["type"] for answer in answers] == ["complete", "complete", "error", "error"]
    assert "ValueError: no" in answers[2]["error"]["cause"]
    assert "int, not a UserMessage" in answers[3]["error"]["cause"]
    assert [call["endpoint"] for call in calls[:2]] == [
        "setConfigSchematics",
        "pluginInitCompleted",
    ]
    fields = calls[0]["parameter"]["schematics"]["fields"]
    assert [(field["shortKey"], field["typeKey"], field["defaultValue"]) for field in fields] == [
        ("prefix", "string", "Well: "),
        ("times", "numeric", 1),
    ]
    updates = [call["parameter"] for call in calls if call["endpoint"] == "processingHandleUpdate"]
    assert [update["update"]["type"] for update in updates[:2]] == [
        "status.create",
        "status.update",
    ]
    assert (updates[0]["pci"], updates[0]["token"]) == ("p", "t")


async def test_a_preprocessing_is_ended_when_the_server_says_so(make_plugin: Callable[..., Path]):
    source = """
        import asyncio

        async def preprocess_prompt(ctl, message):
            await asyncio.Event().wait()
    """

    async def ask(talk: Talk) -> Any:
        begin = {"type": "preprocess", "taskId": "1", "input": _SAID, "pci": "", "token": ""}
        await talk.send(begin)
        await talk.send({"type": "abort", "taskId": "1"})
        return await talk.messages.get()

    answer, _ = await serve_plugin(make_plugin(source), "setPromptPreprocessor", ask)
    assert answer == {"type": "aborted", "taskId": "1"}


async def test_tools_of_a_plugin_are_listed_called_and_ended(make_plugin: Callable[..., Path]):
    async def ask(talk: Talk) -> list[Any]:
        async def call(number: int, name: str, parameters: dict[str, Any]) -> None:
            await talk.send(
                {
                    "type": "callTool",
                    "sessionId": "s",
                    "callId": str(number),
                    "toolName": name,
                    "parameters": parameters,
                }
            )

        answers = []
        await talk.send({"type": "initSession", "sessionId": "s"})
        answers.append(await talk.messages.get())
        for number, (name, parameters) in enumerate(
            (("roll", {"sides": 6}), ("think", {"about": "x"}), ("roll", {}), ("nope", {}))
        ):
            await call(number, name, parameters)
            answers.append(await talk.messages.get())
            if answers[-1]["type"] in ("toolCallStatus", "toolCallWarn"):
                answers.append(await talk.messages.get())
        await call(9, "sleep", {})
        await talk.send({"type": "abortToolCall", "sessionId": "s", "callId": "9"})
        await talk.send({"type": "discardSession", "sessionId": "s"})
        await call(10, "roll", {"sides": 1})
        answers.append(await talk.messages.get())
        return answers

    answers, _ = await serve_plugin(make_plugin(_TOOLS), "setToolsProvider", ask)
    names = [tool["function"]["name"] for tool in answers[0]["toolDefinitions"]]
    assert names == ["roll", "think", "sleep"]
    about = {"sessionId": "s", "callId": "0"}
    assert answers[1] == {"type": "toolCallStatus", **about, "statusText": "rolling"}
    assert answers[2] == {"type": "toolCallComplete", **about, "result": 6}
    assert answers[3]["warnText"] == "hm"
    assert answers[4]["result"] == "X"
    assert [answer["type"] for answer in answers[5:]] == ["toolCallError"] * 3
    assert "Failed to parse arguments" in answers[5]["error"]["cause"]
    assert "Cannot find tool" in answers[6]["error"]["cause"]
    assert "session is over" in answers[7]["error"]["cause"]


async def test_a_plugin_writes_answers_in_a_models_place(make_plugin: Callable[..., Path]):
    async def ask(talk: Talk) -> list[Any]:
        await talk.send({"type": "generate", "taskId": "1", "input": {"messages": [_SAID]}})
        return [await talk.messages.get() for _ in range(3)]

    answers, _ = await serve_plugin(make_plugin(_GENERATOR), "setGenerator", ask)
    assert [answer.get("content") for answer in answers] == ["You said: ", "hi", None]
    assert answers[2] == {"type": "complete", "taskId": "1"}


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        ({"type": "preset"}, plugin.LMStudioPluginInitError),
        ({"runner": "node"}, plugin.LMStudioPluginInitError),
        ({"name": 5}, plugin.LMStudioPluginInitError),
    ],
)
def test_what_is_no_plugin_is_refused(
    manifest: dict[str, Any], error: type[Exception], make_plugin: Callable[..., Path]
):
    with pytest.raises(error):
        PluginClient(make_plugin("", **manifest))


async def test_a_plugin_needs_its_files_and_a_hook(
    make_plugin: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(LMStudioFileNotFoundError):
        PluginClient(tmp_path)
    with ScriptedServer() as server:
        async with PluginClient(make_plugin("x = 1"), api_host=server.host) as client:
            assert await client.run_plugin() == 1
            (client.folder / "src" / "plugin.py").unlink()
            with pytest.raises(LMStudioFileNotFoundError):
                await client.run_plugin()
    assert "defines no hook" in capsys.readouterr().out
    with pytest.warns(FutureWarning), pytest.raises(plugin.LMStudioPluginRuntimeError):
        await plugin.run_plugin_async(tmp_path)


def test_settings_are_declared_by_their_defaults():
    class Base(plugin.BaseConfigSchema):
        one: bool = plugin.config_field(label="One", hint="1", default=True)

    class Schema(Base):
        two: float = plugin.config_field(label="Two", hint="2", default=0.5)

    assert (Schema().one, Schema().two) == (True, 0.5)
    assert Schema(two=1.5).two == 1.5
    assert repr(Schema()) == "Schema(one=True, two=0.5)"
    told = Schema.read({"fields": [{"key": "one", "value": False}, {"key": "new", "value": 1}]})
    assert (told.one, told.two) == (False, 0.5)
    schematics = Schema.schematics()
    assert schematics is not None
    assert [field["typeKey"] for field in schematics["fields"]] == ["boolean", "numeric"]
    assert plugin.BaseConfigSchema.schematics() is None
    with pytest.raises(plugin.LMStudioPluginInitError, match="no settings"):
        Schema(three=1)
    with pytest.raises(plugin.LMStudioPluginInitError, match="Unsupported type"):
        plugin.config_field(label="", hint="", default=[])


def test_outside_of_a_call_there_is_no_context():
    for find in (plugin.get_tool_call_context, plugin.get_tool_call_context_async):
        with pytest.raises(plugin.LMStudioPluginRuntimeError):
            find()


def test_every_name_of_the_official_plugin_package_is_here():
    theirs = {name for name in dir(official) if not name.startswith("_")}
    modules = {"cli", "config_schemas", "hooks", "runner", "sdk_api"}
    assert theirs - modules <= set(plugin.__all__)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent another way there")
def test_a_plugin_in_development_runs_until_it_is_interrupted(
    make_plugin: Callable[..., Path], gateway: str
):
    with subprocess.Popen(
        [
            sys.executable,
            *("-u", "-m", "lmstrix.lmstudio.plugin", "--dev", "--host", gateway),
            str(make_plugin(_PREFIX)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "Plugin 'ours' running, press Ctrl-C to terminate...\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.read() == "Plugin execution terminated by console interrupt\n"
        errors = process.stderr.read()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "FutureWarning" in errors
