"""A front door: a Hydra application that refuses wrong input in a line or two, then runs a frozen configuration.

What runs is never Hydra's configuration itself but a plain dictionary: resolved, checked, and written to the run
folder as `config.yaml`. A process started for another device reads that file, so it cannot compose anything else,
whatever the command line was.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from lab_engine.base.devices import drop_launch_variables, fork_workers, limit_busy_waiting
from lab_engine.base.errors import UserError
from lab_engine.base.imports import import_quickly
from lab_engine.base.program import SCRIPT_VARIABLE, command_for
from lab_engine.base.quoting import quote_paths
from lab_engine.base.signals import ended_by_signals
from lab_engine.base.streams import prepare_streams
from lab_engine.config.command import Command
from lab_engine.config.command_line import (
    COMMAND_VARIABLE,
    MULTIRUN,
    SHOWS,
    UnknownOptionError,
    is_recorded,
    options_first,
    patch_hydra_parser,
    without_passwords,
)
from lab_engine.config.explain import user_errors
from lab_engine.config.tracebacks import shorten
from lab_engine.config.written_out import write_out

HELP = "lab_engine.cli.usage:show_usage"
SHOW = "lab_engine.cli.usage:show_composed"
RECORDED = "lab_engine.cli.recorded_runs:run_recorded"
FIND_RUN = "lab_engine.cli.find_run:find_run"
FIRST_TRY = "lab_engine.config.first_tries:for_option"
SWEEP = "lab_engine.sweeps.start:sweep"
RUN = "lab_engine.cli.once:run_once"
"""Functions of a command and its words, as "module:function": only the one that is called gets imported."""

OF_A_RUN = ("checkpoint=", "resume=", "from=")
"""Beginnings of words whose value may be a run or `last`."""


def main(command: Command, script: str = "") -> None:
    """Run a command: read its words, then import and call what they ask for.

    Args:
        command: whose words `sys.argv` holds, after the name of the program.
        script: by which the user started the program; empty: with `python -m` and the module of the command.
    """
    for library in ("matplotlib.font_manager", "torch"):  # they log messages about their caches
        logging.getLogger(library).setLevel(logging.WARNING)
    os.environ[SCRIPT_VARIABLE] = script
    prepare_streams()
    words = sys.argv[1:]
    try:
        typed: dict[str, str] = {}
        with user_errors(command, typed), nullcontext() if {*MULTIRUN} & {*words} else ended_by_signals():
            patch_hydra_parser()
            function = HELP
            if {"--help", "-h"}.isdisjoint(words):
                try:
                    words = options_first(command.prepared(words))
                except UnknownOptionError as error:
                    raise import_quickly(FIRST_TRY)(command, error) from error
                written = write_out(command, words)
                if any(word.startswith(OF_A_RUN) for word in words):
                    find = import_quickly(FIND_RUN)
                    written = [(find(command, long, words), word) for long, word in written]
                words = quote_paths([word for word, _ in written], command.paths)
                last = {word.partition("=")[0]: (word, given) for word, given in written}
                typed |= {key: given for key, (word, given) in last.items() if word != given}
                sys.argv[1:] = words  # in which messages look for the word that they are about
                os.environ[COMMAND_VARIABLE] = without_passwords(command_for(command.module, words, recorded=True))
                function = _function_for(command, words)
                drop_launch_variables()
                limit_busy_waiting()
                fork_workers()
            import_quickly(function)(command, words)
            sys.stdout.flush()  # here an error can be told
    except Exception as error:  # a fault in the code of the project or the program
        raise shorten(error) from error.__cause__


def _function_for(command: Command, words: Sequence[str]) -> str:
    """Return "module:function" for what the words ask for.

    Raises:
        UserError: the command does not support it.
    """
    several = {*MULTIRUN} & {*words}
    if several:
        if not command.leaves_files:
            raise UserError(
                f"-m is refused: {command.name} shows one thing at a time and leaves no files. "
                "Run it once for each value."
            )
        if not command.sweeps:
            raise UserError(f"-m is refused: {command.name} does one thing at a time. Run it once for each value.")
    if command.resumes and (odd := [word for word in words if word.lstrip("+~") != word and is_recorded(word)]):
        raise UserError(f"{odd[0]} is refused: write it as {odd[0].lstrip('+~')}")
    if command.resumes and any(map(is_recorded, words)):
        return RECORDED
    if any(word.partition("=")[0] in SHOWS for word in words):
        return SHOW
    return SWEEP if several else RUN
