"""The command line. This module only declares commands; what a command does is imported when it runs.

`--help` must answer at once, but torch, scipy and Prefect take seconds to import. This module and a few others,
which tests/unit/test_layers.py lists, therefore import parts of labelaudit inside functions.
"""

from __future__ import annotations

from labelaudit.local.python_path import leave_out_working_directory

# Before the other imports, which could already find a file of the working directory.
leave_out_working_directory()

import importlib.metadata
import os
import sys
from typing import Any

import click

from labelaudit.cli.dataset_options import DatasetOptions, dataset_options

EPILOG = """\b
Exit codes: 0 done; 1 the run failed; 2 bad usage, config or input;
3 the gate failed (the audit is published); 130 interrupted.
Credentials come from the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …)."""

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(importlib.metadata.version("labelaudit"), "--version", message="labelaudit %(version)s")
def cli() -> None:
    """Find wrong labels in labeled datasets.

    labelaudit trains a classifier in k folds, finds wrong labels from the out-of-fold probabilities, and
    publishes a report: an HTML page for people and Parquet tables for dashboards.

    \b
      labelaudit demo                                  try it on images with planted label errors
      labelaudit check data.parquet --label label      see what a dataset contains, without training
      labelaudit run data.parquet --label label        audit the dataset
      labelaudit run nightly.yaml                      audit it with a config file
    """


@cli.command()
@click.option("--output", default="labelaudit-demo", show_default=True, metavar="FOLDER", help="Where to write.")
@_json
def demo(output: str, as_json: bool) -> None:
    """Audit a built-in image dataset with 6 % wrong labels.

    Writes scikit-learn's handwritten digits with planted label errors to a folder, audits them as a Prefect flow on
    a temporary server, and reports how many of the planted errors were found. Needs no network and no account.
    Takes about a minute.
    """
    from labelaudit.cli.demo import run_demo

    run_demo(output, as_json)


@cli.command()
@click.argument("config")
@dataset_options
@_json
def run(config: str, as_json: bool, **options: Any) -> None:
    """Audit a dataset version and publish the report.

    CONFIG is a YAML file or the URL of a dataset. A dataset is a Parquet, CSV, TSV or JSONL file, a folder of such
    files, or a folder of images with one subfolder per class. It can be local, or at s3:// or any other fsspec URL.

    If a Prefect API is configured (PREFECT_API_URL or a profile), the audit is a run of the flow `audit-dataset`.
    Otherwise the same steps run in this process. To resume after a crash, run the same command again: finished folds
    are not trained again, and a published audit is not repeated.

    The last line on stdout is the URL of the audit's folder.
    """
    from labelaudit.cli.run import run_command

    run_command(config, DatasetOptions(**options), as_json)


@cli.command()
@click.argument("config")
@dataset_options
@click.option("--estimate", is_flag=True, help="Train for a few steps to estimate time and memory.")
@_json
def check(config: str, as_json: bool, estimate: bool, **options: Any) -> None:
    """Read a dataset version and show what an audit would do, without training.

    CONFIG is a YAML file or the URL of a dataset, as for `labelaudit run`.

    Shows the columns that were configured or guessed, the rows by status (unlabeled, unreadable, duplicate id, rare
    class), the classes, the model and the folds. Publishes nothing.

    With --estimate it also builds the network, trains it on random data for a few steps, and reports how much time
    and memory an audit needs. This takes a few seconds longer.
    """
    from labelaudit.cli.check import check_command

    check_command(config, DatasetOptions(**options), as_json, estimate=estimate)


@cli.command("detect")
@click.argument("file")
@click.option("--label", metavar="COLUMN|FILE", help="Column with the given labels, or a .npy file. [default: label]")
@click.option("--id", metavar="COLUMN|FILE", help="Column with the example ids, or a .npy file. [default: id]")
@click.option(
    "--pred-probs",
    metavar="COLUMN|FILE",
    help="Column with lists of probabilities, or a .npy file of shape (rows, classes). [default: pred_probs]",
)
@click.option("--annotations", metavar="URL", help="Table with the answers of several annotators.")
@click.option("--classes", help="Class names in the order of the probabilities, separated by commas.")
@click.option("--name", help="Name of the dataset in reports.")
@click.option("--version", help="Version of the dataset in reports.")
@click.option("--output", metavar="URL", help="Where to publish the audit. [default: labelaudit-reports]")
@click.option(
    "--filter", default="auto", show_default=True, help="How rows are flagged: auto, or a filter of cleanlab."
)
@click.option(
    "--slices", metavar="COLUMN|FILE", multiple=True, help="Column whose values are compared. Can be repeated."
)
@click.option(
    "--set",
    metavar="A.B=VALUE",
    multiple=True,
    help="Set a config key of detection, gate, report or storage, such as detection.precision=0.8. Can be repeated.",
)
@_json
def _detect(file: str, as_json: bool, **options: Any) -> None:
    """Find label issues in out-of-fold probabilities that you already have.

    FILE is a Parquet file with ids, labels and probabilities, or a .npy file of probabilities together with
    --label labels.npy. Each can also be a folder of such files, all of which are read. The order of the classes comes
    from --classes, from `class_names` in the metadata of the file, or from sorting the labels. No dataset is read and
    nothing is trained.
    """
    from labelaudit.cli.detect import DetectOptions, detect_command

    detect_command(file, DetectOptions(**options), as_json)


@cli.command()
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option(
    "--dataset",
    metavar="URL|CONFIG",
    help="Read A and B as versions of this dataset: a folder …/dataset=NAME, or a config file.",
)
@click.option("--output", metavar="FILE", help="Write all changed rows to this Parquet file.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=0), help="How many new issues to list.")
@_json
def diff(before: str, after: str, dataset: str | None, output: str | None, limit: int, as_json: bool) -> None:
    """Show what changed from audit A to audit B of a dataset.

    Rows are compared by their stable example ids. Shows flagged rows that are new, fixed, gone, dismissed, persistent
    or flapping, rows that were added, removed, relabeled or replaced, and whether anything besides the data changed
    (config or packages).

    \b
      labelaudit diff audits/dataset=fruit/version=v2/audit=0a1b… audits/dataset=fruit/version=v3/audit=2c3d…
      labelaudit diff audits/dataset=fruit/version=v2 audits/dataset=fruit/version=v3
      labelaudit diff v2 v3 --dataset audits/dataset=fruit
      labelaudit diff v2 v3 --dataset audit.yaml

    A version stands for its newest audit. Nothing is trained or published.
    """
    from labelaudit.cli.diff import diff_command

    diff_command(before, after, dataset=dataset, output=output, limit=limit, as_json=as_json)


@cli.command()
@click.argument("url")
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
              help="Host name under which a proxy serves the dashboard. Can be repeated.")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Show no buttons that store a verdict.")
@click.option("--reviewer", metavar="NAME", help="Name to store with verdicts. [default: your user name]")
@click.option("--no-browser", is_flag=True, help="Do not open a browser.")
def dashboard(url: str, **options: Any) -> None:
    """Browse audits and review doubtful labels in the browser.

    URL is the folder with the audits of all datasets, of one dataset (dataset=…), or of one audit. Verdicts are stored
    next to the audits of the dataset, and the next audit uses them. The dashboard has no login: if others can reach
    it, put it behind a proxy with a login. Needs `pip install 'labelaudit[dashboard]'`.
    """
    from labelaudit.cli.dashboard import dashboard_command

    dashboard_command(url, **options)


@cli.command("publish-version")
@click.argument("config")
@click.argument("source", type=click.Path(exists=True))
@click.option("--version", metavar="NAME", help="Name of the new version.")
@click.option("--name", help="Name of the dataset, if the config does not set it.")
@click.option("--set", metavar="A.B=VALUE", multiple=True, help="Override a config key. Can be repeated.")
@_json
def publish_version(config: str, source: str, as_json: bool, **options: Any) -> None:
    """Upload a local dataset as a new version and announce it.

    CONFIG is the dataset's YAML file, whose `dataset.url` contains {version}. SOURCE is a local file or folder. The
    marker that makes the version complete is uploaded after all files, so that no audit reads a partial version.

    If a Prefect API is configured, the event `labelaudit.dataset.published` then starts the audit. The command is
    idempotent: run again, it starts no second audit.
    """
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
@click.option("--rows", type=click.IntRange(1), help="Rows to draw, in strata by p_wrong [200].")
@click.option("--flagged", type=click.IntRange(1), help="Instead of --rows: flagged rows to draw [100].")
@click.option("--unflagged", type=click.IntRange(1), help="Instead of --rows: other rows to draw [100].")
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
    rows: int | None,
    flagged: int | None,
    unflagged: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Draw random rows to review, to measure the share of wrong labels.

    Rows are drawn separately from ranges of p_wrong and written mixed: the file does not reveal which look wrong. Rows
    that have a verdict count and are left out of the file. With 60 or more verdicts, the next audit corrects p_wrong
    and proves a promised precision.
    """
    from labelaudit.cli.review import AuditTarget, ByFlag, OutputFile, sample_command

    file = OutputFile(output, format, overwrite)
    by_flag = ByFlag(flagged, unflagged)
    sample_command(AuditTarget(audit, config), file, rows=rows, by_flag=by_flag, seed=seed, as_json=as_json)


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


@cli.group()
def features() -> None:
    """Show or prune stored features of encoders.

    OUTPUT is the folder with the audits of all datasets (output.url), or a config file; then its storage.options
    apply.
    """


_features_dataset = click.option("--dataset", metavar="NAME", help="Only this dataset. [default: all]")
_verify = click.option("--verify", is_flag=True, help="Read all data and compare checksums.")


@features.command("status")
@click.argument("output")
@_features_dataset
@_verify
@_json
def features_status(output: str, dataset: str | None, verify: bool, as_json: bool) -> None:
    """Show the features of each dataset and encoder: rows, shards, bytes, last write, damage.

    Without --verify, only missing files and wrong sizes count as damage.
    """
    from labelaudit.cli.features import FeaturesTarget, features_status_command

    features_status_command(FeaturesTarget(output, dataset), verify=verify, as_json=as_json)


@features.command("prune")
@click.argument("output")
@_features_dataset
@click.option(
    "--older-than", type=click.IntRange(0), default=30, show_default=True, metavar="DAYS",
    help="Keep shards that were written later.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@_verify
@_json
def features_prune(
    output: str, dataset: str | None, older_than: int, dry_run: bool, verify: bool, as_json: bool
) -> None:
    """Remove shards that no published audit used, damaged shards, and data whose writer was killed.

    The shards of an encoder that no published audit of the dataset used are removed if all of them are old. If an audit
    needs removed features again, it encodes those rows again. With --verify, shards with a wrong checksum are removed
    too.
    """
    from labelaudit.cli.features import FeaturesTarget, features_prune_command

    features_prune_command(
        FeaturesTarget(output, dataset), older_than=older_than, verify=verify, is_dry_run=dry_run, as_json=as_json
    )


@cli.command("apply-automations")
@click.argument("file", default="deployments/automations.yaml", metavar="[FILE]")
@click.option("--alerts", metavar="TYPE/NAME", help="Notification block, for example slack-webhook/labelaudit.")
@_json
def _apply_automations(file: str, alerts: str | None, as_json: bool) -> None:
    """Create or update the automations of FILE on the Prefect server.

    FILE is deployments/automations.yaml by default. Automations are identified by name, so the command is idempotent.
    Automations that send notifications need --alerts; without it they are left out.
    """
    from labelaudit.cli.apply_automations import apply_automations_command

    apply_automations_command(file, alerts, as_json)


@cli.command()
@click.argument("config", required=False)
@_json
def doctor(config: str | None, as_json: bool) -> None:
    """Check packages, device, cache and the Prefect API; with CONFIG also storage.

    CONFIG is a config file or the URL of a dataset. The dataset is then listed, and a small test file is written to
    the output, read and removed.
    """
    from labelaudit.cli.doctor import doctor_command

    doctor_command(config, as_json)


def main() -> None:
    """Run the command line. An expected error is one message on stderr and an exit code, never a traceback."""
    try:
        # With standalone_mode=False, click returns the code of an Exit instead of raising it.
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("Interrupted. Run the same command again to resume.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has ended (`| head`), which is not an error.
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
