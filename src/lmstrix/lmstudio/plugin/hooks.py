"""The three hooks: their channels, and what is done with what comes on them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from lmstrix.lmstudio.plugin.controllers import (
    IN_LOOP,
    IN_THREAD,
    AsyncToolCallContext,
    PromptPreprocessorController,
    TokenGeneratorController,
    ToolCallContext,
    ToolsProviderController,
)
from lmstrix.lmstudio.plugin.errors import LMStudioPluginRuntimeError
from lmstrix.lmstudio.tools import InvalidCallError, Toolbox
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.chats import ToolCallRequest, UserMessage

if TYPE_CHECKING:
    from lmstrix.lmstudio.async_session import AsyncSession
    from lmstrix.lmstudio.async_socket import AsyncSocket
    from lmstrix.lmstudio.link import Inbox
    from lmstrix.lmstudio.plugin.settings import BaseConfigSchema
    from lmstrix.protocol.lmstudio.endpoints import Channel

_LOG = logging.getLogger("lmstrix.lmstudio.plugin")
_MESSAGE = msgspec.json.Decoder(dict[str, Any])
Hook = Callable[..., Awaitable[Any]]


class HookChannel:
    """A hook that serves what the server asks on its channel. `tasks` are what runs, by name."""

    channel: Channel
    hook_name: str

    def __init__(
        self,
        plugin: str,
        hook: Hook,
        plugin_schema: type[BaseConfigSchema],
        global_schema: type[BaseConfigSchema],
    ) -> None:
        self.plugin = plugin
        self.hook = hook
        self.schemas = (plugin_schema, global_schema)
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._send: Callable[[Any], None] = _send_nowhere

    async def serve(self, session: AsyncSession, ready: Callable[[], None]) -> None:
        """Serve until the server closes the channel."""
        socket, inbox = await session.open(self.channel, msgspec.UNSET, self.hook_name)
        self._send = lambda message: socket.send(inbox, message)
        ready()
        async with asyncio.TaskGroup() as group:
            try:
                async for message in _messages(socket, inbox):
                    self.take(session, message, group)
            finally:
                for task in self.tasks.values():
                    task.cancel()

    def take(
        self, session: AsyncSession, message: Mapping[str, Any], group: asyncio.TaskGroup
    ) -> None:
        """Do what a message asks."""
        raise NotImplementedError

    def send(self, message: Any) -> None:
        """Answer the server."""
        self._send(message)

    def begin(
        self, name: str, work: Callable[[], Awaitable[None]], group: asyncio.TaskGroup
    ) -> None:
        """Run something that can be ended by its name."""

        async def run() -> None:
            try:
                await work()
            finally:
                self.tasks.pop(name, None)

        if name in self.tasks:
            _LOG.error("%s: %s is under way already", self.hook_name, name)
            return
        self.tasks[name] = group.create_task(run())

    def end(self, name: str) -> None:
        """End what runs under that name."""
        task = self.tasks.get(name)
        if task is not None:
            task.cancel()

    def failure(self, what: str, problem: BaseException) -> dict[str, Any]:
        """An error as the server is told it; the log has the traceback."""
        _LOG.error("%s failed", what, exc_info=problem)
        title = f"{what} in plugin {self.plugin!r}"
        return {
            "title": title,
            "rootTitle": title,
            "cause": f"{type(problem).__name__}: {problem}",
        }


class Preprocessing(HookChannel):
    """`preprocess_prompt(ctl, message)`: another message in its place, or `None` to leave it."""

    channel = endpoints.SET_PROMPT_PREPROCESSOR
    hook_name = "preprocess_prompt"

    def take(
        self, session: AsyncSession, message: Mapping[str, Any], group: asyncio.TaskGroup
    ) -> None:
        """Preprocess, or end it."""
        task_id = str(message.get("taskId"))
        if message.get("type") == "abort":
            self.end(task_id)
            self.send({"type": "aborted", "taskId": task_id})
        elif message.get("type") == "preprocess":
            ctl = PromptPreprocessorController(session, message, *self.schemas)
            self.begin(task_id, lambda: self._preprocess(ctl), group)

    async def _preprocess(self, ctl: PromptPreprocessorController[Any, Any]) -> None:
        try:
            said = msgspec.convert(ctl.request["input"], UserMessage)
            processed = await self.hook(ctl, said)
            if processed is None:
                processed = said
            if isinstance(processed, Mapping):
                processed = UserMessage.from_dict(processed)
            if not isinstance(processed, UserMessage):
                raise LMStudioPluginRuntimeError(  # noqa: TRY301  # told like any other failure
                    f"The hook returned a {type(processed).__name__}, not a UserMessage."
                )
        except Exception as problem:  # noqa: BLE001  # the plugin's code; the server is told
            error = self.failure("Prompt preprocessing error", problem)
            self.send({"type": "error", "taskId": ctl.task_id, "error": error})
        else:
            self.send({"type": "complete", "taskId": ctl.task_id, "processed": processed})


class Providing(HookChannel):
    """`list_provided_tools(ctl)`: the tools of one session, called until it is discarded."""

    channel = endpoints.SET_TOOLS_PROVIDER
    hook_name = "list_provided_tools"

    def __init__(
        self,
        plugin: str,
        hook: Hook,
        plugin_schema: type[BaseConfigSchema],
        global_schema: type[BaseConfigSchema],
    ) -> None:
        super().__init__(plugin, hook, plugin_schema, global_schema)
        self._sessions: dict[str, Toolbox] = {}

    def take(
        self, session: AsyncSession, message: Mapping[str, Any], group: asyncio.TaskGroup
    ) -> None:
        """Begin or end a session, call a tool or end that."""
        kind, session_id = message.get("type"), str(message.get("sessionId"))
        call = f"{session_id}/{message.get('callId')}"
        if kind == "initSession":
            ctl = ToolsProviderController(session, message, *self.schemas)
            self.begin(session_id, lambda: self._list(ctl), group)
        elif kind == "discardSession":
            self._sessions.pop(session_id, None)
            for name in [name for name in self.tasks if name.startswith(f"{session_id}/")]:
                self.end(name)
        elif kind == "callTool":
            self.begin(call, lambda: self._call(message), group)
        elif kind == "abortToolCall":
            self.end(call)

    async def _list(self, ctl: ToolsProviderController[Any, Any]) -> None:
        about = {"sessionId": ctl.session_id}
        try:
            tools: Iterable[Any] = await self.hook(ctl)
            toolbox = Toolbox(tools)
            toolbox.refuse_unrunnable()
        except Exception as problem:  # noqa: BLE001  # the plugin's code; the server is told
            error = self.failure("Tools listing error", problem)
            self.send({"type": "sessionInitializationFailed", **about, "error": error})
            return
        self._sessions[ctl.session_id] = toolbox
        told = toolbox.definitions()
        self.send({"type": "sessionInitialized", **about, "toolDefinitions": told})

    async def _call(self, message: Mapping[str, Any]) -> None:
        about = {"sessionId": message["sessionId"], "callId": message["callId"]}
        try:
            toolbox = self._sessions.get(message["sessionId"])
            if toolbox is None:
                raise InvalidCallError("The session is over.")  # noqa: TRY301  # told like any other
            request = ToolCallRequest(
                type="function", name=message["toolName"], arguments=message.get("parameters")
            )
            prepared = toolbox.prepare(request)
            result = await self._run(prepared, message)
        except Exception as problem:  # noqa: BLE001  # the plugin's code; the server is told
            why = f"{type(problem).__name__}: {problem}"
            what = f"Error calling tool {message.get('toolName')} ({why})"
            self.send({"type": "toolCallError", **about, "error": self.failure(what, problem)})
        else:
            self.send({"type": "toolCallComplete", **about, "result": result})

    async def _run(self, prepared: Any, message: Mapping[str, Any]) -> Any:
        about = (str(message["sessionId"]), str(message["callId"]), self.send)
        if prepared.is_async:
            IN_LOOP.set(AsyncToolCallContext(*about))
            return await prepared.implementation(**prepared.arguments)
        IN_THREAD.set(ToolCallContext(*about))
        return await asyncio.to_thread(prepared.implementation, **prepared.arguments)


class Generating(HookChannel):
    """`generate_tokens(ctl)`: an answer, told piece by piece through the controller."""

    channel = endpoints.SET_GENERATOR
    hook_name = "generate_tokens"

    def take(
        self, session: AsyncSession, message: Mapping[str, Any], group: asyncio.TaskGroup
    ) -> None:
        """Answer, or end it."""
        task_id = str(message.get("taskId"))
        if message.get("type") == "abort":
            self.end(task_id)
            self.send({"type": "aborted", "taskId": task_id})
        elif message.get("type") == "generate":
            ctl = TokenGeneratorController(session, message, *self.schemas, send=self.send)
            self.begin(task_id, lambda: self._generate(ctl), group)

    async def _generate(self, ctl: TokenGeneratorController[Any, Any]) -> None:
        try:
            await self.hook(ctl)
        except Exception as problem:  # noqa: BLE001  # the plugin's code; the server is told
            error = self.failure("Generation error", problem)
            self.send({"type": "error", "taskId": ctl.task_id, "error": error})
        else:
            self.send({"type": "complete", "taskId": ctl.task_id})


HOOKS: tuple[type[HookChannel], ...] = (Preprocessing, Generating, Providing)


async def _messages(socket: AsyncSocket, inbox: Inbox) -> AsyncIterator[dict[str, Any]]:
    """What the server sends on a channel, until it closes it."""
    try:
        while True:
            await socket.wait(inbox, None)
            while inbox.items:
                yield _MESSAGE.decode(inbox.items.popleft())
            if inbox.closed:
                if inbox.error is not None:
                    raise inbox.error
                return
    finally:
        socket.release(inbox)


def _send_nowhere(_: Any) -> None:
    raise LMStudioPluginRuntimeError("The hook is not connected yet.")
