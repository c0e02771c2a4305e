"""What the steps of an audit found out about damaged features, in its work folder, for the notes of its report."""

from __future__ import annotations

from collections.abc import Iterable

from labelaudit.audits.audit_plan import Plan
from labelaudit.storage.manifest import sha256_hex
from labelaudit.storage.store import Store

_NAME_DIGITS = 32
_SUFFIX = ".txt"
# Files that the report names.
_SHOWN = 3


def keep_damage_notes(store: Store, plan: Plan, notes: Iterable[str]) -> None:
    """Store sentences, each on one damaged file. The same sentence is stored once."""
    for note in notes:
        store.write(f"{_folder(plan)}/{sha256_hex(note.encode())[:_NAME_DIGITS]}{_SUFFIX}", note.encode())


def damage_notes(store: Store, plan: Plan) -> tuple[str, ...]:
    """Return a sentence with the number of damaged files, and the first ones that were stored; none if all is well."""
    files = [file for file in store.find(_folder(plan)) if file.path.endswith(_SUFFIX)]
    if not files:
        return ()
    counted = "1 file of stored features is" if len(files) == 1 else f"{len(files):,} files of stored features are"
    first = f"{counted} damaged. Rows that the audit needs were encoded again."
    return (first, *(store.read(file.path).decode() for file in files[:_SHOWN]))


def _folder(plan: Plan) -> str:
    return f"{plan.work_folder}/encoding/damaged"
