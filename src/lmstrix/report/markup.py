"""Elements of HTML and SVG. Text is escaped by construction: what is no `Markup` is text. Pure."""

from __future__ import annotations

from html import escape

from lmstrix.registry.layout import one_line

_VOID = frozenset({"meta", "input", "br"})
_CLOSED = frozenset({"path", "line", "rect", "circle", "polygon", "polyline"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: object) -> Markup:
    """One element. `None` and `False` leave an attribute or a child out.

    In a name of an attribute `_` is written for `-`; `class_` and `for_` are without it.
    """
    written = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    inner = "".join(text(child) for child in children if child is not None)
    if not inner and name in _CLOSED:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{inner}</{name}>")


def text(content: str) -> Markup:
    """Text with nothing in it that a browser could take for markup, nor a control character."""
    return content if isinstance(content, Markup) else Markup(escape(one_line(content)))


def joined(*parts: str | None) -> Markup:
    """Parts one after the other."""
    return Markup("".join(text(part) for part in parts if part is not None))


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return escape(one_line(str(value)))
