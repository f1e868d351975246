"""Read and correct the assignments in the Python text of a LazyConfig.

The text is parsed and never run. Only assignments at its top level count. A line is changed only if
it assigns a plain value. Other assignments are appended at the end, where they take effect.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detrex_hub.errors import ConfigError

_COMMENT = "# as the weights need it (detrex-hub check)"


@dataclass(frozen=True)
class Expression:
    """Python code to write, and its import. It is always appended, so that it runs after the rest
    of the config."""

    text: str
    needs: str


def assigned(text: str, path: str) -> Any:
    """The last plain value that a config assigns to a path, or None.

    Args:
        text: the config.
        path: dotted, such as ``train.init_checkpoint``.

    Raises:
        ConfigError: it is not Python.
    """
    values = [_literal(node.value) for node in _assignments(_parse(text), path)]
    return values[-1] if values else None


def corrected(text: str, values: Mapping[str, Any]) -> str:
    """The text with assigned paths: in existing assignments, otherwise at the end.

    Args:
        values: path -> plain value, `Expression`, or None to remove the path. A number in a path is
            an index.

    Raises:
        ConfigError: the text is not Python, or lacks the first name of a path.
    """
    tree = _parse(text)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    known = _names(tree)
    appended = []
    for path, value in values.items():
        root = path.partition(".")[0]
        if root not in known:
            raise ConfigError(
                f"the config does not define {root} itself, so {path} cannot be set",
                hint="Set it yourself",
            )
        found = _assignments(tree, path)
        line = _statement(path, value)
        if isinstance(value, Expression):
            if found and ast.unparse(found[-1]) == ast.unparse(ast.parse(line)):
                continue
            appended += [f"{value.needs}\n", f"{line}\n"]
        elif found and value is not None and _literal(found[-1].value) is not None:
            node = found[-1]
            last = node.end_lineno or node.lineno
            # the text keeps its number of lines, so that later positions stay valid
            rest = ["" for _ in range(node.lineno, last)]
            lines[node.lineno - 1 : last] = [f"{line}\n", *rest]
        else:
            appended.append(f"{line}\n")
    if appended:
        lines += ["\n", f"{_COMMENT}\n", *appended]
    return "".join(lines)


def _parse(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"the config is not valid Python: {error}") from None


def _assignments(tree: ast.Module, path: str) -> list[ast.Assign]:
    return [
        node
        for node in tree.body
        if isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and ast.unparse(node.targets[0]) == _expression(path)
    ]


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _names(tree: ast.Module) -> set[str]:
    """The names that the text binds at its top level."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                found |= {name.id for name in names if isinstance(name, ast.Name)}
    return found


def _expression(path: str) -> str:
    root, *rest = path.split(".")
    return root + "".join(f"[{name}]" if name.isdigit() else f".{name}" for name in rest)


def _statement(path: str, value: Any) -> str:
    if value is None:
        node, _, leaf = path.rpartition(".")
        return f"{_expression(node)}.pop({leaf!r}, None)"
    return f"{_expression(path)} = {value.text if isinstance(value, Expression) else repr(value)}"
