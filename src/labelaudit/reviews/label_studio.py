"""Tasks for Label Studio, its project's labeling interface, and what people decided there.

Formats: https://labelstud.io/guide/tasks.html and https://labelstud.io/guide/predictions.html. The names below
tie tasks, interface and annotations together.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from labelaudit.errors import ReviewError
from labelaudit.reviews.judging import Judgement
from labelaudit.reviews.words import as_judgement
from labelaudit.schemas import Decision
from labelaudit.text import for_xml

OBJECT, VERDICT, RIGHT_LABEL = "example", "verdict", "right_label"
# Media type and bytes of what a person sees of a row.
Preview = tuple[str, bytes]
_WITHOUT_RIGHT_LABEL = {decision.value for decision in Decision if decision != Decision.WRONG}
# A list that is hidden is no part of the annotation.
_WHERE_WRONG = f'visibleWhen="choice-selected" whenTagName="{VERDICT}" whenChoiceValue="{Decision.WRONG}"'
# What stands in place of a picture in a project of images, where Label Studio imports no task without one.
_NO_PREVIEW: Preview = (
    "image/svg+xml",
    b'<svg xmlns="http://www.w3.org/2000/svg" width="320" height="80"><rect width="320" height="80" fill="#eeeeee"/>'
    b'<text x="20" y="47" font-family="sans-serif" font-size="20" fill="#333333">No preview of this row</text></svg>',
)


def tasks_bytes(
    rows: Sequence[Mapping[str, Any]], previews: Mapping[str, Preview], model: str, *, has_images: bool
) -> bytes:
    """Tasks to import; a row with a `suggested_label` bears that suggestion as a prediction.

    rows: `example_id`, `given_label`, `file`, `row` and what else a person shall see; previews: by id; model: what made
    the suggestions; has_images: every task gets an image, one that says so where it has no preview.
    """
    missing = _NO_PREVIEW if has_images else None
    tasks = [_task(row, previews.get(row["example_id"], missing), model) for row in rows]
    return (json.dumps(tasks, indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def interface(class_names: Sequence[str], *, has_images: bool) -> str:
    """The labeling interface (XML) of a project for these tasks; under an image stands where it was read."""
    image = [f'  <Image name="{OBJECT}" value="$image"/>', '  <Text name="place" value="$text"/>']
    text = [f'  <Text name="{OBJECT}" value="$text"/>']
    lines = [
        "<View>",
        *(image if has_images else text),
        '  <Header value="Given label"/>',
        '  <Text name="given" value="$given_label"/>',
        *_choices(VERDICT, [decision.value for decision in Decision], 'showInLine="true" required="true"'),
        '  <Header value="Right label, where it is wrong"/>',
        *_choices(RIGHT_LABEL, class_names, f'layout="select" {_WHERE_WRONG}'),
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def read_annotations(data: bytes, name: str) -> list[Judgement]:
    """What an export says, as JSON or JSON-MIN; tasks without a verdict and cancelled annotations are left out.

    Raises `ReviewError` where it is no such file.
    """
    try:
        tasks = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ReviewError(f"{name} is not JSON ({error}). Export the project from Label Studio as JSON.") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ReviewError(f"{name} is no list of tasks. Export the project from Label Studio as JSON or JSON-MIN.")
    said = [_judgement(number, *one) for number, task in enumerate(tasks, start=1) for one in _annotations(task)]
    return [judgement for judgement in said if judgement is not None]


def _task(row: Mapping[str, Any], preview: Preview | None, model: str) -> dict[str, Any]:
    place = f"{row['file']}, row {row['row']}"
    data: dict[str, Any] = {**row, "text": place}
    if preview is not None:
        media_type, content = preview
        if media_type.startswith("image/"):
            data["image"] = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
        else:
            data["text"] = content.decode(errors="replace")
    task: dict[str, Any] = {"data": data}
    suggested = row.get("suggested_label")
    if suggested is not None:
        results = [_chosen(VERDICT, Decision.WRONG.value), _chosen(RIGHT_LABEL, suggested)]
        task["predictions"] = [{"model_version": model, "score": row["p_suggested"], "result": results}]
    return task


def _chosen(name: str, choice: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": OBJECT, "type": "choices", "value": {"choices": [choice]}}


def _choices(name: str, values: Sequence[str], how: str) -> Iterator[str]:
    yield f'  <Choices name="{name}" toName="{OBJECT}" choice="single" {how}>'
    for value in values:
        yield f"    <Choice value={quoteattr(for_xml(value))}/>"
    yield "  </Choices>"


def _annotations(task: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, str]]:
    """Facts of the task, decision and right label of each annotation."""
    if "annotations" not in task:
        yield task, _text(task.get(VERDICT)), _text(task.get(RIGHT_LABEL))
        return
    for annotation in _dicts(task["annotations"]):
        if annotation.get("was_cancelled"):
            continue
        results = {
            result["from_name"]: result.get("value")
            for result in _dicts(annotation.get("result"))
            if isinstance(result.get("from_name"), str)
        }
        data = task.get("data")
        yield (
            data if isinstance(data, dict) else {},
            _text(results.get(VERDICT)),
            _text(results.get(RIGHT_LABEL)),
        )


def _judgement(number: int, facts: Mapping[str, Any], word: str, right_label: str) -> Judgement | None:
    texts = {name: value for name, value in facts.items() if isinstance(value, str)}
    return as_judgement(
        f"task {number}",
        texts.get("example_id", ""),
        word,
        # In interfaces that do not hide it, the suggested label stays chosen when the verdict is changed.
        "" if word in _WITHOUT_RIGHT_LABEL else right_label,
        texts.get("given_label"),
        texts.get("content_digest"),
    )


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _text(value: Any) -> str:
    """The one choice or text of a result, in the shapes of both formats."""
    if isinstance(value, dict):
        value = value.get("choices", value.get("text"))
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = " and ".join(value)
    return value if isinstance(value, str) else ""
