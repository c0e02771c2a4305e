"""Label Studio: tasks that it takes, and exports that it makes, as its documentation shows them."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from labelaudit.errors import ReviewError
from labelaudit.review.judging import Judgement
from labelaudit.review.label_studio import interface, read_annotations, tasks_bytes
from labelaudit.schemas import Decision

ROW = {"example_id": "i1", "given_label": "bee", "file": "a.parquet", "row": 7}
SUGGESTED = {**ROW, "suggested_label": "ant", "label_score": 0.1, "p_suggested": 0.8}


def tasks(*rows: dict[str, Any], **previews: tuple[str, bytes]) -> list[dict[str, Any]]:
    return list(json.loads(tasks_bytes(rows, previews, "labelaudit a1")))


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


def test_the_interface_is_xml_with_the_names_of_the_tasks() -> None:
    names = ["ant", '<"&bee>', "\x00fly"]
    root = ElementTree.fromstring(interface(names, has_images=False))
    choices = {one.attrib["name"]: [option.attrib["value"] for option in one] for one in root.iter("Choices")}
    assert choices == {"verdict": ["wrong", "fine", "ambiguous"], "right_label": ["ant", '<"&bee>', "\ufffdfly"]}
    assert [one.attrib["value"] for one in root.iter("Text")] == ["$text", "$given_label"]
    images = ElementTree.fromstring(interface(names, has_images=True))
    assert [one.attrib["value"] for one in images.iter("Image")] == ["$image"]


def read(*exported: Any) -> list[Judgement]:
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
        Judgement("i1", Decision.WRONG, "ant", "task 1", "bee"),
        Judgement("i1", Decision.WRONG, "fly", "task 4", "bee"),
    ]


def test_an_export_as_json_min() -> None:
    found = read({**ROW, "verdict": "fine", "annotator": 1}, ROW, {**ROW, "verdict": {"choices": ["wrong", "fine"]}})
    assert found[0] == Judgement("i1", Decision.FINE, None, "task 1", "bee")
    assert "'wrong and fine' is no verdict" in str(found[1].problem)


def test_odd_values_are_no_crash() -> None:
    found = read(
        {"data": None, "annotations": [{"result": [choice("verdict", "fine"), 7]}, "x"]},
        {"example_id": 7, "verdict": "fine", "given_label": 3},
        {"annotations": 3},
        {"annotations": [{"result": [{**choice("verdict", "fine"), "from_name": ["verdict"]}]}]},
        {"annotations": [{"result": [{**choice("verdict", "fine"), "value": {"choices": [["fine"], "wrong"]}}]}]},
    )
    assert found == [Judgement("", Decision.FINE, None, "task 1"), Judgement("", Decision.FINE, None, "task 2")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 100_000, "x.json is not JSON (maximum recursion depth"),
        (b"{", "x.json is not JSON"),
        (b"{}", "x.json is no list of tasks"),
        (b"[1]", "x.json is no list of tasks"),
    ],
)
def test_a_file_that_is_no_export(data: bytes, message: str) -> None:
    with pytest.raises(ReviewError, match=re.escape(message)):
        read_annotations(data, "x.json")
