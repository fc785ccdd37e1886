"""Instances that somebody else loaded: used where they will do, and left alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmstrix.errors import EngineDiedError, NotFoundError
from lmstrix.session import will_do

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container

    from lmstrix.connections import Connections
    from lmstrix.gateway.residency import Wish
    from lmstrix.types import Instance

# For so long such an instance is taken to be there still, and kept from being ended.
_LOAN_S = 5.0


@dataclass(eq=False)
class _Loan:
    """An instance under a claim, until it is `over` and has no `users`."""

    instance: Instance
    claim: AsyncExitStack
    users: int = 0
    over: bool = False


class Lending:
    """Asks for each kind of wish once in a while, so that a request costs no question."""

    def __init__(self, connections: Connections) -> None:
        self._open = connections
        self._loans: dict[tuple[object, ...], _Loan] = {}
        self._asking: dict[tuple[object, ...], asyncio.Lock] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def borrow(
        self, wish: Wish, instance_id: str | None, *, besides: Container[str]
    ) -> AsyncGenerator[Instance | None, None]:
        """An instance for `wish`, that one if it is named; `None` without one `besides` those."""
        loan = await self._loan(wish, instance_id, besides)
        if loan is None:
            yield None
            return
        try:
            yield loan.instance
        except (EngineDiedError, NotFoundError):
            self._end(loan)
            raise
        finally:
            loan.users -= 1
            self._close(loan)

    async def aclose(self) -> None:
        """Let go of all that nobody uses, and of the rest when it is given back."""
        for loan in list(self._loans.values()):
            self._end(loan)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _loan(
        self, wish: Wish, instance_id: str | None, besides: Container[str]
    ) -> _Loan | None:
        """The loan for `wish`, with one more user."""
        key = (wish.place, wish.entry.model.key, wish.config, instance_id)
        async with self._asking.setdefault(key, asyncio.Lock()):
            loan = self._loans.get(key)
            if loan is None:
                loan = await self._ask(wish, instance_id, besides)
                if loan is None:
                    return None
                self._loans[key] = loan
                asyncio.get_running_loop().call_later(_LOAN_S, self._end, loan)
            loan.users += 1
            return loan

    async def _ask(
        self, wish: Wish, instance_id: str | None, besides: Container[str]
    ) -> _Loan | None:
        model, config = wish.entry.model, wish.config
        session = self._open.session_for(model)
        explicit = config.context_tokens is not None
        fixed = not session.provider.capabilities.supports_load

        def suits(instance: Instance) -> bool:
            if instance.id in besides or instance_id not in (None, instance.id):
                return False
            return fixed or will_do(instance, config, model, explicit=explicit)

        async with AsyncExitStack() as claim:
            instance = await claim.enter_async_context(session.join(model, suits))
            return None if instance is None else _Loan(instance, claim.pop_all())
        return None

    def _end(self, loan: _Loan) -> None:
        """Let nobody else have it; who has it keeps it."""
        if not loan.over:
            loan.over = True
            for key in [key for key, one in self._loans.items() if one is loan]:
                del self._loans[key]
                self._asking.pop(key, None)
            self._close(loan)

    def _close(self, loan: _Loan) -> None:
        if loan.over and not loan.users:
            task = asyncio.create_task(loan.claim.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
