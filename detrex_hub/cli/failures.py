"""Every failure becomes one line on stderr and an exit code."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence

from detrex_hub.cli import DEBUG_VARIABLE
from detrex_hub.errors import DetrexHubError

REFUSED, WRONG_USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
# the most characters of a message: a file may be refused for thousands of reasons
_LONGEST = 4000
# click's words for types
_NUMBERS = {"integer": "a whole number", "int": "a whole number", "float": "a number"}
_AGAIN = "run the same command again to continue"


class _EndedError(BaseException):
    """A signal ended the command. It is not a KeyboardInterrupt, because typer turns that into a
    silent exit."""

    def __init__(self, word: str, code: int) -> None:
        super().__init__(word)
        self.code = code


def end_in_order() -> None:
    """Let Ctrl-C and SIGTERM end this process with one line, after temporary files are removed."""
    for number, word, code in (
        (signal.SIGINT, "interrupted", INTERRUPTED),
        (signal.SIGTERM, "terminated", TERMINATED),
    ):

        def end(*_: object, word: str = word, code: int = code) -> None:
            raise _EndedError(word, code)

        # `nohup` and shells ignore signals for jobs in the background
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        return _run(arguments)
    except _EndedError as error:
        # it may come at any time: in an import, and where another failure is reported
        return _fail(f"{error}; {_AGAIN}", error.code)


def _run(arguments: Sequence[str]) -> int:
    import typer

    from detrex_hub.cli.app import group

    try:
        # typer returns the code of an Exit as the result
        code = group()(args=list(arguments), prog_name="detrex-hub", standalone_mode=False)
        if sys.stdout is not None:
            # flushed here, because a failure can still be reported
            sys.stdout.flush()
        return code or 0
    except DetrexHubError as error:
        if error.choices and _takes(arguments[0], error.choices):
            error.complete(_command_line(arguments, error.choices), None)
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail(f"interrupted; {_AGAIN}", INTERRUPTED)
    except BrokenPipeError:
        # the reader, such as `head`, has stopped reading
        return REFUSED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", REFUSED)
    except Exception as error:
        said = getattr(error, "format_message", None)
        if said is None:
            return _fail(
                f"internal error: {type(error).__name__}: {error}. Please report "
                f"it with the output of {DEBUG_VARIABLE}=1",
                REFUSED,
            )
        return _fail(_usage(said(), getattr(error, "ctx", None)), WRONG_USAGE)


def _takes(command: str, choices: Sequence[str]) -> bool:
    """Whether a command has the options that an error offers. Errors of `inspect` are about the
    next command."""
    from detrex_hub.cli.app import COMMANDS, group

    if command not in COMMANDS or command == "inspect":
        return False
    known = {name for one in group().commands[command].params for name in one.opts}
    return {word for one in choices for word in one.split() if word.startswith("-")} <= known


def _command_line(arguments: Sequence[str], choices: Sequence[str]) -> str:
    """The command line without the options that a choice replaces. A choice completes it."""
    from detrex_hub.cli.app import group

    offered = {word for one in choices for word in shlex.split(one) if word.startswith("-")}
    if "--container" in offered:
        # the two exclude each other
        offered.add("--ema")
    replaced = {
        name: not one.is_flag
        for one in group().commands[arguments[0]].params
        if not one.multiple and offered & {*one.opts}
        for name in one.opts
    }
    given = ["detrex-hub"]
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in replaced:
            given.append(word)
        elif replaced[name] and not equals:
            next(words, None)
    return shlex.join(given)


def _usage(message: str, context: object) -> str:
    command = getattr(context, "command_path", None) or "detrex-hub"
    said = " ".join(message.split()).rstrip(".")
    for theirs, ours in _NUMBERS.items():
        said = re.sub(rf"is not a valid {theirs}\b( range)?", f"is not {ours}", said)
    return f"{said}{'' if said.endswith('?') else '.'} See: {command} --help"


def _fail(message: str, code: int) -> int:
    from detrex_hub.cli.wrapping import on_terminal
    from detrex_hub.redaction import redacted, visible, without_addresses

    if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        import traceback

        for line in redacted(traceback.format_exc()).splitlines():
            print(visible(line), file=sys.stderr)
    said = visible(without_addresses(redacted(" ".join(message.split()))))
    if len(said) > _LONGEST:
        said = f"{said[: _LONGEST // 2]} … {said[-_LONGEST // 2 :]}"
    print(on_terminal(f"Error: {said}", sys.stderr), file=sys.stderr)
    return code
