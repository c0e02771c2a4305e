"""The command line. Only declarations stand here; what a command does is imported when it runs.

`--help` must answer at once, but torch, cleanlab and Prefect take seconds to import: so this module, and few others
that tests/test_layers.py lists, have first-party imports inside functions.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from typing import Any

import click

EPILOG = """\b
Exit codes: 0 done, 1 the run failed, 2 bad usage, config or input, 3 the gate failed
(the audit is published), 130 interrupted.
Credentials come from the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …)."""

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


def _dataset_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that describe a dataset on the command line, for a URL in place of a config file."""
    options = [
        click.option("--label", metavar="COLUMN", help="Column of the given labels."),
        click.option("--id", metavar="COLUMN", help="Column of stable example ids."),
        click.option("--input", metavar="COLUMN", multiple=True, help="Input column; may be repeated."),
        click.option("--kind", type=click.Choice(["auto", "image", "text", "table"]), help="Kind of input."),
        click.option("--group", metavar="COLUMN", help="Column whose examples stay in one fold."),
        click.option("--ignore", metavar="COLUMN", multiple=True, help="Column to leave alone; may be repeated."),
        click.option("--name", help="Name of the dataset in reports."),
        click.option("--version", help="Version of the dataset in reports."),
        click.option("--output", metavar="URL", help="Where audits are published [labelaudit-reports]."),
        click.option(
            "--set",
            metavar="A.B=VALUE",
            multiple=True,
            help="Override a config key, e.g. training.epochs=3; may be repeated.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(importlib.metadata.version("labelaudit"), "--version", message="labelaudit %(version)s")
def cli() -> None:
    """Find wrong labels in labeled datasets.

    labelaudit trains a classifier in k folds, runs confident learning over the out-of-fold probabilities,
    and publishes a report: an HTML page for people, Parquet tables for dashboards.

    \b
      labelaudit demo                                  see it work on images with planted errors
      labelaudit check data.parquet --label label      what is in a dataset, without training
      labelaudit run data.parquet --label label        audit it
      labelaudit run nightly.yaml                      the same from a config file
    """
    # A user's own network (`model.network: nets:build`) is found beside where the command is run.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


@cli.command()
@click.option("--output", default="labelaudit-demo", show_default=True, metavar="FOLDER", help="Where to write.")
@_json
def demo(output: str, as_json: bool) -> None:
    """Audit an embedded image dataset in which 6 % of the labels were replaced.

    Writes scikit-learn's handwritten digits with planted label errors to a folder, runs the real flow on
    them under Prefect's temporary server, and tells how many of the planted errors were found. Needs no
    network and no account; takes about a minute.
    """
    from labelaudit.cli.demo import run_demo

    run_demo(output, as_json)


@cli.command()
@click.argument("config")
@_dataset_options
@_json
def run(config: str, as_json: bool, **options: Any) -> None:
    """Audit a dataset version and publish the report.

    CONFIG is a YAML file, or straight the URL of a dataset: a Parquet, CSV, TSV or JSONL file, a folder of
    them, or a folder of images by class; local, s3:// or any other fsspec URL.

    With a Prefect API configured (PREFECT_API_URL or a profile) this is a run of the flow `audit-dataset`;
    without one, the same steps run in this process. Run the same command again after a crash: finished folds
    are not trained again, and a finished audit is found at once.

    The last line on stdout is the URL of the audit's folder.
    """
    from labelaudit.cli.options import DatasetOptions
    from labelaudit.cli.run import run_command

    run_command(config, DatasetOptions(**options), as_json)


@cli.command()
@click.argument("config")
@_dataset_options
@click.option("--estimate", is_flag=True, help="Time a few training steps, and tell the time and memory to expect.")
@_json
def check(config: str, as_json: bool, estimate: bool, **options: Any) -> None:
    """Read a dataset version and say what an audit would do, without training.

    Shows the columns that were found or guessed, rows by status (unlabeled, unreadable, duplicate id, rare
    class), classes, the model and the folds. Publishes nothing.

    With --estimate it also builds the network, trains it for a few steps on random data, and tells the time and
    memory to expect. This takes some seconds longer.
    """
    from labelaudit.cli.check import check_command
    from labelaudit.cli.options import DatasetOptions

    check_command(config, DatasetOptions(**options), as_json, estimate=estimate)


@cli.command()
@click.argument("file")
@click.option("--label", metavar="COLUMN|FILE", help="Column of given labels, or a .npy file. [label]")
@click.option("--id", "id_column", metavar="COLUMN|FILE", help="Column of example ids, or a .npy file. [id]")
@click.option(
    "--pred-probs",
    metavar="COLUMN|FILE",
    help="Column of probability lists, or a .npy file of shape (rows, classes). [pred_probs]",
)
@click.option("--classes", help="Class names in the order of the columns, separated by commas.")
@click.option("--name", help="Name of the dataset in reports.")
@click.option("--version", "dataset_version", help="Version of the dataset in reports.")
@click.option("--output", metavar="URL", help="Where the audit is published [labelaudit-reports].")
@click.option("--filter", "filter_by", default="prune_by_noise_rate", show_default=True, help="cleanlab filter.")
@click.option(
    "--set",
    "overrides",
    metavar="A.B=VALUE",
    multiple=True,
    help="Set a config key of gate, report or storage, e.g. gate.max_flagged_share=0.1; may be repeated.",
)
@_json
def detect(file: str, as_json: bool, **options: Any) -> None:
    """Find label issues in out-of-fold probabilities that you have already.

    FILE is a Parquet file with ids, labels and probabilities, or a .npy file of probabilities with
    --label labels.npy. Columns of probabilities are in the order of `class_names` in the file's metadata, of
    --classes, or else of the sorted labels. No dataset is read and nothing is trained.
    """
    from labelaudit.cli.detect import detect_command

    detect_command(file, options, as_json)


@cli.command()
@click.argument("before", metavar="A")
@click.argument("now", metavar="B")
@click.option(
    "--dataset", metavar="URL|CONFIG", help="A and B are versions of this dataset: …/dataset=NAME, or a config."
)
@click.option("--output", metavar="FILE", help="Write all rows that changed to a Parquet file.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=0), help="New issues that are listed.")
@_json
def diff(before: str, now: str, as_json: bool, **options: Any) -> None:
    """Say what changed from audit A to audit B of a dataset.

    By stable example ids: flagged rows that are new, fixed, gone, dismissed, persistent or flapping; rows that were
    added, removed, relabeled or replaced; and whether anything but the data changed (config, packages).

    \b
      labelaudit diff audits/dataset=fruit/version=v2/audit=0a1b… audits/dataset=fruit/version=v3/audit=2c3d…
      labelaudit diff audits/dataset=fruit/version=v2 audits/dataset=fruit/version=v3
      labelaudit diff v2 v3 --dataset audits/dataset=fruit
      labelaudit diff v2 v3 --dataset audit.yaml

    Of a version the newest audit counts. Nothing is trained or published.
    """
    from labelaudit.cli.diff import diff_command

    diff_command(before, now, options, as_json)


@cli.command()
@click.argument("url")
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
              help="Name under which a proxy serves the dashboard; may be repeated.")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Show no buttons that decide, and store nothing.")
@click.option("--reviewer", metavar="NAME", help="In whose name decisions are stored. [the user's]")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def dashboard(url: str, **options: Any) -> None:
    """Look at audits in the browser, and decide on doubtful labels.

    URL is where audits are published (all datasets), the folder of a dataset (dataset=…), or of one audit. What is
    decided is stored beside the audits of the dataset, and the next audit honours it. There is no login: let a proxy
    that has one stand before it where others can reach it. Needs `pip install 'labelaudit[dashboard]'`.
    """
    from labelaudit.cli.dashboard import dashboard_command

    dashboard_command(url, **options)


@cli.command("publish-version")
@click.argument("config")
@click.argument("source", type=click.Path(exists=True))
@click.option("--version", metavar="NAME", help="Name of the new version.")
@click.option("--name", help="Name of the dataset, where the config leaves it open.")
@click.option("--set", metavar="A.B=VALUE", multiple=True, help="Override a config key.")
@_json
def publish_version(config: str, source: str, as_json: bool, **options: Any) -> None:
    """Upload a local dataset as a new version, and announce it.

    CONFIG is the dataset's YAML file, whose `dataset.url` holds {version}; SOURCE a file or folder of this
    machine. The files go first and the marker that makes the version complete last, so that nobody reads a
    part of it. With a Prefect API configured, the event `labelaudit.dataset.published` then starts the
    audit; the same command again starts no second one.
    """
    from labelaudit.cli.options import DatasetOptions
    from labelaudit.cli.publish_version import publish_version_command

    publish_version_command(config, source, DatasetOptions(**options), as_json)


@cli.group()
def review() -> None:
    """Review labels: draw samples, store verdicts, export corrected labels.

    AUDIT is the folder of an audit, as `run` prints it (…/dataset=<name>/version=<version>/audit=<id>), of a version
    (for its newest audit), or of a dataset (for its latest audit). It may also be a config file, for the latest audit
    of its dataset; then its storage.options apply.
    """


_review_config = click.option(
    "--config", metavar="FILE", help="Config whose storage.options give access to AUDIT, if AUDIT is a URL."
)
_output_file = click.option("--output", required=True, metavar="FILE", help="Local file to write.")
_overwrite = click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
_tasks_format = click.option(
    "--format", type=click.Choice(["csv", "label-studio"]), help="Format of the file [by suffix: .csv or .json]."
)


@review.command("sample")
@click.argument("audit")
@click.option("--flagged", type=click.IntRange(1), default=100, show_default=True, help="Flagged rows to draw.")
@click.option("--unflagged", type=click.IntRange(1), default=100, show_default=True, help="Other rows to draw.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="With one seed, a larger sample contains every smaller one."
)
@_output_file
@_tasks_format
@_overwrite
@_review_config
@_json
def review_sample(
    audit: str,
    config: str | None,
    output: str,
    format: str | None,
    overwrite: bool,
    flagged: int,
    unflagged: int,
    seed: int,
    as_json: bool,
) -> None:
    """Draw random rows to review, to measure the share of wrong labels.

    Flagged and other rows are drawn separately and written mixed: the file does not reveal which are flagged. Rows
    that have a verdict count and are left out of the file.
    """
    from labelaudit.cli.review import AuditTarget, OutputFile, sample_command

    file = OutputFile(output, format, overwrite)
    sample_command(AuditTarget(audit, config), file, flagged=flagged, unflagged=unflagged, seed=seed, as_json=as_json)


@review.command("export")
@click.argument("audit")
@click.option(
    "--what",
    type=click.Choice(["issues", "verdicts", "corrected", "interface"]),
    default="issues",
    show_default=True,
    help="Flagged rows without a verdict, verdicts, right labels of wrong ones, or a Label Studio interface.",
)
@_output_file
@click.option(
    "--format", type=click.Choice(["csv", "parquet", "label-studio", "xml"]), help="Format of the file [by suffix]."
)
@_overwrite
@_review_config
@_json
def review_export(
    audit: str, config: str | None, output: str, format: str | None, overwrite: bool, what: str, as_json: bool
) -> None:
    """Write rows to review, verdicts, or corrected labels to a file. The dataset never changes."""
    from labelaudit.cli.review import AuditTarget, OutputFile, export_command

    export_command(AuditTarget(audit, config), OutputFile(output, format, overwrite), what=what, as_json=as_json)


@review.command("import")
@click.argument("audit")
@click.argument("file")
@click.option("--reviewer", required=True, metavar="NAME", help="Name of the reviewer.")
@click.option("--allow-new-classes", is_flag=True, help="Allow right labels that are not classes of the audit.")
@_tasks_format
@_review_config
@_json
def review_import(
    audit: str,
    file: str,
    config: str | None,
    reviewer: str,
    allow_new_classes: bool,
    format: str | None,
    as_json: bool,
) -> None:
    """Store the verdicts in a filled CSV file or a Label Studio export: all of them or none.

    AUDIT is the one that the file was made from. Importing a file again changes nothing.
    """
    from labelaudit.cli.review import AuditTarget, import_command

    import_command(
        AuditTarget(audit, config),
        file,
        reviewer=reviewer,
        allow_new_classes=allow_new_classes,
        format=format,
        as_json=as_json,
    )


@review.command("status")
@click.argument("audit")
@_review_config
@_json
def review_status(audit: str, config: str | None, as_json: bool) -> None:
    """Show the status of a review, and what it measured."""
    from labelaudit.cli.review import AuditTarget, status_command

    status_command(AuditTarget(audit, config), as_json=as_json)


@cli.command("apply-automations")
@click.argument("file", default="deployments/automations.yaml", metavar="[FILE]")
@click.option("--alerts", metavar="TYPE/NAME", help="Notification block, such as slack-webhook/labelaudit.")
@_json
def apply_automations(file: str, alerts: str | None, as_json: bool) -> None:
    """Create the automations of FILE on the Prefect server, or bring them up to date.

    FILE is deployments/automations.yaml where none is given. Automations are known by their names: applied
    twice, they are there once. Those that notify somebody need --alerts.
    """
    from labelaudit.cli.apply_automations import apply_automations_command

    apply_automations_command(file, alerts, as_json)


@cli.command()
@click.argument("config", required=False)
@_json
def doctor(config: str | None, as_json: bool) -> None:
    """Say what is installed, which GPU, and whether storage and the Prefect API answer.

    With CONFIG (a config file or a dataset URL) its storage is tried too: the dataset is listed, and a probe
    is written to the output, read and removed.
    """
    from labelaudit.cli.doctor import doctor_command

    doctor_command(config, as_json)


def main() -> None:
    """Entry point: every expected error is one message on stderr and an exit code, never a traceback."""
    try:
        # Not standalone, click returns the code of an Exit instead of raising it.
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("Interrupted. Run the same command again to go on where it stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing is wrong here.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    from labelaudit.cli.console import say_error
    from labelaudit.errors import LabelauditError

    if not isinstance(error, LabelauditError):
        raise error
    say_error(str(error))
    return error.exit_code


if __name__ == "__main__":
    main()
