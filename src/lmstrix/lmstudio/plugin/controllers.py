"""What a hook is given: the settings, the work at hand, and ways to say how it goes."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lmstrix.lmstudio.history import Chat
from lmstrix.lmstudio.plugin.errors import LMStudioPluginRuntimeError
from lmstrix.lmstudio.plugin.settings import BaseConfigSchema
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.parameters import ProcessingUpdateParameter
from lmstrix.protocol.lmstudio.predictions import LlmPredictionFragment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from lmstrix.lmstudio.async_session import AsyncSession
    from lmstrix.protocol.lmstudio.chats import ToolCallRequest

    Send = Callable[[dict[str, Any]], None]

PluginConfigT = TypeVar("PluginConfigT", bound=BaseConfigSchema)
GlobalConfigT = TypeVar("GlobalConfigT", bound=BaseConfigSchema)
_CANCELLED_S = 0.2  # how long a cancellation may take to be told


class HookController(Generic[PluginConfigT, GlobalConfigT]):
    """What every hook is given. `request` is the server's whole message."""

    def __init__(
        self,
        session: AsyncSession,
        request: Mapping[str, Any],
        plugin_schema: type[PluginConfigT],
        global_schema: type[GlobalConfigT],
    ) -> None:
        self.session = session
        self.request = request
        self.plugin_config = plugin_schema.read(request.get("pluginConfig") or {})
        self.global_config = global_schema.read(request.get("globalPluginConfig") or {})
        folder = request.get("workingDirectoryPath")
        self.working_path = Path(folder) if folder else None


class StatusBlockController:
    """A line of the conversation that tells how a task goes."""

    def __init__(self, block_id: str, tell: Callable[[str, str, str], Awaitable[None]]) -> None:
        self._id = block_id
        self._tell = tell

    async def notify_waiting(self, message: str) -> None:
        """It waits for something."""
        await self._tell(self._id, "waiting", message)

    async def notify_working(self, message: str) -> None:
        """It is at work."""
        await self._tell(self._id, "loading", message)

    async def notify_error(self, message: str) -> None:
        """It went wrong."""
        await self._tell(self._id, "error", message)

    async def notify_canceled(self, message: str) -> None:
        """It was cancelled."""
        await self._tell(self._id, "canceled", message)

    async def notify_done(self, message: str) -> None:
        """It is done."""
        await self._tell(self._id, "done", message)

    @asynccontextmanager
    async def notify_aborted(self, message: str) -> AsyncGenerator[None, None]:
        """Within the block, tell of a cancellation before it takes its course."""
        try:
            yield
        except asyncio.CancelledError:
            telling = asyncio.ensure_future(self.notify_canceled(message))
            await asyncio.wait([telling], timeout=_CANCELLED_S)
            telling.cancel()
            raise


class PromptPreprocessorController(HookController[PluginConfigT, GlobalConfigT]):
    """For a hook that changes what the user says."""

    @property
    def task_id(self) -> str:
        """The task's name on the server."""
        return str(self.request["taskId"])

    async def notify_start(self, message: str) -> StatusBlockController:
        """Begin a line that tells how the task goes."""
        block_id = _block_id()
        await self._tell("status.create", block_id, "waiting", message)

        async def tell(block_id: str, status: str, text: str) -> None:
            await self._tell("status.update", block_id, status, text)

        return StatusBlockController(block_id, tell)

    async def notify_done(self, message: str) -> None:
        """Tell of something that is done already."""
        await self._tell("status.create", _block_id(), "done", message)

    async def _tell(self, kind: str, block_id: str, status: str, text: str) -> None:
        parameter = ProcessingUpdateParameter(
            pci=self.request["pci"],
            token=self.request["token"],
            update={"type": kind, "id": block_id, "state": {"status": status, "text": text}},
        )
        await self.session.ask(endpoints.PROCESSING_HANDLE_UPDATE, parameter)


class ToolsProviderController(HookController[PluginConfigT, GlobalConfigT]):
    """For a hook that lists tools."""

    @property
    def session_id(self) -> str:
        """The session's name on the server."""
        return str(self.request["sessionId"])


class TokenGeneratorController(HookController[PluginConfigT, GlobalConfigT]):
    """For a hook that writes answers in a model's place."""

    def __init__(
        self,
        session: AsyncSession,
        request: Mapping[str, Any],
        plugin_schema: type[PluginConfigT],
        global_schema: type[GlobalConfigT],
        *,
        send: Send,
    ) -> None:
        super().__init__(session, request, plugin_schema, global_schema)
        self._send = send

    @property
    def task_id(self) -> str:
        """The task's name on the server."""
        return str(self.request["taskId"])

    @property
    def chat(self) -> Chat:
        """The conversation that is to be answered."""
        return Chat.from_history(self.request["input"])

    @property
    def tool_definitions(self) -> Sequence[Mapping[str, Any]]:
        """The tools that may be called."""
        return self.request.get("toolDefinitions") or ()

    def fragment_generated(
        self, content: str | LlmPredictionFragment, *, reasoning_type: str | None = None
    ) -> None:
        """Tell a piece of the answer."""
        options: dict[str, Any] = {}
        if isinstance(content, LlmPredictionFragment):
            options = {
                "tokenCount": content.tokens_count,
                "containsDrafted": content.contains_drafted,
                "reasoningType": content.reasoning_type,
            }
            content = content.content
        if reasoning_type is not None:
            options["reasoningType"] = reasoning_type
        self._tell("fragmentGenerated", content=content, opts=options)

    def tool_call_started(self, tool_call_id: str | None = None) -> None:
        """Tell that a call of a tool begins."""
        known = {} if tool_call_id is None else {"toolCallId": tool_call_id}
        self._tell("toolCallGenerationStarted", **known)

    def tool_call_named(self, name: str) -> None:
        """Tell which tool it is."""
        self._tell("toolCallGenerationNameReceived", toolName=name)

    def tool_call_arguments(self, content: str) -> None:
        """Tell a piece of its arguments."""
        self._tell("toolCallGenerationArgumentFragmentGenerated", content=content)

    def tool_call_ended(self, request: ToolCallRequest) -> None:
        """Tell the whole call."""
        self._tell("toolCallGenerationEnded", toolCallRequest=request)

    def tool_call_failed(self, message: str) -> None:
        """Tell that it came to nothing."""
        self._tell("toolCallGenerationFailed", error={"title": message, "rootTitle": message})

    def _tell(self, kind: str, **more: Any) -> None:
        self._send({"type": kind, "taskId": self.task_id, **more})


class _CallContext:
    def __init__(self, session_id: str, call_id: str, send: Send) -> None:
        self.session_id = session_id
        self.call_id = call_id
        self._send = send

    def _message(self, kind: str, **text: str) -> dict[str, Any]:
        return {"type": kind, "sessionId": self.session_id, "callId": self.call_id, **text}


class AsyncToolCallContext(_CallContext):
    """For a tool that is a coroutine: ways to say how it goes."""

    async def notify_status(self, message: str) -> None:
        """Tell what it is at."""
        self._send(self._message("toolCallStatus", statusText=message))

    async def notify_warning(self, message: str) -> None:
        """Tell of something odd."""
        self._send(self._message("toolCallWarn", warnText=message))


class ToolCallContext(_CallContext):
    """For a tool that runs in a thread: ways to say how it goes."""

    def __init__(self, session_id: str, call_id: str, send: Send) -> None:
        super().__init__(session_id, call_id, send)
        self._loop = asyncio.get_running_loop()

    def notify_status(self, message: str) -> None:
        """Tell what it is at."""
        message_ = self._message("toolCallStatus", statusText=message)
        self._loop.call_soon_threadsafe(self._send, message_)

    def notify_warning(self, message: str) -> None:
        """Tell of something odd."""
        message_ = self._message("toolCallWarn", warnText=message)
        self._loop.call_soon_threadsafe(self._send, message_)


IN_THREAD: ContextVar[ToolCallContext] = ContextVar("tool_call_in_thread")
IN_LOOP: ContextVar[AsyncToolCallContext] = ContextVar("tool_call_in_loop")


def get_tool_call_context() -> ToolCallContext:
    """The call that is running, for tools that are functions.

    Raises `LMStudioPluginRuntimeError` elsewhere.
    """
    found = IN_THREAD.get(None)
    if found is None:
        raise LMStudioPluginRuntimeError(
            "Use 'get_tool_call_context_async()' in asynchronous tool definition"
            if IN_LOOP.get(None) is not None
            else "No tool is being called."
        )
    return found


def get_tool_call_context_async() -> AsyncToolCallContext:
    """The call that is running, for tools that are coroutines.

    Raises `LMStudioPluginRuntimeError` elsewhere.
    """
    found = IN_LOOP.get(None)
    if found is None:
        raise LMStudioPluginRuntimeError(
            "Use 'get_tool_call_context()' in synchronous tool definition"
            if IN_THREAD.get(None) is not None
            else "No tool is being called."
        )
    return found


def _block_id() -> str:
    return f"block-{secrets.token_hex(8)}"
