"""What is added to every crumb that is left within a block."""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from typing import Any


class Scope:
    """The values that hold in a context.

    Attributes:
        values: as the program gave them; never changed.
        shown: the same as a crumb has them, where they cannot change; None until that is known.
        plain: the same without the program's objects, which are named by their types; None until it is asked for.
    """

    __slots__ = ("plain", "shown", "values")

    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values
        self.shown: dict[str, Any] | None = None
        self.plain: dict[str, Any] | None = None


current_scope: ContextVar[Scope | None] = ContextVar("narrative_crumbs", default=None)


class context:  # noqa: N801 - it is used as a function: `with context(request_id="r-1"):`
    """Add values to every crumb that is left within the block, beside those of the blocks around it.

    Tasks that begin in the block have the values too. A thread has them if its work is run in a copy of the context:
    `Thread(target=contextvars.copy_context().run, args=(work,))`.

    Args:
        values: any; a crumb has text, numbers, bool and None as they are, the text of everything else.
    """

    __slots__ = ("_token", "_values")

    def __init__(self, /, **values: Any) -> None:
        self._values = values
        self._token: list[Token[Scope | None]] = []

    def __enter__(self) -> None:
        """Begin."""
        around = current_scope.get()
        merged = self._values if around is None else {**around.values, **self._values}
        self._token.append(current_scope.set(Scope(dict(merged))))

    def __exit__(self, *_: object) -> None:
        """End; in another context, as a generator may be ended, there is nothing to take back."""
        try:
            current_scope.reset(self._token.pop())
        except (ValueError, RuntimeError):
            return

    async def __aenter__(self) -> None:
        """Begin."""
        self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        """End."""
        self.__exit__()


def get_context() -> dict[str, Any]:
    """Return a copy of the values that hold here."""
    scope = current_scope.get()
    return dict(scope.values) if scope is not None else {}
