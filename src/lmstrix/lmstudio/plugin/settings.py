"""What a user can set of a plugin, in the server's window.

A plugin declares a class:

    class ConfigSchema(BaseConfigSchema):
        prefix: str = config_field(label="Prefix", hint="Comes first.", default="Well: ")

The class attributes are the defaults; an instance has what the user set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast, dataclass_transform

from lmstrix.lmstudio.plugin.errors import LMStudioPluginInitError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


class _ConfigField:
    """A setting, until its class is made."""

    def __init__(self, label: str, hint: str, default: Any) -> None:
        self.label = label
        self.hint = hint
        self.default = default
        kind, more = _kind(default)
        self._kind = kind
        self._more = more

    def schematics(self, name: str) -> dict[str, Any]:
        """The setting as on the wire."""
        return {
            "shortKey": name,
            "fullKey": name,
            "typeKey": self._kind,
            "typeParams": {"displayName": self.label, "hint": self.hint, **self._more},
            "defaultValue": self.default,
        }


def _kind(default: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(default, bool):
        return "boolean", {}
    if isinstance(default, int):
        return "numeric", {"int": True}
    if isinstance(default, float):
        return "numeric", {"int": False}
    if isinstance(default, str):
        return "string", {}
    raise LMStudioPluginInitError(
        f"Unsupported type for plugin config field: {type(default)!r}",
        hint="Settings are true or false, numbers and texts.",
    )


def config_field(*, label: str, hint: str, default: T) -> T:
    """A setting with how it is shown. Its default says of what type it is."""
    return cast("T", _ConfigField(label, hint, default))


@dataclass_transform(field_specifiers=(config_field,), kw_only_default=True)
class BaseConfigSchema:
    """A base for classes that declare settings."""

    _fields: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        fields = dict(cls._fields)
        for name, value in list(vars(cls).items()):
            if isinstance(value, _ConfigField):
                fields[name] = value.schematics(name)
                setattr(cls, name, value.default)
        cls._fields = fields

    def __init__(self, **values: Any) -> None:
        unknown = sorted(set(values) - set(self._fields))
        if unknown:
            raise LMStudioPluginInitError(f"{type(self).__name__} has no settings {unknown}.")
        for name, value in values.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({told})"

    @classmethod
    def schematics(cls) -> dict[str, Any] | None:
        """The settings as on the wire; `None` where there are none."""
        return {"fields": list(cls._fields.values())} if cls._fields else None

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """What the user set, from the wire; what is not known here is left out."""
        told = {field["key"]: field.get("value") for field in config.get("fields", ())}
        return cls(**{name: told[name] for name in cls._fields if name in told})
