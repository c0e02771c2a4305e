"""Files for Label Studio: tasks, the labeling interface of a project, and exported annotations.

Formats: https://labelstud.io/guide/tasks.html and https://labelstud.io/guide/predictions.html. The names below
connect tasks, interface and annotations.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

from labelaudit.errors import ReviewError
from labelaudit.reviews.drafts import Draft, parse_draft
from labelaudit.schemas import Decision, RemoveReason
from labelaudit.text import for_xml

OBJECT, VERDICT, RIGHT_LABEL, REMOVE_REASON = "example", "verdict", "right_label", "remove_reason"
# Media type and bytes of what a reviewer sees of a row.
TaskPreview = tuple[str, bytes]
_WORDS = {decision.value for decision in Decision}
# Label Studio imports a task into a project of images only if it has an image.
_NO_PREVIEW: TaskPreview = (
    "image/svg+xml",
    b'<svg xmlns="http://www.w3.org/2000/svg" width="320" height="80"><rect width="320" height="80" fill="#eeeeee"/>'
    b'<text x="20" y="47" font-family="sans-serif" font-size="20" fill="#333333">No preview of this row</text></svg>',
)


def tasks_bytes(
    rows: Sequence[Mapping[str, object]], previews: Mapping[str, TaskPreview], model: str, *, has_images: bool
) -> bytes:
    """Return tasks to import. A row with a `suggested_label` has that suggestion as a prediction.

    Args:
        rows: `example_id`, `given_label`, `file`, `row`, and more columns to show.
        previews: Previews by id.
        model: Name of the model that made the suggestions.
        has_images: Whether every task gets an image. Without a preview it is one that says so.
    """
    missing = _NO_PREVIEW if has_images else None
    tasks = [_task(row, previews.get(str(row["example_id"]), missing), model) for row in rows]
    return (json.dumps(tasks, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def interface(class_names: Sequence[str], *, has_images: bool) -> str:
    """Return the labeling interface (XML) of a project for these tasks. Below an image it shows its file and row."""
    image = [f'  <Image name="{OBJECT}" value="$image"/>', '  <Text name="place" value="$text"/>']
    text = [f'  <Text name="{OBJECT}" value="$text"/>']
    lines = [
        "<View>",
        *(image if has_images else text),
        '  <Header value="Given label"/>',
        '  <Text name="given" value="$given_label"/>',
        *_choices(VERDICT, [decision.value for decision in Decision], 'showInLine="true" required="true"'),
        '  <Header value="Right label, if it is wrong"/>',
        *_choices(RIGHT_LABEL, class_names, f'layout="select" {_if_chosen(Decision.WRONG)}'),
        '  <Header value="Reason, if it is to be removed"/>',
        *_choices(REMOVE_REASON, list(RemoveReason), f'showInLine="true" {_if_chosen(Decision.REMOVE)}'),
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def read_annotations(data: bytes, name: str) -> list[Draft]:
    """Return the drafts in an export as JSON or JSON-MIN, without empty tasks and cancelled annotations.

    Raises:
        ReviewError: if it is not such a file.
    """
    try:
        tasks = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ReviewError(f"{name} is not JSON ({error}). Export the project from Label Studio as JSON.") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ReviewError(f"{name} is not a list of tasks. Export the project from Label Studio as JSON or JSON-MIN.")
    drafts = [_draft(number, one) for number, task in enumerate(tasks, start=1) for one in _annotations(task)]
    return [draft for draft in drafts if draft is not None]


def _task(row: Mapping[str, object], preview: TaskPreview | None, model: str) -> dict[str, object]:
    place = f"{row['file']}, row {row['row']}"
    data: dict[str, object] = {**row, "text": place}
    if preview is not None:
        media_type, content = preview
        if media_type.startswith("image/"):
            data["image"] = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
        else:
            data["text"] = content.decode(errors="replace")
    task: dict[str, object] = {"data": data}
    suggested = row.get("suggested_label")
    if suggested is not None:
        results = [_chosen(VERDICT, Decision.WRONG.value), _chosen(RIGHT_LABEL, str(suggested))]
        task["predictions"] = [{"model_version": model, "score": row["p_suggested"], "result": results}]
    return task


def _chosen(name: str, choice: str) -> dict[str, object]:
    return {"from_name": name, "to_name": OBJECT, "type": "choices", "value": {"choices": [choice]}}


def _choices(name: str, values: Sequence[str], how: str) -> Iterator[str]:
    yield f'  <Choices name="{name}" toName="{OBJECT}" choice="single" {how}>'
    for value in values:
        yield f"    <Choice value={quoteattr(for_xml(value))}/>"
    yield "  </Choices>"


def _if_chosen(decision: Decision) -> str:
    """Return how a list is hidden with other decisions. A hidden list is not part of the annotation."""
    return f'visibleWhen="choice-selected" whenTagName="{VERDICT}" whenChoiceValue="{decision}"'


class _Annotation(NamedTuple):
    """What one annotation says, and the data of its task."""

    data: Mapping[str, object]
    word: str
    right_label: str
    remove_reason: str

    @classmethod
    def of(cls, data: Mapping[str, object], results: Mapping[str, object]) -> _Annotation:
        return cls(data, *(_text(results.get(name)) for name in (VERDICT, RIGHT_LABEL, REMOVE_REASON)))


def _annotations(task: Mapping[str, object]) -> Iterator[_Annotation]:
    if "annotations" not in task:
        yield _Annotation.of(task, task)
        return
    for annotation in _dicts(task["annotations"]):
        if annotation.get("was_cancelled"):
            continue
        results = {
            str(result["from_name"]): result.get("value")
            for result in _dicts(annotation.get("result"))
            if isinstance(result.get("from_name"), str)
        }
        data = task.get("data")
        yield _Annotation.of(data if isinstance(data, dict) else {}, results)


def _draft(number: int, said: _Annotation) -> Draft | None:
    texts = {name: value for name, value in said.data.items() if isinstance(value, str)}
    # If the interface does not hide them, label and reason stay chosen when the verdict is changed.
    is_other = said.word in _WORDS
    return parse_draft(
        f"task {number}",
        texts.get("example_id", ""),
        said.word,
        "" if is_other and said.word != Decision.WRONG else said.right_label,
        "" if is_other and said.word != Decision.REMOVE else said.remove_reason,
        texts.get("given_label"),
        texts.get("content_digest"),
    )


def _dicts(values: object) -> list[dict[str, object]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _text(value: object) -> str:
    """Return the one choice or text of a result, in the form of either format."""
    if isinstance(value, dict):
        value = value.get("choices", value.get("text"))
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = " and ".join(value)
    return value if isinstance(value, str) else ""
