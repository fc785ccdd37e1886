"""LM Studio by its OpenAI endpoints, with its own REST interface for what those do not tell."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from lmstrix.errors import (
    LoadError,
    NotFoundError,
    OutOfMemoryError,
    UnreachableError,
    UnsupportedError,
)
from lmstrix.protocol.lmstudio import rest
from lmstrix.protocol.openai.errors import error_from
from lmstrix.protocol.openai.requests import Dialect
from lmstrix.providers import Capabilities
from lmstrix.providers.identify import LMSTUDIO, Said, look_for
from lmstrix.providers.openai import OpenAIProvider
from lmstrix.types import Instance, Listing, LoadConfig, Model, ModelType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from lmstrix.config import Places, Settings
    from lmstrix.providers.http import Whole
    from lmstrix.types import ProgressListener, Request

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_USUAL = ("http://127.0.0.1:1234",)
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_V0_TYPES = {"vlm": ModelType.VLM, "embeddings": ModelType.EMBEDDING}
# What LM Studio's REST interface has no word for, by the fields of `LoadConfig`.
_NO_WORDS = ("kv_type_k", "kv_type_v", "gpu_layers", "threads", "memory_limit_bytes")


class LMStudioProvider(OpenAIProvider):
    """One LM Studio by its OpenAI endpoints.

    Versions before 0.4 load what is asked for when it is asked, and are not told to.
    """

    name: ClassVar[str] = "lmstudio-openai"
    preference: ClassVar[int] = 20
    capabilities: ClassVar[Capabilities] = replace(
        OpenAIProvider.capabilities, supports_logprobs=False, supports_load=True
    )

    @classmethod
    async def discover(cls, settings: Settings, places: Places) -> Sequence[Self]:  # noqa: ARG003  # files are no matter of servers
        """LM Studio at its usual port, or where the user says that a server is."""
        found = await look_for(cls.name, settings, _USUAL)
        return [cls(server, expected=named, said=said) for server, said, named in found]

    @property
    def engine(self) -> str:
        """LM Studio does not tell its version here."""
        return "LM Studio"

    @property
    def _dialect(self) -> Dialect:
        return Dialect.LMSTUDIO

    async def _know(self) -> Said:
        """The user or the greeting said what it is."""
        return Said(kinds=LMSTUDIO, dialect=Dialect.LMSTUDIO)

    async def _check(self, instance: Instance, request: Request) -> None:
        await self.check_model(instance, request)

    async def capabilities_of(self, model: Model) -> Capabilities:
        """What LM Studio says that the model can do."""
        if model.type is ModelType.EMBEDDING:
            return Capabilities(supports_embeddings=True, supports_load=True)
        return replace(
            self.capabilities,
            supports_vision=model.vision,
            supports_tools=model.tools,
            supports_reasoning=model.reasoning,
            supports_embeddings=False,
        )

    async def list_models(self, *, known: Sequence[Model] = ()) -> Listing:
        """Every downloaded model."""
        new = await self._ask(rest.V1_MODELS, rest.ModelListV1)
        if new is not None:
            return Listing(models=tuple(self._model_v1(one) for one in new.models))
        old = await self._ask(rest.V0_MODELS, rest.ModelListV0)
        if old is not None:
            return Listing(models=tuple(self._model_v0(one) for one in old.data))
        return await super().list_models(known=known)

    def _model_v1(self, one: rest.ModelV1) -> Model:
        can = one.capabilities or rest.ModelCapabilities()
        kind = ModelType.VLM if can.vision else ModelType.LLM
        return Model(
            key=one.key,
            provider=self.name,
            server=self.server,
            type=ModelType.EMBEDDING if one.type == "embedding" else kind,
            format=one.format or "",
            size_bytes=one.size_bytes,
            name=one.display_name or None,
            architecture=one.architecture or None,
            parameters=parameter_count(one.params_string or ""),
            quantization=one.quantization.name if one.quantization else None,
            declared_context_tokens=one.max_context_length or None,
            vision=can.vision,
            tools=can.trained_for_tool_use,
            reasoning=can.reasoning is not UNSET,
            description=one.description or None,
        )

    def _model_v0(self, one: rest.ModelV0) -> Model:
        kind = _V0_TYPES.get(one.type, ModelType.LLM)
        return Model(
            key=one.id,
            provider=self.name,
            server=self.server,
            type=kind,
            format=one.compatibility_type,
            architecture=one.arch or None,
            quantization=one.quantization or None,
            declared_context_tokens=one.max_context_length or None,
            vision=kind is ModelType.VLM,
            tools="tool_use" in (one.capabilities or ()),
            # Version 0 does not tell; who asks a model that cannot is told by the server.
            reasoning=True,
        )

    async def list_instances(self) -> Sequence[Instance]:
        """Every loaded instance with its real context."""
        new = await self._ask(rest.V1_MODELS, rest.ModelListV1)
        if new is not None:
            return [
                self._instance(one.key, loaded.id, loaded.config)
                for one in new.models
                for loaded in one.loaded_instances
            ]
        old = await self._ask(rest.V0_MODELS, rest.ModelListV0)
        if old is None:
            return await super().list_instances()
        return [
            self._instance(one.id, one.id, rest.LoadSettings(context_length=length))
            for one in old.data
            if one.state == "loaded"
            for length in [one.loaded_context_length]
        ]

    def _instance(self, key: str, name: str, held: rest.LoadSettings) -> Instance:
        return Instance(
            id=name,
            model_key=key,
            provider=self.name,
            server=self.server,
            context_tokens=held.context_length or None,
            parallel=held.parallel or 1,
            config=LoadConfig(
                context_tokens=held.context_length or None,
                batch_tokens=held.eval_batch_size or None,
                flash_attention=None if held.flash_attention is UNSET else held.flash_attention,
            ),
        )

    async def load(
        self,
        model: Model,
        config: LoadConfig,
        *,
        instance_id: str | None = None,
        resident: bool = False,  # noqa: ARG002  # what LM Studio has loaded stays loaded
        on_progress: ProgressListener | None = None,  # noqa: ARG002  # it tells none
    ) -> Instance:
        """Load a model; LM Studio names the instance.

        Raises `UnsupportedError` for settings that only its native protocol knows.
        """
        self._refuse_unknown(config, instance_id)
        wish = rest.LoadRequest(
            model=model.key,
            context_length=config.context_tokens or UNSET,
            eval_batch_size=config.batch_tokens or UNSET,
            flash_attention=UNSET if config.flash_attention is None else config.flash_attention,
            echo_load_config=True,
        )
        whole = await self._http.call("POST", rest.V1_LOAD, _encode(wish))
        if not whole.ok or _lacks_path(whole):
            raise self._load_error(whole, model, config)
        loaded = self._read(whole, rest.V1_LOAD, rest.LoadAnswer)
        for one in await self.list_instances():
            if one.id == loaded.instance_id:
                return replace(one, load_s=loaded.load_time_seconds)
        raise LoadError(
            f"LM Studio says that it loaded {model.key} as {loaded.instance_id}, which is not "
            "loaded.",
            model=model.key,
            context_tokens=config.context_tokens,
            hint="Its own log may say more: lms log stream",
        )

    def _refuse_unknown(self, config: LoadConfig, instance_id: str | None) -> None:
        unknown = [name for name in _NO_WORDS if getattr(config, name) is not None]
        if instance_id is not None:
            unknown.append("a name for the instance")
        if unknown:
            raise UnsupportedError(
                f"LM Studio's REST interface cannot be told {', '.join(unknown)}.",
                hint="Use its native protocol: --provider lmstudio.",
            )

    def _load_error(self, whole: Whole, model: Model, config: LoadConfig) -> Exception:
        error = self._http.refused(whole, error_from(whole.body, status=whole.status))
        if isinstance(error, NotFoundError | UnreachableError):
            return error
        if _lacks_path(whole):
            return UnsupportedError(
                f"The LM Studio at {self.server} cannot be told what to load.",
                hint="Load it there, or use version 0.4 or newer.",
            )
        kind = OutOfMemoryError if "memory" in error.message.lower() else LoadError
        return kind(
            f"LM Studio did not load {model.key}: {error.message}",
            model=model.key,
            context_tokens=config.context_tokens,
            hint="Try a smaller context.",
        )

    async def unload(self, instance_id: str) -> None:
        """End an instance. Raises `NotFoundError` when there is none by that id."""
        if all(one.id != instance_id for one in await self.list_instances()):
            raise NotFoundError(
                f"No instance named {instance_id} is loaded.", hint="See what is: lmstrix ps"
            )
        body = _encode(rest.UnloadRequest(instance_id))
        whole = await self._http.call("POST", rest.V1_UNLOAD, body)
        self._read(whole, rest.V1_UNLOAD, rest.UnloadAnswer)

    async def _ask(self, path: str, kind: type[_T]) -> _T | None:
        """The answer, `None` from an LM Studio that does not know the question."""
        whole = await self._http.get(path)
        return None if _lacks_path(whole) else self._read(whole, path, kind)


def _lacks_path(whole: Whole) -> bool:
    """Whether the question is unknown: then LM Studio says so, with one of two statuses."""
    return whole.status == HTTPStatus.NOT_FOUND or b"Unexpected endpoint" in whole.body


def parameter_count(text: str) -> int | None:
    """How many parameters `7B` or `270M` are; `None` for what is written otherwise."""
    number, unit = text.strip()[:-1], text.strip()[-1:].upper()
    try:
        return round(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        return None
