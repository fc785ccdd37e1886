"""What a server listed, with the session in which more can be asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lmstrix.lmstudio.errors import LMStudioValueError
from lmstrix.protocol.lmstudio.parameters import SearchOptions, SearchParameter

if TYPE_CHECKING:
    from collections.abc import Sequence

DataT = TypeVar("DataT")
SessionT = TypeVar("SessionT")


class Searched(Generic[DataT, SessionT]):
    """Something that can be downloaded."""

    def __init__(self, data: DataT, session: SessionT) -> None:
        self._data = data
        self._session = session

    def __repr__(self) -> str:
        return f"{type(self).__name__}({getattr(self._data, 'name', '')!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Searched):
            return NotImplemented
        return self._session is other._session and bool(self._data == other._data)

    __hash__ = None  # type: ignore[assignment]


class Downloaded(Generic[DataT, SessionT]):
    """A downloaded model. `info` is all the server tells of it."""

    def __init__(self, info: DataT, session: SessionT) -> None:
        self.info = info
        self._session = session

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model_key={self.model_key!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Downloaded):
            return NotImplemented
        return self._session is other._session and bool(self.info == other.info)

    __hash__ = None  # type: ignore[assignment]

    @property
    def type(self) -> str:
        """What it is for: `llm`, `embedding`, or what a newer server knows."""
        return self._told("type")

    @property
    def path(self) -> str:
        """Where it lies within the models folder."""
        return self._told("path")

    @property
    def model_key(self) -> str:
        """What it is called."""
        return self._told("model_key")

    def _told(self, name: str) -> str:
        told: str = getattr(self.info, name)
        return told


def search_parameter(
    search_term: str | None, limit: int | None, compatibility_types: Sequence[str] | None
) -> SearchParameter:
    """What is searched for. Raises `LMStudioValueError` where nothing is said of it."""
    if not any((search_term, limit, compatibility_types)):
        raise LMStudioValueError("At least one search parameter must be specified.")
    options: dict[str, Any] = {}
    if compatibility_types:
        options["compatibility_types"] = tuple(compatibility_types)
    return SearchParameter(
        opts=SearchOptions(search_term=search_term or None, limit=limit or None, **options)
    )
