from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lmstrix.config import Settings, Timeouts
from lmstrix.context.options import TestEvent, TestOptions
from lmstrix.context.runner import test_model as run_test
from lmstrix.store import Entry, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from lmstrix.config import Places
    from lmstrix.results import TestResult
    from lmstrix.types import Model


@pytest.fixture(scope="session")
def worlds() -> ModuleType:
    """The module beside this file; a script of these tests imports it too."""
    spec = spec_from_file_location("worlds", Path(__file__).with_name("worlds.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    import sys

    sys.modules["worlds"] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def store(places: Places) -> Iterator[Store]:
    places.database.parent.mkdir(parents=True, exist_ok=True)
    with Store.open(places.database) as opened:
        yield opened


class Bench:
    """Runs tests of models in a world, and keeps their events."""

    def __init__(self, store: Store, places: Places, world: Any, model: Model) -> None:
        self.store = store
        self.places = places
        self.world = world
        self.model = model
        self.events: list[TestEvent] = []
        self.listen: Callable[[TestEvent], object] = lambda _: None
        self.settings = Settings(timeouts=Timeouts(load_s=0.3, prompt_s=0.3, first_token_s=0.3))

    async def run(self, **options: Any) -> TestResult:
        return await run_test(
            Entry(model=self.model, added_at=0.0),
            self.world,
            self.store,
            TestOptions(**options),
            settings=self.settings,
            places=self.places,
            on_event=self._take,
        )

    def _take(self, event: TestEvent) -> None:
        self.events.append(event)
        self.listen(event)


@pytest.fixture
def bench(store: Store, places: Places, worlds: ModuleType) -> Callable[..., Bench]:
    def make(model: Model | None = None, **limits: Any) -> Bench:
        return Bench(store, places, worlds.World(**limits), model or worlds.model())

    return make
