"""`labelaudit review` on the command line."""

from __future__ import annotations

import csv
import json
import os
import re
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from s3fs import S3FileSystem

from labelaudit.cli.main import main
from labelaudit.reviews.sampling import DEFAULT_SEED
from support.paths import ROOT
from support.reviewed import NAMES, RIGHT, audit_insects, truly


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run `labelaudit review …` on an audit; return exit code, stdout and stderr."""
    audit_insects(tmp_path, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["labelaudit", "review", *map(str, arguments)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(str(code or 0)), printed.out, printed.err

    return command


DATASET = "out/dataset=insects"


def _fill(path: Path) -> None:
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    for row in rows:
        said = truly(row["example_id"])
        row["verdict"], row["right_label"] = str(said.verdict), said.right_label or ""
    with path.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_review_from_the_sample_to_the_corrected_labels(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("sample", DATASET, "--flagged", 8, "--unflagged", 40, "--output", "sample.csv")
    assert (code, out) == (0, "sample.csv\n")
    assert "flagged: 8 of 8 rows" in err
    _fill(tmp_path / "sample.csv")
    code, out, err = run("import", DATASET, "sample.csv", "--reviewer", "ann")
    assert (code, out) == (0, "48\n")
    assert "48 verdicts read, 48 new ones stored" in err
    code, out, _ = run("import", DATASET, "sample.csv", "--reviewer", "ann", "--json")
    assert (json.loads(out)["read"], json.loads(out)["stored"]) == (48, 0)
    code, out, err = run("status", DATASET)
    assert (code, out) == (0, "")
    assert "flagged rows reviewed: 8 of 8" in err
    assert "sample, unflagged: 40 of 40 reviewed in order" in err
    assert "precision on randomly drawn flags: 100\N{NO-BREAK SPACE}%" in err
    assert "wrong labels: 6.7\N{NO-BREAK SPACE}% (95 % interval 6.7" in err
    assert "reviewer 'ann': 48" in err
    code, out, _ = run("export", DATASET, "--what", "corrected", "--output", "corrected.csv", "--json")
    assert json.loads(out)["what"] == "corrected"
    assert (tmp_path / "corrected.csv").read_text().splitlines()[:2] == ['"example_id","label"', '"i000","ant"']


def test_a_sample_by_p_wrong(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("sample", DATASET, "--rows", 70, "--output", "sample.csv", "--json")
    assert code == 0
    # 8 doubtful rows are too few for a stratum of their own.
    assert "p_wrong 0 to 1: 70 of 120 rows" in err
    assert json.loads(out)["p_wrong 0 to 1"] == {"rows": 120, "sampled": 70}
    _fill(tmp_path / "sample.csv")
    assert run("import", DATASET, "sample.csv", "--reviewer", "ann")[0] == 0
    assert "sample, p_wrong 0 to 1: 70 of 70 reviewed in order" in run("status", DATASET)[2]
    code, _, err = run("sample", DATASET, "--rows", 70, "--flagged", 8, "--output", "other.csv")
    assert (code, "--rows cannot be combined with --flagged or --unflagged." in err) == (2, True)


def test_the_commands_of_the_guide(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    guide = (ROOT / "docs" / "review.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    lines = [line.split()[2:] for block in blocks for line in block.splitlines()]
    assert [line[0] for line in lines] == ["sample", "import", "status", *["export"] * 4]
    for words in lines:
        if words[0] == "import":
            _fill(tmp_path / "sample.csv")
        code, _, err = run(*(word.replace("audits/dataset=fruit", DATASET) for word in words))
        assert code == 0, err
    assert (tmp_path / "corrected.csv").read_text().startswith('"example_id","label"')


def test_every_row_of_a_version_with_what_to_do(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    Path("said.csv").write_text(
        "example_id,verdict,right_label,remove_reason\ni000,wrong,ant,\ni001,remove,,Off topic\ni015,remove,,a leaf\n"
    )
    assert run("import", DATASET, "said.csv", "--reviewer", "ann")[0] == 0
    _, out, err = run("status", DATASET, "--json")
    assert "2 rows are to be removed, and still in this version." in err
    assert json.loads(out)["removals"] == "2 rows are to be removed, and still in this version."
    code, out, err = run("export", DATASET, "--what", "clean", "--output", "clean.csv", "--json")
    assert code == 0
    assert "111 keep, 1 relabel, 2 remove, 6 unsure" in err
    assert "'bee': 48 rows (40.0\N{NO-BREAK SPACE}%), then" in err
    found = json.loads(out)
    assert found["actions"] == {"keep": 111, "relabel": 1, "remove": 2, "unsure": 6}
    assert sum(one["rows_after"] for one in found["classes"]) == 112
    rows = {row["example_id"]: row for row in csv.DictReader(Path("clean.csv").read_text().splitlines())}
    assert len(rows) == 120
    assert (rows["i000"]["label"], rows["i000"]["action"], rows["i000"]["given_label"]) == ("ant", "relabel", "bee")
    assert [rows[name]["reason"] for name in ("i001", "i015")] == ["off-topic", "a leaf"]
    assert [rows["i001"][name] for name in ("label", "action")] == ["", "remove"]
    limits = ("--relabel-above", 0.2, "--remove-above", 1)
    assert run("export", DATASET, "--what", "clean", *limits, "--output", "clean.parquet")[0] == 0
    assert pq.read_table("clean.parquet")["action"].to_pylist().count("relabel") == 7
    code, _, err = run("export", DATASET, "--what", "issues", *limits, "--output", "issues.csv")
    assert (code, "--relabel-above and --remove-above do not apply to --what issues." in err) == (2, True)


def test_disagreements_and_hostile_names_stay_on_their_line(run) -> None:  # type: ignore[no-untyped-def]
    for name, verdict in (("ann", "fine"), ("\x1b[31mbob\n", "ambiguous")):
        Path("one.csv").write_text(f"example_id,verdict\ni000,{verdict}\n")
        assert run("import", DATASET, "one.csv", "--reviewer", name)[0] == 0
    _, out, err = run("status", DATASET, "--json")
    assert "rows on which reviewers disagree: 1" in err
    assert "  'i000' ('bee'): '\\x1b[31mbob' ambiguous, 'ann' fine" in err
    assert "\x1b" not in err
    assert json.loads(out)["disagreements"] == 1


def test_a_measurement_of_another_version_is_named(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run("sample", DATASET, "--flagged", 8, "--unflagged", 40, "--output", "sample.csv")
    _fill(tmp_path / "sample.csv")
    run("import", DATASET, "sample.csv", "--reviewer", "ann")
    audit_insects(tmp_path, tmp_path / "out", given=list(NAMES[RIGHT]), version="v2")
    _, _, err = run("status", f"{DATASET}/version=v2")
    assert "sample of version v1, flagged: 8 of 8" in err
    assert "measured on version v1 and not on this one" in err
    _, _, err = run("status", f"{DATASET}/version=v1")
    assert "sample, flagged: 8 of 8" in err
    assert "measured on version" not in err


def test_tasks_without_previews_are_explained(run) -> None:  # type: ignore[no-untyped-def]
    code, out, err = run("sample", DATASET, "--flagged", 4, "--unflagged", 4, "--output", "tasks.json", "--json")
    assert code == 0
    assert (json.loads(out)["without_preview"], json.loads(out)["seed"]) == (8, DEFAULT_SEED)
    assert "The tasks show no previews: the audit has none for 8 of these rows" in err
    assert "a sample with --seed 0 and --rows 400 or less" in err
    assert "previews" not in run("sample", DATASET, "--output", "sample.csv")[2]


def test_a_file_that_cannot_be_written_leaves_no_sample(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, _, err = run("sample", DATASET, "--output", "sample.txt")
    assert (code, "sample.txt cannot be a file of this kind here. Give a name that ends in .csv" in err) == (2, True)
    assert not list(tmp_path.glob("out/dataset=insects/_samples/*"))


def test_importing_a_file_again_does_not_overrule_others(run) -> None:  # type: ignore[no-untyped-def]
    Path("ann.csv").write_text("example_id,verdict\ni000,fine\ni001,fine\n")
    Path("bob.csv").write_text("example_id,verdict\ni000,ambiguous\n")
    for name in ("ann", "bob"):
        assert run("import", DATASET, f"{name}.csv", "--reviewer", name)[0] == 0
    code, out, err = run("import", DATASET, "ann.csv", "--reviewer", "ann", "--json")
    assert (code, json.loads(out)["stored"], json.loads(out)["overruled"]) == (0, 0, 1)
    assert "1 of the others repeat an earlier verdict of yours, but someone else decided otherwise since. To" in err
    _, out, _ = run("status", DATASET, "--json")
    assert json.loads(out)["verdicts"] == {"wrong": 0, "fine": 1, "ambiguous": 1, "remove": 0}


def test_text_that_is_not_utf8_is_refused(run) -> None:  # type: ignore[no-untyped-def]
    Path("one.csv").write_text("example_id,verdict\ni000,fine\n")
    code, _, err = run("import", DATASET, "one.csv", "--reviewer", "\udcff")
    assert (code, "The reviewer '\\udcff' of the verdict on 'i000' is not valid UTF-8" in err) == (2, True)
    Path("tasks.json").write_text('[{"example_id": "\\ud800", "verdict": "fine"}]')
    code, _, err = run("import", DATASET, "tasks.json", "--reviewer", "ann")
    assert (code, "task 1: '\\ud800' is not a scored row of this audit" in err) == (2, True)
    Path("tasks.json").write_text('[{"example_id": "i000", "verdict": "wrong", "right_label": "a\\ud800"}]')
    code, _, err = run("import", DATASET, "tasks.json", "--reviewer", "ann", "--allow-new-classes")
    assert (code, "task 1: 'i000': the right label 'a\\ud800' is not valid UTF-8" in err) == (2, True)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file grows beyond 1,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_is_replaced_by_a_whole_one_or_not_at_all(run, full_disk: None) -> None:  # type: ignore[no-untyped-def]
    Path("corrected.csv").write_text("before")
    command = ("export", DATASET, "--what", "verdicts", "--output", "corrected.csv", "--format", "parquet")
    code, _, err = run(*command, "--overwrite")
    assert (code, "corrected.csv cannot be written: File too large" in err) == (2, True)
    assert Path("corrected.csv").read_text() == "before"
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_links_and_devices_are_kept(run) -> None:  # type: ignore[no-untyped-def]
    Path("folder").mkdir()
    Path("link.csv").symlink_to("folder/file.csv")
    assert run("export", DATASET, "--output", "link.csv")[0] == 0
    assert Path("link.csv").is_symlink()
    assert "i000" in Path("folder/file.csv").read_text()
    os.mkfifo("pipe.csv")
    reader = os.open("pipe.csv", os.O_RDONLY | os.O_NONBLOCK)
    assert run("export", DATASET, "--output", "pipe.csv", "--overwrite")[0] == 0
    assert b"i000" in os.read(reader, 10_000)
    os.close(reader)
    assert Path("pipe.csv").is_fifo()


def test_bad_usage_is_refused(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "bad.csv").write_text("example_id,verdict,right_label\ni000,wrong,\ni999,fine,\n")
    code, _, err = run("import", DATASET, "bad.csv", "--reviewer", "ann")
    assert code == 2
    assert "line 2: 'i000' is wrong, but the right label is missing" in err
    assert "line 3: 'i999' is not a scored row" in err
    code, _, err = run("import", DATASET, "nothing.csv", "--reviewer", "ann")
    assert (code, "nothing.csv cannot be read: No such file" in err) == (2, True)
    (tmp_path / "parts").mkdir()
    code, _, err = run("import", DATASET, "parts", "--reviewer", "ann")
    assert (code, "parts is a folder, but verdicts are imported from a file" in err) == (2, True)
    code, _, err = run("export", DATASET, "--output", "bad.csv")
    assert (code, "bad.csv exists already" in err) == (2, True)
    assert run("export", DATASET, "--output", "bad.csv", "--overwrite")[0] == 0
    code, _, err = run("export", DATASET, "--output", "no/folder.csv")
    assert (code, "folder.csv cannot be written: No such file" in err) == (2, True)
    code, _, err = run("status", "out")
    assert (code, "No audit is published at out" in err) == (2, True)
    assert run("sample", DATASET, "--flagged", 0, "--output", "s.csv")[0] == 2


@pytest.fixture
def insects_yaml(s3: str, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A config whose storage.options are the only way to the published audit."""
    audit_insects(tmp_path, s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()
    path = tmp_path / "insects.yaml"
    path.write_text(
        "dataset: {url: insects.parquet, name: insects}\n"
        f"output: {{url: '{s3}'}}\n"
        f"storage: {{options: {{endpoint_url: '{s3_server}'}}}}\n"
    )
    yield path
    S3FileSystem.clear_instance_cache()


def test_storage_options_of_a_config_reach_every_command(insects_yaml: Path, s3: str, run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for number, target in enumerate((("insects.yaml",), (f"{s3}/dataset=insects", "--config", "insects.yaml"))):
        name = f"sample{number}.csv"
        code, _, err = run("sample", *target, "--rows", 40, "--seed", number, "--output", name)
        assert code == 0, err
        _fill(tmp_path / name)
        assert run("import", *target, name, "--reviewer", "ann")[0] == 0
        assert run("export", *target, "--what", "corrected", "--output", f"corrected{number}.csv")[0] == 0
        assert "reviewer 'ann'" in run("status", *target)[2]


def test_a_config_that_does_not_fit(run) -> None:  # type: ignore[no-untyped-def]
    Path("insects.yaml").write_text("dataset: {url: insects.parquet, name: insects}\noutput: {url: out}\n")
    assert run("status", "insects.yaml")[0] == 0
    code, _, err = run("status", "insects.yaml", "--config", "insects.yaml")
    assert (code, "AUDIT insects.yaml is a config already. Remove --config." in err) == (2, True)
    code, _, err = run("status", DATASET, "--config", "insects.json")
    assert (code, "--config insects.json is not a config. Name a .yaml file." in err) == (2, True)
