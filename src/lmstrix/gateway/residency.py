"""Who stays loaded: joining a load, making room for another model, time to live. Pure.

Only what the gateway itself has loaded is in here. What is loaded on demand makes room for other
models on the same place when it answers nobody; what somebody asked to be loaded never does.
Times are seconds on any clock that only goes forward, passed in.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from lmstrix.session import will_do

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lmstrix.store import Entry
    from lmstrix.types import Instance, LoadConfig

Place: TypeAlias = tuple[str, str]  # provider and server: one memory


@dataclass(eq=False, kw_only=True)
class Wish:
    """Somebody's need of an instance of a model, from the question to its end."""

    entry: Entry
    config: LoadConfig
    ttl_s: float | None = None

    @property
    def place(self) -> Place:
        """Where the model is."""
        return self.entry.model.provider, self.entry.model.server


@dataclass(eq=False, kw_only=True)
class Stay:
    """One instance from the beginning of its load to its end.

    `users` are those who answer from it or wait for its load. `instance` is `None` until it is
    loaded. It `ends` once nothing may be sent to it any more.
    """

    entry: Entry
    config: LoadConfig
    on_demand: bool
    ttl_s: float | None
    instance: Instance | None = None
    users: int = 0
    idle_since: float = 0.0
    ends: bool = False
    wanted_by: set[Wish] = field(default_factory=set)  # wishes that wait for its room

    @property
    def place(self) -> Place:
        """Where it is loaded."""
        return self.entry.model.provider, self.entry.model.server

    def serves(self, wish: Wish) -> bool:
        """Whether it is, or will be, an instance as `wish` has it."""
        if self.ends or self.wanted_by or self.place != wish.place:
            return False
        if self.entry.model.key != wish.entry.model.key:
            return False
        context = wish.config.context_tokens
        if self.instance is None:
            return context in (None, self.config.context_tokens)
        explicit = context is not None
        return will_do(self.instance, wish.config, wish.entry.model, explicit=explicit)


@dataclass(frozen=True)
class Use:
    """Answer from it once it is loaded; the wish is one of its users now."""

    stay: Stay


@dataclass(frozen=True)
class Load:
    """End `victims`, then load `stay`; the wish is one of its users now."""

    stay: Stay
    victims: tuple[Stay, ...]


@dataclass(frozen=True)
class Wait:
    """Ask again once anything has changed."""


Step: TypeAlias = Use | Load | Wait


class Residency:
    """The stays of a gateway. At most `max_loaded` on one place are there on demand."""

    def __init__(self, *, max_loaded: int, ttl_s: float | None) -> None:
        self._max_loaded = max_loaded
        self._ttl_s = ttl_s
        self._stays: list[Stay] = []
        self._queues: dict[Place, deque[Wish]] = {}

    def __iter__(self) -> Iterator[Stay]:
        return iter(list(self._stays))

    def named(self, instance_id: str) -> Stay | None:
        """The stay of that instance, if it is loaded and does not end."""
        for stay in self._stays:
            if stay.instance is not None and stay.instance.id == instance_id and not stay.ends:
                return stay
        return None

    # What a question needs

    def find(self, wish: Wish) -> Stay | None:
        """The stay that serves `wish`, the one with the fewest users; it gets one more."""
        serving = [stay for stay in self._stays if stay.serves(wish)]
        if not serving:
            return None
        stay = min(serving, key=lambda one: (one.instance is None, one.users))
        self.begin(stay, ttl_s=wish.ttl_s)
        return stay

    def step(self, wish: Wish) -> Step:
        """What `wish` is to do now. Those that wait for room are served in their order."""
        if (stay := self.find(wish)) is not None:
            self.withdraw(wish)
            return Use(stay)
        queue = self._queues.setdefault(wish.place, deque())
        if wish not in queue:
            queue.append(wish)
        if queue[0] is not wish:
            return Wait()
        victims = self._victims(wish)
        busy = [stay for stay in victims if stay.users]
        if busy:
            for stay in victims:
                stay.wanted_by.add(wish)
            return Wait()
        self.withdraw(wish)
        for stay in victims:
            stay.ends = True
        ttl_s = self._ttl_s if wish.ttl_s is None else wish.ttl_s
        loading = Stay(entry=wish.entry, config=wish.config, on_demand=True, ttl_s=ttl_s, users=1)
        self._stays.append(loading)
        return Load(loading, tuple(victims))

    def withdraw(self, wish: Wish) -> None:
        """`wish` waits no longer: it was served, or nobody has it any more."""
        queue = self._queues.get(wish.place)
        if queue is not None and wish in queue:
            queue.remove(wish)
            if not queue:
                del self._queues[wish.place]
        for stay in self._stays:
            stay.wanted_by.discard(wish)

    def _victims(self, wish: Wish) -> list[Stay]:
        """Who must go for `wish`: its model at another size, then the longest idle."""
        there = [
            stay
            for stay in self._stays
            if stay.on_demand and not stay.ends and stay.place == wish.place
        ]
        same = [stay for stay in there if stay.entry.model.key == wish.entry.model.key]
        others = [stay for stay in there if stay not in same]
        others.sort(key=lambda stay: (stay.users > 0, stay.idle_since))
        excess = len(others) + 1 - self._max_loaded
        return same + others[: max(0, excess)]

    # What happens

    def add(self, entry: Entry, config: LoadConfig, *, ttl_s: float | None) -> Stay:
        """A load that somebody asked for begins; who asked is its first user."""
        stay = Stay(entry=entry, config=config, on_demand=False, ttl_s=ttl_s, users=1)
        self._stays.append(stay)
        return stay

    def begin(self, stay: Stay, *, ttl_s: float | None = None) -> None:
        """One more user. `ttl_s` holds from now on for what was loaded on demand."""
        stay.users += 1
        if ttl_s is not None and stay.on_demand:
            stay.ttl_s = ttl_s

    def finish(self, stay: Stay, *, now: float) -> None:
        """One user less; with the last one the time to live begins anew."""
        stay.users -= 1
        stay.idle_since = now

    def remove(self, stay: Stay) -> None:
        """It is gone, or was never loaded."""
        stay.ends = True
        if stay in self._stays:
            self._stays.remove(stay)

    # Time to live

    def due(self, *, now: float) -> list[Stay]:
        """Those that nobody has used for their time to live; they end."""
        due = [stay for stay in self._stays if _ends_at(stay) <= now]
        for stay in due:
            stay.ends = True
        return due

    def next_due(self) -> float:
        """When the next one will be due if nobody uses it; infinity for never."""
        return min(map(_ends_at, self._stays), default=math.inf)


def _ends_at(stay: Stay) -> float:
    if stay.instance is None or stay.users or stay.ends or stay.ttl_s is None:
        return math.inf
    return stay.idle_since + stay.ttl_s
