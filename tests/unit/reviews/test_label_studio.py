"""Label Studio: tasks that it takes, and exports that it makes, as its documentation shows them."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from labelaudit.errors import ReviewError
from labelaudit.reviews.drafts import Draft
from labelaudit.reviews.label_studio import interface, read_annotations, tasks_bytes
from labelaudit.schemas import Decision

ROW = {"example_id": "i1", "given_label": "bee", "file": "a.parquet", "row": 7, "content_digest": "c0"}
SUGGESTED = {**ROW, "suggested_label": "ant", "label_score": 0.1, "p_suggested": 0.8}


def tasks(*rows: dict[str, Any], has_images: bool = False, **previews: tuple[str, bytes]) -> list[dict[str, Any]]:
    return list(json.loads(tasks_bytes(rows, previews, "labelaudit a1", has_images=has_images)))


def choice(name: str, value: str, kind: str = "choices") -> dict[str, Any]:
    return {"from_name": name, "to_name": "example", "type": kind, "value": {kind: [value]}}


def test_a_suggestion_is_a_prediction() -> None:
    (task,) = tasks(SUGGESTED)
    assert task["data"] == {**SUGGESTED, "text": "a.parquet, row 7"}
    expected = [choice("verdict", "wrong"), choice("right_label", "ant")]
    assert task["predictions"] == [{"model_version": "labelaudit a1", "score": 0.8, "result": expected}]
    assert "predictions" not in tasks(ROW)[0]


def test_previews_are_part_of_the_task() -> None:
    (image,) = tasks(ROW, i1=("image/png", b"\x89PNG"))
    assert image["data"]["image"] == "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
    (text,) = tasks(ROW, i1=("text/plain", "schön <b>".encode()))
    assert text["data"]["text"] == "schön <b>"


def test_every_task_of_a_project_of_images_has_an_image() -> None:
    """Label Studio refuses an import with a task that lacks what the interface shows."""
    shown, missing = tasks(ROW, {**ROW, "example_id": "i2"}, has_images=True, i1=("image/png", b"\x89PNG"))
    assert shown["data"]["image"].startswith("data:image/png;base64,")
    kind, _, data = missing["data"]["image"].partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert "No preview" in "".join(ElementTree.fromstring(base64.b64decode(data)).itertext())
    assert missing["data"]["text"] == shown["data"]["text"] == "a.parquet, row 7"


def test_the_interface_is_xml_with_the_names_of_the_tasks() -> None:
    names = ["ant", '<"&bee>', "\x00fly"]
    root = ElementTree.fromstring(interface(names, has_images=False))
    choices = {one.attrib["name"]: [option.attrib["value"] for option in one] for one in root.iter("Choices")}
    assert choices == {
        "verdict": ["wrong", "fine", "ambiguous", "remove"],
        "right_label": ["ant", '<"&bee>', "\ufffdfly"],
        "remove_reason": ["off-topic", "several-classes", "broken", "private", "other"],
    }
    assert [one.attrib["value"] for one in root.iter("Text")] == ["$text", "$given_label"]
    images = ElementTree.fromstring(interface(names, has_images=True))
    assert [one.attrib["value"] for one in images.iter("Image")] == ["$image"]
    assert [one.attrib["value"] for one in images.iter("Text")] == ["$text", "$given_label"]


def test_a_right_label_is_asked_for_if_the_verdict_is_wrong() -> None:
    """A list that is not visible is no part of an annotation (labelstud.io/tags/choices)."""
    choices = {
        one.attrib["name"]: one
        for one in ElementTree.fromstring(interface(["ant"], has_images=False)).iter()
        if one.tag == "Choices"
    }
    rule = {"visibleWhen": "choice-selected", "whenTagName": "verdict", "whenChoiceValue": "wrong"}
    assert rule.items() <= choices["right_label"].attrib.items()
    assert {**rule, "whenChoiceValue": "remove"}.items() <= choices["remove_reason"].attrib.items()
    assert "visibleWhen" not in choices["verdict"].attrib


def test_a_suggested_label_that_stayed_chosen_does_not_count() -> None:
    def annotated(verdict: str) -> dict[str, Any]:
        result = [choice("verdict", verdict), choice("right_label", "ant"), choice("remove_reason", "private")]
        return {"data": ROW, "annotations": [{"result": result}]}

    minimal = {**ROW, "verdict": "fine", "right_label": "ant"}
    found = read(*map(annotated, Decision), minimal)
    assert [(one.verdict, one.right_label, one.remove_reason) for one in found] == [
        (Decision.WRONG, "ant", None),
        (Decision.FINE, None, None),
        (Decision.AMBIGUOUS, None, None),
        (Decision.REMOVE, None, "private"),
        (Decision.FINE, None, None),
    ]
    assert "but not a verdict" in str(read({**ROW, "right_label": "ant"})[0].problem)


def read(*exported: Any) -> list[Draft]:
    return read_annotations(json.dumps(exported).encode(), "x.json")


def test_an_export_as_json() -> None:
    def annotated(*results: dict[str, Any], **facts: Any) -> dict[str, Any]:
        return {"id": 1, "data": ROW, "annotations": [{"id": 5, "result": list(results), **facts}], "predictions": []}

    found = read(
        annotated(choice("verdict", "wrong"), choice("right_label", "ant")),
        annotated(choice("verdict", "fine"), was_cancelled=True),
        annotated(),
        annotated(choice("verdict", "wrong"), choice("right_label", "fly", "text")),
        {"id": 2, "data": ROW, "annotations": []},
    )
    assert found == [
        Draft("i1", Decision.WRONG, "ant", "task 1", "bee", "c0"),
        Draft("i1", Decision.WRONG, "fly", "task 4", "bee", "c0"),
    ]


def test_an_export_as_json_min() -> None:
    found = read({**ROW, "verdict": "fine", "annotator": 1}, ROW, {**ROW, "verdict": {"choices": ["wrong", "fine"]}})
    assert found[0] == Draft("i1", Decision.FINE, None, "task 1", "bee", "c0")
    assert "'wrong and fine' is not a verdict" in str(found[1].problem)


def test_odd_values_do_not_crash() -> None:
    found = read(
        {"data": None, "annotations": [{"result": [choice("verdict", "fine"), 7]}, "x"]},
        {"example_id": 7, "verdict": "fine", "given_label": 3, "content_digest": []},
        {"annotations": 3},
        {"annotations": [{"result": [{**choice("verdict", "fine"), "from_name": ["verdict"]}]}]},
        {"annotations": [{"result": [{**choice("verdict", "fine"), "value": {"choices": [["fine"], "wrong"]}}]}]},
    )
    assert found == [Draft("", Decision.FINE, None, "task 1"), Draft("", Decision.FINE, None, "task 2")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, "x.json is not JSON (maximum recursion depth"),
        (b"{", "x.json is not JSON"),
        (b"{}", "x.json is not a list of tasks"),
        (b"[1]", "x.json is not a list of tasks"),
    ],
)
def test_a_file_that_is_not_an_export(data: bytes, message: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        read_annotations(data, "x.json")
