"""The facts of ``nnunet_ext inspect`` as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LONGEST = 300
OF_AXES = ("spacing", "patch_size", "kernels", "strides")
UNITS = ("bytes", "kB", "MB", "GB")


def facts_table(facts: Mapping[str, Any]) -> str:
    """Return facts as two columns: names, and values; those of nested facts are indented.

    Characters that would control a terminal are written as ``\\x1b``: the text is somebody else's.

    Example:
        >>> print(facts_table({"kind": "model", "spacing": [1.0, 0.5, 0.5], "folds": [{"fold": "0", "epochs": 5}]}))
        kind     model
        spacing  1 x 0.5 x 0.5
        folds
          fold    0
          epochs  5
    """
    return "\n".join(_lines(facts, ""))


def _lines(facts: Mapping[str, Any], indent: str, *, ours: bool = True) -> Iterator[str]:
    """Yield the lines of facts; names that are not ours, as those of files and knobs, are shown as they are."""
    labels = {name: _shown(name).replace("_", " ") if ours and "." not in name else _shown(name) for name in facts}
    width = max((len(labels[name]) for name, value in facts.items() if not _is_nested(value)), default=0)
    for name, value in facts.items():
        if not _is_nested(value):
            yield f"{indent}{labels[name]:<{width}}  {_cell(name, value)}"
            continue
        yield f"{indent}{labels[name]}"
        for each in [value] if isinstance(value, Mapping) else value:
            yield from _lines(each, f"{indent}  ", ours=name != "knobs")


def _is_nested(value: Any) -> bool:
    """Whether a value has lines of its own: a list of facts, or facts of which some have parts."""
    if isinstance(value, Mapping):
        return any(isinstance(each, Mapping) for each in value.values())
    return isinstance(value, list) and any(isinstance(each, Mapping) for each in value)


def _cell(name: str, value: Any) -> str:
    if name == "bytes":
        return _bytes(value)
    if name == "parameters_in_millions":
        return f"{value:.2f}"
    if isinstance(value, Mapping):
        return _shown("; ".join(f"{key}: {_text(each, key)}" for key, each in value.items()))
    return _shown(_text(value, name))


def _text(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        sizes = name in OF_AXES and not any(isinstance(each, list) for each in value)
        return (" x " if sizes else ", ").join(_text(each, name) for each in value)
    return str(value)


def _bytes(size: int) -> str:
    amount, unit = float(size), 0
    while amount >= 1000 and unit < len(UNITS) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:.3g} {UNITS[unit]}"


def _shown(text: Any) -> str:
    safe = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in str(text))
    return safe if len(safe) <= LONGEST else f"{safe[:LONGEST]}..."
