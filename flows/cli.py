"""`cgcnn …`: arguments to a flow. A wrong input is one line on stderr and exit code 2.

Prefect is imported by `retrain` alone: the other commands answer without it.
"""

import argparse
import errno
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from flows.config import Config, RetrainConfig, assignment, configured_as, keys, preset_or_file
from flows.interrupt import INTERRUPTED, STOPPED, leave_on_ctrl_c
from flows.studies import STUDIES
from storage.errors import InputError, WorldError
from storage.program import INPUT_IS_WRONG, TRY_AGAIN, leave_without_collection
from storage.text import one_line, printable

OPTIONS = ("source", "target", "store", "start_from")  # keys of retrain that have an option of their own

EXAMPLES = """examples:
  cgcnn retrain                                             the embedded alloys, about two minutes
  cgcnn retrain --source table.parquet --target band_gap_ev
  cgcnn retrain --source cifs/ --config cogn --set train.epochs=50
  cgcnn retrain --source materials-project --target band_gap --set materials_project.elements=[O]
  cgcnn sweep --source table.parquet --config chapter-grid
  cgcnn predict POSCAR more_cifs/ --output predictions.csv
  cgcnn show
  cgcnn compare champion latest
"""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, as all our errors are."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and exit with code 2."""
        fail(f"{message} (see {self.prog} --help)", INPUT_IS_WRONG)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code: 0 done, 2 wrong input, 75 try again, 1 a fault of ours."""
    options = parser().parse_args(arguments)
    options.is_process = arguments is None  # else the caller's signals and exit are not ours to change
    if options.is_process:
        leave_without_collection()
    try:
        options.run(options)
    except InputError as error:
        fail(_with_notes(error), INPUT_IS_WRONG)
    except WorldError as error:
        fail(_with_notes(error), TRY_AGAIN)
    except KeyboardInterrupt:
        fail(STOPPED, INTERRUPTED)
    except BrokenPipeError:  # `cgcnn show | head` has read enough
        sys.stderr.close()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        fail(f"{error.filename}: {error.strerror}", INPUT_IS_WRONG)


def _with_notes(error: Exception) -> str:
    return " ".join([str(error), *getattr(error, "__notes__", [])])


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, and out."""
    note(message)
    sys.exit(code)


def note(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"cgcnn: {one_line(message)}\n")


def say(text: str) -> None:
    """Lines on stdout, in which what a file of the store contains cannot control the terminal."""
    print(printable(text))


def parser() -> OneLineParser:
    """All commands and their options."""
    top = OneLineParser(
        prog="cgcnn",
        description="Crystal-property models that stay trained: structures in, an evaluated and reported model out.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"cgcnn-flows {version('cgcnn-flows')}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_retrain, _add_studies, _add_predict, _add_show, _add_compare, _add_models):
        add(commands)
    return top


def _add_retrain(commands: Any) -> None:
    retrain = commands.add_parser(
        "retrain",
        help="structures → a trained, evaluated, reported model",
        description="Download, validate, build graphs, train, evaluate, report, promote; nothing is done twice.",
        epilog=described_keys(RetrainConfig),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_configuration(retrain)
    retrain.set_defaults(run=run_retrain)


def _add_studies(commands: Any) -> None:
    for name, study in STUDIES.items():
        command = commands.add_parser(
            name,
            help=study.help,
            description=study.description,
            epilog=described_keys(study.kind),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add_configuration(command)
        command.set_defaults(run=run_study, study=study)


def add_configuration(command: argparse.ArgumentParser) -> None:
    """The options of a command that trains: `configuration_of` reads them."""
    for name in OPTIONS:
        field = RetrainConfig.model_fields[name]
        default = f" (default: {field.default})" if field.default else ""
        command.add_argument(f"--{name.replace('_', '-')}", help=f"{field.description}{default}")
    command.add_argument(
        "--config",
        action="append",
        default=[],
        help="chapter, chapter-query, cogn (of a sweep also chapter-grid, chapter-coarse-to-fine), or a YAML file with "
        "the keys below; may be repeated",
    )
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one key; may be repeated")
    command.add_argument(
        "--verbose", action="store_true", help="in a terminal: Prefect's log lines, too (elsewhere they always come)"
    )


def configuration_of(options: argparse.Namespace, kind: type[Config]) -> Config:
    """The `kind` that the options say: presets and files first, then the options of their own, then `--set`."""
    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    return configured_as(kind, [*map(preset_or_file, options.config), given, *map(assignment, options.set)])


def _add_predict(commands: Any) -> None:
    predict = commands.add_parser(
        "predict",
        help="the property of other structures, from a trained model",
        description="Predict for files of structures in the formats of docs/predict.md, folders of them, and tables.",
        allow_abbrev=False,
    )
    predict.add_argument(
        "files", nargs="+", metavar="FILE", help="CIF, POSCAR, extxyz, …, a folder of them, or a table"
    )
    predict.add_argument(
        "--model",
        default="champion",
        help="champion (default), a champion's name, a run, latest, a model's folder, or a .pth.tar of CGCNN's release",
    )
    predict.add_argument("--store", default="store", help="the store of the runs (default: store)")
    predict.add_argument("--output", type=Path, help="a .csv or .parquet file; without it, CSV on the standard output")
    predict.add_argument(
        "--trust-code",
        action="store_true",
        help="run the code of a model that is a package.module:Class; whoever made the model folder chose that code",
    )
    predict.set_defaults(run=run_predict)


def _add_show(commands: Any) -> None:
    show = commands.add_parser("show", help="the runs in the store, newest first", allow_abbrev=False)
    show.add_argument("--store", default="store", help="the store of the runs (default: store)")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, with the paths made absolute")
    form.add_argument("--html", type=Path, metavar="FILE", help="write the index page of `make serve` to a file")
    show.set_defaults(run=run_show)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="runs side by side: settings that differ, errors on common test materials",
        description="Settings that differ, and test errors on the materials that all of the runs have in their test "
        "splits, with the paired difference from the first run and its bootstrap interval.",
        allow_abbrev=False,
    )
    compare.add_argument(
        "wanted", nargs="+", metavar="RUN", help="a run, a part of its name, latest, champion, or a champion's name"
    )
    compare.add_argument("--store", default="store", help="the store of the runs (default: store)")
    compare.add_argument("--json", action="store_true", help="as JSON")
    compare.set_defaults(run=run_compare)


def _add_models(commands: Any) -> None:
    models = commands.add_parser("models", help="the champions, and how they came to be", allow_abbrev=False)
    models.add_argument("--json", action="store_true", help="every decision with its numbers, as JSON")
    models.set_defaults(run=run_models)
    promote = commands.add_parser("promote", help="make a run's model the champion", allow_abbrev=False)
    promote.add_argument("wanted", metavar="RUN", help="a run, or a part of its name, as `cgcnn show` lists them")
    promote.set_defaults(run=run_promote)
    rollback = commands.add_parser("rollback", help="take the champion back for the one before", allow_abbrev=False)
    rollback.add_argument("name", metavar="NAME", help="source and target, as `cgcnn models` lists them")
    rollback.set_defaults(run=run_rollback)
    for command in (models, promote, rollback):
        command.add_argument("--store", default="store", help="the store of the runs (default: store)")


def described_keys(kind: type[RetrainConfig]) -> str:
    """The keys of a `kind` with their defaults, for the end of a command's help."""
    lines = ["keys for --set and YAML files, with their defaults:"]
    for key, field in keys(kind).items():
        default = "null" if field.default is None else str(field.default)
        lines.append(f"  {key:36} {default:10} {field.description}")
    return "\n".join(lines)


def run_retrain(options: argparse.Namespace) -> None:
    """`cgcnn retrain`: the configuration is checked whole before Prefect is imported."""
    if options.is_process:
        leave_on_ctrl_c()
    config = configuration_of(options, RetrainConfig)
    from flows.adhoc import leave_on_sigterm, retrain_here  # imports Prefect, which takes seconds

    if options.is_process:
        leave_on_sigterm()

    say("\n".join(retrain_here(config, verbose=options.verbose)))


def run_study(options: argparse.Namespace) -> None:
    """`cgcnn sweep` and the other commands that train several models; as `run_retrain`."""
    if options.is_process:
        leave_on_ctrl_c()
    config = configuration_of(options, options.study.kind)
    options.study.check(config)
    from flows.adhoc import leave_on_sigterm, study_here  # imports Prefect, which takes seconds

    if options.is_process:
        leave_on_sigterm()

    say("\n".join(study_here(options.study.entry, config, verbose=options.verbose)))


def run_predict(options: argparse.Namespace) -> None:
    """`cgcnn predict`; exit code 2 where there is no prediction for any structure."""
    from flows.progress_bar import progress_bar  # the other commands need none of what these import
    from tasks.prediction import PredictRequest, predict

    request = PredictRequest(
        files=options.files,
        model=options.model,
        store=options.store,
        output=options.output,
        trust_code=options.trust_code,
    )
    summary = predict(request, lambda line: print(printable(line), file=sys.stderr), progress_bar)
    if not summary["predicted"]:
        sys.exit(INPUT_IS_WRONG)  # the table has the reasons, the last line their number


def run_show(options: argparse.Namespace) -> None:
    """`cgcnn show`."""
    from flows.show import shown, write_page

    if options.html:
        say(write_page(options.store, options.html, note))
    else:
        say(shown(options.store, as_json=options.json, warn=note))


def run_compare(options: argparse.Namespace) -> None:
    """`cgcnn compare`."""
    from flows.compare import compare

    say(compare(options.wanted, options.store, as_json=options.json))


def run_models(options: argparse.Namespace) -> None:
    """`cgcnn models`."""
    from flows.models import models

    say(models(options.store, as_json=options.json, warn=note))


def run_promote(options: argparse.Namespace) -> None:
    """`cgcnn promote`."""
    from flows.models import promote_by_hand

    say(promote_by_hand(options.wanted, options.store))


def run_rollback(options: argparse.Namespace) -> None:
    """`cgcnn rollback`."""
    from flows.models import rollback

    say(rollback(options.name, options.store))


if __name__ == "__main__":
    main()
