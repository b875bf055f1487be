"""The frame of the command line: commands in pipeline order, help under headings, and one place where errors end."""

import atexit
import functools
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from jobs.loop import termination_as_interrupt
from pipeline.console.option_types import GENERAL
from pipeline.console.printable import json_text, printable

USER_ERRORS = (
    click.ClickException,
    ValueError,  # StoreError, RecipeError, RunError, …: every ValueError of the project is about what was given
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)
MAX_MESSAGE_CHARACTERS = 10_000
MAX_SENTENCE = 200
USAGE_ERROR, FAILURE, INTERRUPTED = 2, 1, 130
GOES_ON = "nothing that is done is lost; the same command goes on"


class FaeCommand(click.Command):
    """A command whose help lists options under the headings of their groups, general ones last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each group of options as a section."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(param, "group", GENERAL), []).append(record)
        general = groups.pop(GENERAL, [])
        for heading, records in [*groups.items(), (GENERAL, general)]:
            with formatter.section(heading):
                formatter.write_dl(records)


class _LastExit:
    """Ends the process with `code` when it is called; does nothing while there is none."""

    code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # closed, or nobody reads it any more
                stream.flush()
        os._exit(self.code)


def _prepare_streams() -> None:
    """Give to nobody what the shell closed (`>&-`): else the first file that is opened gets its number and text.

    What an encoding such as ASCII lacks is written as stderr has it, an escape, and ends no command.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it is open for as long as the process
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")


class FaeGroup(click.Group):
    """A group that lists commands in the order in which they were added and turns every error into an exit code.

    0 = done, 2 = a mistake of the person (`error: …`), 1 = a failure (`failed: …`), 130 = stopped by Ctrl-C. A command
    may return another code as an int. --debug shows the traceback, --json puts the error on stdout as an object too.
    `moved` has commands of before and what is written in their place now.
    """

    command_class = FaeCommand
    group_class = type

    def __init__(self, *args: Any, moved: Mapping[str, str] | None = None, **attributes: Any) -> None:
        self.moved = dict(moved or {})
        defaults = {"max_content_width": 110, "help_option_names": ["-h", "--help"]}
        attributes["context_settings"] = defaults | (attributes.get("context_settings") or {})
        super().__init__(*args, **attributes)

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """The command of a process, which ends with it, whatever its threads still do; after Ctrl-C it ends at once.

        SIGTERM is Ctrl-C, and ends it within the few seconds after which a scheduler kills.

        Python ends a daemon thread at the moment at which it wants to go on, and where this is inside of torch the
        process aborts (`terminate called without an active exception`, exit code 134), all work done. So the process
        ends after the exit functions of the libraries, and before Python takes its threads apart.

        A program that gives the words itself (`main(["status"])`) goes on after it, and ends as it wants to.
        """
        if args or extra:
            return self.main(*args, **extra)
        _prepare_streams()
        last = _LastExit()
        atexit.register(last)  # the first that is registered is the last that is called
        try:
            with termination_as_interrupt(_end_overdue):
                return self.main()
        except SystemExit as end:
            last.code = end.code if isinstance(end.code, int) else None
            if end.code == INTERRUPTED:
                last()
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence: cut at the terminal's width they said half."""
        named = [(name, self.commands[name].get_short_help_str(MAX_SENTENCE)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(named)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words behind the options; an option of a command that stands before it is told where it belongs."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            command = next((word for word in words if word in self.commands), None)
            if command is None:
                raise
            name = error.option_name
            ctx.fail(f"{name}: expected options behind the command: `{ctx.command_path} {command} {name} …`")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; one that moved is named by where it is now."""
        if args and args[0] in self.moved and args[0] not in self.commands:
            ctx.fail(f"No such command {args[0]!r}: expected `{self.moved[args[0]]}`, which takes its place.")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; in standalone mode this ends the process with an exit code."""
        run = functools.partial(super().main, args, prog_name, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        # The flags are looked up here because an error may come before, or from, the parsing of options.
        words = sys.argv[1:] if args is None else list(args)
        flags = words[: words.index("--")] if "--" in words else words
        sys.exit(guarded(run, as_json="--json" in flags, debug="--debug" in flags))


def _end_overdue() -> None:
    """End this process from another thread than the main one, which a long operation keeps from answering a signal."""
    os.write(2, f"stopped: {GOES_ON}\n".encode())
    os._exit(INTERRUPTED)


def guarded(run: Callable[[], Any], *, as_json: bool = False, debug: bool = False) -> int:
    """Run a command and report what goes wrong; returns the exit code."""
    try:
        result = run()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE_ERROR
    except click.Abort as error:  # click's wrapping of Ctrl-C; who caught the signal may have said how to go on
        return _report(error.__cause__ or error, "stopped", INTERRUPTED, as_json, debug)
    except SystemExit as end:
        if end.code != signal.SIGTERM:
            raise
        return _report(KeyboardInterrupt(), "stopped", INTERRUPTED, as_json, debug)  # how Ray answers it as it starts
    except USER_ERRORS as error:
        if _is_about_images(error):
            return _report(error, "failed", FAILURE, as_json, debug)
        return _report(error, "error", USAGE_ERROR, as_json, debug)
    except Exception as error:
        return _report(error, "failed", FAILURE, as_json, debug)
    return result if isinstance(result, int) else 0


def _is_about_images(error: BaseException) -> bool:
    """Whether the data is at fault and not what was asked for."""
    from stores.format import TooManyRejectedError  # stores takes a while to load: --help does without

    return isinstance(error, TooManyRejectedError)


def _report(error: BaseException, word: str, code: int, as_json: bool, debug: bool) -> int:
    message = _shortened(f"{explain(error)}{_what_to_type(error)}")
    if code == FAILURE:
        message = f"{type(error).__name__}: {message}{'' if debug else ' (--debug shows the traceback)'}"
    if debug:
        traceback.print_exception(error)
    click.echo(f"{click.style(f'{word}:', bold=True)} {printable(message)}", err=True)
    if as_json:
        click.echo(json_text({"error": {"type": type(error).__name__, "message": message, "exit_code": code}}))
    return code


def _shortened(message: str) -> str:
    """The message; of one that repeats a very long input, the beginning."""
    left = len(message) - MAX_MESSAGE_CHARACTERS
    return message if left <= 0 else f"{message[:MAX_MESSAGE_CHARACTERS]}… ({left:,} more characters)"


def _what_to_type(error: BaseException) -> str:
    """The command or option that helps with an error of the packages that know no command line."""
    if not type(error).__module__.startswith(("stores.", "fae.")):
        return ""
    # By name: importing what raised other errors would load torch for a mistake.
    hints = {
        "CorruptStoreError": "`fae-pipe verify STORE --repair` repairs what can be repaired",
        "HeldElsewhereError": "--take-over goes on sooner when that host is gone, in the stages, run and sample",
        "StoreNotFoundError": "`fae-pipe stores ls` lists the stores there are",
        "TooManyRejectedError": "--max-rejected SHARE allows more",
        "MissingWeightsError": "--weights FILE of extract, --inception-weights or --encoder-weights FILE of eval",
    }
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((f" ({hint})" for name, hint in hints.items() if name in names), "")


def explain(error: BaseException) -> str:
    """The error as one paragraph that a person can act on."""
    if isinstance(error, click.ClickException):
        text = error.format_message().rstrip()
        context = getattr(error, "ctx", None)
        return f"{text} See `{context.command_path} --help`." if context else text
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    text = " ".join(str(error).split())
    if not text and isinstance(error, (click.Abort, KeyboardInterrupt)):
        return GOES_ON
    return text or "no message"
