"""Read and correct the assignments in the Python text of a LazyConfig.

The text is parsed and never run. Only assignments at its top level count. A value is replaced only
if it is plain and nothing after it may change it. Other assignments are appended at the end, where
they take effect. Everything else stays as it is: comments, other statements on the line, line ends
and the encoding.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from detrex_hub.errors import ConfigError

_COMMENT = "# as the weights need it (detrex-hub check)"
# the line ends of Python's grammar: `str.splitlines` knows more of them
_LINE_END = re.compile(rb"\r\n|\r|\n")


class ConfigText(Struct, frozen=True):
    """The text of a config, with the line ends of its file.

    Attributes:
        text: the decoded text.
        encoding: as the file declares it, by a byte order mark or a comment; UTF-8 by default.
    """

    text: str
    encoding: str = "utf-8"

    def encode(self) -> bytes:
        """The content of the file.

        Raises:
            ConfigError: the encoding does not have a character of the text.
        """
        try:
            return self.text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"the config is written in {self.encoding}, which does not have the character "
                f"{error.object[error.start]!a}",
                hint="Set it yourself",
            ) from None


def read(path: Path) -> ConfigText:
    """The text of a config.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it cannot be read, or is not text.
    """
    try:
        content = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return ConfigText(content.decode(encoding), encoding)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except (SyntaxError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not the text of a config: {error}") from None


class Expression(Struct, frozen=True):
    """A call to write, and its import. It comes last, so that it runs after the rest of the
    config."""

    text: str
    needs: str

    @property
    def uses(self) -> set[str]:
        """The names of the config that the call uses."""
        names = {node.id for node in ast.walk(ast.parse(self.text)) if isinstance(node, ast.Name)}
        return names - {self._function}

    def is_called_by(self, statement: ast.Assign) -> bool:
        """Whether an assignment calls the same function."""
        call = statement.value
        return isinstance(call, ast.Call) and ast.unparse(call.func) == self._function

    @property
    def _function(self) -> str:
        return self.text.partition("(")[0]


def assigned(text: str, path: str) -> Any:
    """The plain value that a config assigns to a path. None if there is none, or if a later
    statement may change it.

    Args:
        text: the config.
        path: dotted, such as ``train.init_checkpoint``.

    Raises:
        ConfigError: it is not Python.
    """
    node = _deciding(_parse(text), path)
    return None if node is None else _literal(node.value)


def defined(text: str) -> set[str]:
    """The names that a config binds at its top level.

    Raises:
        ConfigError: it is not Python.
    """
    return _names(_parse(text))


def corrected(text: str, values: Mapping[str, Any]) -> str:
    """The text with assigned paths: in existing assignments, otherwise at the end.

    Args:
        values: path -> plain value, `Expression`, or None to remove the path. A number in a path is
            an index.

    Raises:
        ConfigError: the text is not Python, or lacks the first name of a path or a name that an
            expression uses.
    """
    tree = _parse(text)
    # positions in a syntax tree count bytes of UTF-8
    content = text.encode()
    found = _LINE_END.search(content)
    end = "\n" if found is None else found[0].decode()
    known = _names(tree)
    replaced: list[tuple[slice, str]] = []
    appended: list[str] = []
    for path, value in values.items():
        uses = value.uses if isinstance(value, Expression) else set()
        for name in (path.partition(".")[0], *sorted(uses)):
            if name not in known:
                raise ConfigError(
                    f"the config does not define {name} itself, so {path} cannot be set",
                    hint="Set it yourself",
                )
        node = _deciding(tree, path)
        line = _statement(path, value)
        if isinstance(value, Expression):
            if node is None or not value.is_called_by(node):
                appended += [value.needs, line]
            elif ast.unparse(node) == ast.unparse(ast.parse(line)):
                continue
            elif node is tree.body[-1]:
                replaced.append((_bytes_of(node.value, content), value.text))
            else:
                appended.append(line)
        elif (
            node is not None and (place := _place(node, content)) is not None and value is not None
        ):
            replaced.append((place, repr(value)))
        else:
            appended.append(line)
    for place, new in sorted(replaced, key=lambda one: one[0].start, reverse=True):
        content = content[: place.start] + new.encode() + content[place.stop :]
    if appended:
        if content and not content.endswith((b"\r", b"\n")):
            content += end.encode()
        content += "".join(f"{line}{end}" for line in ("", _COMMENT, *appended)).encode()
    return content.decode()


def _parse(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"the config is not valid Python: {error}") from None


def _deciding(tree: ast.Module, path: str) -> ast.Assign | None:
    """The last assignment to a path at the top level; None if a later statement may change it."""
    target = _expression(path)
    for node in reversed(tree.body):
        if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == [target]:
            return node
        if _may_change(node, path):
            return None
    return None


def _may_change(statement: ast.stmt, path: str) -> bool:
    """Whether a statement names the last part of a path, or binds a name or node above it."""
    root, *inner = path.split(".")
    above = {_expression(".".join([root, *inner[:count]])) for count in range(len(inner))}
    for node in ast.walk(statement):
        match node:
            case ast.keyword(arg=name) | ast.Constant(value=name) if str(name) == inner[-1]:
                return True
            case ast.alias(name=name, asname=other) if (other or name) in (root, "*"):
                return True
            case ast.Attribute(attr=name) if name == inner[-1]:
                if not isinstance(node.ctx, ast.Load):
                    return True
            case ast.Name() | ast.Attribute() | ast.Subscript():
                if not isinstance(node.ctx, ast.Load) and ast.unparse(node) in above:
                    return True
    return False


def _place(node: ast.Assign, content: bytes) -> slice | None:
    """The bytes of the value of an assignment; None if it is not plain, or has a comment inside."""
    if _literal(node.value) is None:
        return None
    place = _bytes_of(node.value, content)
    text = io.StringIO(f"({content[place].decode()}\n)", newline=None)
    words = tokenize.generate_tokens(text.readline)
    return None if any(word.type == tokenize.COMMENT for word in words) else place


def _bytes_of(value: ast.expr, content: bytes) -> slice:
    starts = [0, *(found.end() for found in _LINE_END.finditer(content))]
    return slice(
        starts[value.lineno - 1] + value.col_offset,
        starts[(value.end_lineno or value.lineno) - 1] + (value.end_col_offset or 0),
    )


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
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
