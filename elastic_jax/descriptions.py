"""An algorithm or a part to record or to read: the functions it is made of, and what they are bound to."""

from __future__ import annotations

from typing import Any


def as_data(part: Any) -> Any:
    """The hyper-parameters of an algorithm or a part as plain data (dicts, numbers, strings), for a record."""
    if hasattr(part, "func") and hasattr(part, "keywords"):
        bound = {name: as_data(value) for name, value in part.keywords.items()}
        return {"function": part.func.__qualname__, **bound}
    if hasattr(part, "_asdict"):
        return {name: as_data(value) for name, value in part._asdict().items()}
    if isinstance(part, dict):
        return {str(name): as_data(value) for name, value in part.items()}
    if isinstance(part, (list, tuple)):
        return [as_data(value) for value in part]
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    if hasattr(part, "dtype") and hasattr(part, "tolist"):
        return part.tolist() if part.size <= 64 else f"{part.dtype}{list(part.shape)}"
    return getattr(part, "__qualname__", type(part).__name__)


def as_text(part: Any) -> str:
    """The same in one line: a part as the first of its functions, which defines it, called with what it is bound to."""
    if hasattr(part, "func") and hasattr(part, "keywords"):
        bound = ", ".join(f"{name}={as_text(value)}" for name, value in part.keywords.items())
        return f"{_name(part.func)}({bound})"
    if hasattr(part, "_fields"):
        return as_text(part[0])
    if isinstance(part, (list, tuple)):
        return f"[{', '.join(map(as_text, part))}]"
    return _name(part) if callable(part) else repr(part)


def _name(function: Any) -> str:
    """A function's name as people know it: of what is made inside another one, the other one's."""
    return getattr(function, "__qualname__", type(function).__name__).partition(".<locals>")[0].strip("_")
