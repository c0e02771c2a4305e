"""Compare `labelaudit detect` with the plain call of cleanlab: seconds and memory, on the same generated probabilities.

    python benchmarks/memory.py                             300,000 rows of 1,000 classes
    python benchmarks/memory.py 5000000x100 --no-cleanlab   other sizes; cleanlab needs several times the array
    python benchmarks/memory.py 300000x1000 --filter prune_by_noise_rate

Each command runs in its own process. Seconds are wall time without imports; CPU seconds matter on a busy
machine. Memory is the peak of the process minus
what it held after its imports. "rss" counts all resident pages, "held" does not count pages of mapped files.
"detection" is `find_issues` alone, in a process that reads the same file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

GIB = 2**30
BLOCK_ROWS = 20_000

# Prints one JSON object. Reset the peak by the kernel, because imports may need more than they keep.
MEASURED = """
import json, resource, sys, threading, time
from pathlib import Path
{imports}
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))
Path("/proc/self/clear_refs").write_text("5")
before_rss, before_held = status("VmRSS"), status("RssAnon")
held = before_held
running = True
def watch():
    global held
    while running:
        held = max(held, status("RssAnon"))
        time.sleep(0.02)
watcher = threading.Thread(target=watch)
watcher.start()
start, start_cpu = time.perf_counter(), time.process_time()
try:
    {work}
finally:
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    running = False
    watcher.join()
    found = dict(seconds=seconds, cpu=cpu, rss=status("VmHWM") - before_rss, held=held - before_held)
    print(json.dumps(found), file=sys.stderr)
"""
CLEANLAB = (
    "import numpy as np; from cleanlab.filter import find_label_issues",
    "find_label_issues(np.load(sys.argv[2]), np.load(sys.argv[1]), n_jobs=1, filter_by=sys.argv[3])",
)
# The imports are those that the command makes by and by.
DETECT = (
    "import labelaudit.audit, labelaudit.cli.detect, labelaudit.pipeline.detect, labelaudit.pipeline.publish\n"
    "from labelaudit.cli.main import cli",
    "cli.main(['detect', sys.argv[1], '--label', sys.argv[2], '--filter', sys.argv[3], "
    "'--output', sys.argv[4], '--name', 'generated'], standalone_mode=False)",
)
FIND = (
    "import numpy as np\n"
    "from labelaudit.detection.issues import find_issues\n"
    "from labelaudit.pipeline.external_rows import ExternalRows, ScoredRows\n"
    "from labelaudit.detection.rows import CheckedBlocks\n"
    "from labelaudit.storage.mapped_rows import MappedRows",
    "rows = MappedRows(sys.argv[1]); labels = np.load(sys.argv[2]); names = [str(k) for k in range(rows.shape[1])]; "
    "raw = ScoredRows(ExternalRows((rows,), rows.dtype, None), np.arange(len(rows))); "
    "find_issues(labels, CheckedBlocks(raw, None), names, filter_by=sys.argv[3])",
)


def generate(folder: Path, rows: int, classes: int) -> tuple[Path, Path]:
    """Write labels (one in ten is wrong), and probabilities of a model that is mostly right."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, classes, rows)
    labels = np.where(rng.random(rows) < 0.1, rng.integers(0, classes, rows), true)
    pred_probs, path = folder / "pred_probs.npy", folder / "labels.npy"
    np.save(path, labels)
    with pred_probs.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, classes)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, BLOCK_ROWS):
            part = true[start : start + BLOCK_ROWS]
            logits = rng.standard_normal((len(part), classes), np.float32)
            logits[np.arange(len(part)), part] += np.log(classes) + 2
            values = np.exp(logits)
            file.write((values / values.sum(axis=1, keepdims=True)).astype("<f4").tobytes())
    return pred_probs, path


def measure(case: tuple[str, str], *arguments: object) -> dict[str, float]:
    """Run one case in its own process."""
    imports, work = case
    code = MEASURED.format(imports=imports, work=work)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stderr.strip().splitlines()[-1])
    return found


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["300000x1000"], help="rows x classes")
    parser.add_argument("--filter", default="auto")
    parser.add_argument("--cleanlab-filter", default="prune_by_noise_rate")
    parser.add_argument("--no-cleanlab", action="store_true")
    options = parser.parse_args()
    say(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, numpy {np.__version__}\n")
    say("| rows x classes | command | seconds | CPU seconds | rss GiB | held GiB |\n|---|---|---|---|---|---|")
    for size in options.sizes:
        rows, classes = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            files = generate(folder, rows, classes)
            cases = [
                ("find_issues", FIND, (options.filter,)),
                ("labelaudit detect", DETECT, (options.filter, folder / "audits")),
            ]
            if not options.no_cleanlab:
                cases.insert(0, ("cleanlab", CLEANLAB, (options.cleanlab_filter,)))
            for title, case, arguments in cases:
                found = measure(case, *files, *arguments)
                say(
                    f"| {size} | {title} | {found['seconds']:.1f} | {found['cpu']:.1f} | "
                    f"{found['rss'] / GIB:.2f} | {found['held'] / GIB:.2f} |"
                )


if __name__ == "__main__":
    main()
