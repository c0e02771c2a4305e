"""The program of a process that rehearses a fold, so that its memory can be measured.

`labelaudit.local.budget` starts it as `python -m labelaudit.local.rehearsal`, with a reference as JSON on standard
input.
"""

from __future__ import annotations

import json
import sys

from labelaudit.audits.references import PlanReference
from labelaudit.pipeline.train import rehearse_training

if __name__ == "__main__":
    rehearse_training(PlanReference(**json.load(sys.stdin)))
