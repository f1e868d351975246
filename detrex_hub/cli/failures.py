"""Whatever goes wrong becomes one line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from detrex_hub.cli import DEBUG_VARIABLE
from detrex_hub.errors import DetrexHubError

REFUSED, WRONG_USAGE, INTERRUPTED, TERMINATED = 1, 2, 130, 143
# a file may give thousands of reasons to refuse it
_LONGEST = 4000


class _EndedError(BaseException):
    """By a signal. Not a KeyboardInterrupt, since typer makes a silent exit of that one."""

    def __init__(self, word: str, code: int) -> None:
        super().__init__(word)
        self.code = code


def end_in_order() -> None:
    """Let Ctrl-C and SIGTERM end this process with what was begun cleared away, and one line."""
    for number, word, code in (
        (signal.SIGINT, "interrupted", INTERRUPTED),
        (signal.SIGTERM, "terminated", TERMINATED),
    ):

        def end(*_: object, word: str = word, code: int = code) -> None:
            raise _EndedError(word, code)

        # `nohup` and shells that run something in the background let signals be ignored
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code."""
    import typer

    from detrex_hub.cli.app import group

    try:
        # typer hands the code of an Exit back as the result
        code = group()(args=list(arguments), prog_name="detrex-hub", standalone_mode=False)
        if sys.stdout is not None:
            # here, where it can still be told what goes wrong
            sys.stdout.flush()
        return code or 0
    except DetrexHubError as error:
        return _fail(str(error), error.exit_code)
    except _EndedError as error:
        return _fail(f"{error}; what was begun can be run again", error.code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; what was begun can be run again", INTERRUPTED)
    except BrokenPipeError:
        # the reader, such as `head`, has seen enough
        _leave_stdout()
        return REFUSED
    except OSError as error:
        _leave_stdout()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", REFUSED)
    except Exception as error:
        said = getattr(error, "format_message", None)
        if said is None:
            return _fail(
                f"this should not have happened: {type(error).__name__}: {error}. Please report "
                f"it with what {DEBUG_VARIABLE}=1 shows",
                REFUSED,
            )
        return _fail(_usage(said(), getattr(error, "ctx", None)), WRONG_USAGE)


def _leave_stdout() -> None:
    """Let nothing be flushed at exit to a stdout that does not take it."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(message: str, context: object) -> str:
    command = getattr(context, "command_path", None) or "detrex-hub"
    said = " ".join(message.split()).rstrip(".")
    return f"{said}{'' if said.endswith('?') else '.'} See: {command} --help"


def _fail(message: str, code: int) -> int:
    from detrex_hub.redaction import redacted, visible, without_addresses

    if os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0"):
        import traceback

        for line in redacted(traceback.format_exc()).splitlines():
            print(visible(line), file=sys.stderr)
    said = visible(without_addresses(redacted(" ".join(message.split()))))
    if len(said) > _LONGEST:
        said = f"{said[: _LONGEST // 2]} … {said[-_LONGEST // 2 :]}"
    print(f"Error: {said}", file=sys.stderr)
    return code
