"""The channels on which models write, and the template they are asked with."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from lmstrix.errors import ContextOverflowError, GenerationError, UnsupportedError
from lmstrix.gateway.lmstudio_native.failures import NoPresetError, UnloadedError
from lmstrix.gateway.lmstudio_native.infos import load_config_fields
from lmstrix.gateway.lmstudio_native.models import GENERATING, READING
from lmstrix.gateway.lmstudio_native.questions import (
    chat_question,
    read_tool,
    text_question,
)
from lmstrix.gateway.lmstudio_native.telling import Telling
from lmstrix.protocol.lmstudio import endpoints
from lmstrix.protocol.lmstudio.config import Field, Fields
from lmstrix.protocol.lmstudio.parameters import Formatted
from lmstrix.protocol.lmstudio.predictions import PredictMessage
from lmstrix.types import Fragment, Overflow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from lmstrix.gateway.faults import Faults
    from lmstrix.gateway.gateway import Held
    from lmstrix.gateway.lmstudio_native.connection import Handlers, OpenChannel
    from lmstrix.gateway.lmstudio_native.files import Files
    from lmstrix.gateway.lmstudio_native.infos import Loaded
    from lmstrix.gateway.lmstudio_native.logs import Logs
    from lmstrix.gateway.lmstudio_native.models import Models
    from lmstrix.gateway.lmstudio_native.questions import Question
    from lmstrix.protocol.lmstudio.chats import FileHandle
    from lmstrix.protocol.lmstudio.envelopes import Auth
    from lmstrix.protocol.lmstudio.parameters import ApplyPromptTemplateParameter
    from lmstrix.protocol.lmstudio.predictions import CompleteRawTextRequest, PredictRequest
    from lmstrix.types import Image, StreamItem


class Predictions:
    """Answers on one gateway, for clients of the native protocol."""

    def __init__(
        self, models: Models, files: Files, logs: Logs, faults: Faults | None = None
    ) -> None:
        self._faults = faults
        self._models = models
        self._files = files
        self._logs = logs

    def register(self, handlers: Handlers) -> None:
        """Answer what the namespace `llm` has beyond `embedding`."""
        handlers.serve(endpoints.PREDICT, self._predict)
        handlers.serve(endpoints.COMPLETE_RAW_TEXT, self._complete)
        handlers.answer(endpoints.APPLY_PROMPT_TEMPLATE, self._apply_template)
        handlers.answer(endpoints.PRELOAD_DRAFT_MODEL, self._preload_draft)

    async def _predict(self, auth: Auth, parameter: PredictRequest, channel: OpenChannel) -> None:
        loaded = await self._models.find(parameter.model_specifier, "llm")
        _refuse_preset(parameter.fuzzy_preset_identifier)
        values = parameter.prediction_config_stack.collapse()

        def picture(part: FileHandle) -> Image | None:
            return self._files.image(auth.client_identifier, part.identifier)

        question = chat_question(parameter.history, values, pictures=picture)
        await self._answer(auth, loaded, question, values, channel)

    async def _complete(
        self, auth: Auth, parameter: CompleteRawTextRequest, channel: OpenChannel
    ) -> None:
        loaded = await self._models.find(parameter.model_specifier, "llm")
        _refuse_preset(parameter.fuzzy_preset_identifier)
        values = parameter.prediction_config_stack.collapse()
        question = text_question(parameter.raw_prompt, values)
        await self._answer(auth, loaded, question, values, channel)

    async def _answer(
        self,
        auth: Auth,
        loaded: Loaded,
        question: Question,
        values: Mapping[str, Any],
        channel: OpenChannel,
    ) -> None:
        """Tell the answer until its end, or until the client cancels it."""
        if not loaded.model.vision and any(one.images for one in question.request.messages):
            raise UnsupportedError(
                f"{loaded.model.key} sees no pictures.", hint="Ask a model with vision."
            )
        loop = asyncio.get_running_loop()
        telling = Telling(reasoning=question.reasoning, started_s=loop.time())

        async def tell() -> None:
            reads = True
            with self._models.doing(loaded, READING) as change:
                async with (
                    self._models.hold(loaded) as held,
                    aclosing(self._items(held, question)) as items,
                ):
                    async for item in items:
                        if reads and isinstance(item, Fragment):
                            reads = False
                            change(GENERATING)
                        for message in telling.feed(item, now_s=loop.time()):
                            await channel.send(message)

        self._logs.asked(auth, loaded, question.request)
        try:
            cancelled = await channel.until("cancel", tell())
        except GenerationError as error:
            if await self._models.is_gone(loaded):
                raise UnloadedError(loaded.instance.id) from error
            raise
        stats = telling.stats(now_s=loop.time(), cancelled=cancelled)
        self._logs.answered(auth, loaded, "".join(telling.texts), stats)
        await channel.send(
            PredictMessage(
                type="success",
                stats=stats,
                model_info=self._models.info(loaded),
                load_model_config=Fields(fields=load_config_fields(loaded)),
                prediction_config=Fields(
                    fields=[Field(key=key, value=value) for key, value in values.items()]
                ),
            )
        )

    async def _items(self, held: Held, question: Question) -> AsyncGenerator[StreamItem, None]:
        """The answer; a prompt that does not fit is cut as its client wants, and asked again."""
        session, instance, request = held.session, held.instance, question.request
        if (faults := self._faults) is not None:
            request = await faults.cut(session, instance, request)
        try:
            async with held.turn, aclosing(session.stream(instance, request)) as items:
                async for item in items:
                    yield item
        except ContextOverflowError:
            if question.overflow is Overflow.STOP:
                raise
        else:
            return
        request, _ = await session.shorten(instance, request, question.overflow)
        async with held.turn, aclosing(session.stream(instance, request)) as items:
            async for item in items:
                yield item

    async def _apply_template(
        self, auth: Auth, parameter: ApplyPromptTemplateParameter
    ) -> Formatted:
        """The prompt as the model sees it. Files are passed over: they are no part of the text."""
        loaded = await self._models.find(parameter.specifier, "llm")
        values = parameter.prediction_config_stack.collapse()
        question = chat_question(parameter.history, values, pictures=lambda _: None)
        request = question.request
        if offered := parameter.opts.tool_definitions:
            tools = tuple(read_tool({"function": tool.function.to_dict()}) for tool in offered)
            request = replace(request, tools=tools)
        async with self._models.hold(loaded) as held:
            return Formatted(formatted=await held.provider.render(held.instance, request))

    async def _preload_draft(self, auth: Auth, parameter: object) -> None:
        raise UnsupportedError("Draft models are not used by this server.")


def _refuse_preset(preset: str | None) -> None:
    if preset is not None:
        raise NoPresetError(preset)
