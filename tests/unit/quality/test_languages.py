"""Texts in another language are found among others, with nothing to know but the texts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from labelaudit.quality.languages import OtherLanguages, other_languages, trigram_surprise
from labelaudit.quality.text_quality import text_measures

_SUBJECTS = ("the committee", "a new report", "the old mayor", "our team", "the small company", "a group of students")
_VERBS = ("said that it would", "has decided to", "was not able to", "is going to", "wants to", "had to")
_OBJECTS = (
    "open a school in the north",
    "sell most of the shares",
    "play in the final on sunday",
    "rebuild the bridge",
)
_ENDS = ("after the vote", "before the end of the year", "with the help of the state", "because of the weather")
ENGLISH = [
    f"{one} {two} {three} {four}." for one in _SUBJECTS for two in _VERBS for three in _OBJECTS for four in _ENDS
]
FOREIGN = [
    "Der Vorstand der Bank hat am Dienstag angekündigt, dass im kommenden Jahr viele Filialen geschlossen werden.",
    "Le ministre a déclaré que les travaux de la nouvelle ligne de métro commenceront au printemps prochain.",
    "Regeringen vill att fler ungdomar ska utbilda sig till lärare och föreslår därför att lånen skrivs av.",
    "Hallitus ilmoitti eilen, että ensi vuonna pienten yritysten verotusta kevennetään ja uusia kouluja rakennetaan.",
]


def found(texts: list[str]) -> OtherLanguages:
    samples = text_measures(pa.table({"text": pa.array(texts, pa.large_string())})).sample
    return other_languages(samples, trigram_surprise(samples))


def test_other_languages_are_found_in_english_prose() -> None:
    result = found([*ENGLISH, *FOREIGN])
    assert result.rows.tolist() == list(range(len(ENGLISH), len(ENGLISH) + len(FOREIGN)))
    assert (result.common <= result.limit).all()


def test_english_is_found_among_german_texts() -> None:
    german = [
        f"{one} {two} {three}."
        for one in ("der Ausschuss", "die alte Partei", "der neue Bericht", "das kleine Werk", "eine Gruppe der Stadt")
        for two in ("hat gesagt, dass er", "will nicht, dass sie", "wird wohl, wenn es geht,", "kann mit der Hilfe")
        for three in (
            "eine Schule in der Stadt baut",
            "die Brücke der Bahn kauft",
            "am Ende des Jahres in der Stadt ist",
        )
    ]
    result = found([*german, ENGLISH[0] + " " + ENGLISH[-1]])
    assert result.rows.tolist() == [len(german)]


def test_prose_alone_has_no_other_language() -> None:
    assert not len(found(ENGLISH).rows)


def test_texts_without_common_words_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghij"))
    names = [" ".join("".join(rng.choice(letters, 6)) for _ in range(12)) for _ in range(200)]
    assert not len(found([*names, *FOREIGN]).rows)


def test_short_texts_have_no_surprise() -> None:
    samples = text_measures(pa.table({"text": ["too short", *ENGLISH[:3]]})).sample
    surprise = trigram_surprise(samples)
    assert np.isnan(surprise[0])
    assert np.isfinite(surprise[1:]).all()


def test_no_texts() -> None:
    assert not len(found([]).rows)
