"""Rules of --select: what they mean, what is refused, and what is left."""

import math
import random
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurecache.errors import UsageError
from featurecache.select import CQ500_RULES, PRESET_RULES, Candidate, Selection, add_rules


def series(key: str = "1.2", **fields: object) -> Candidate:
    usual: dict[str, object] = {
        "patient_id": "p", "study_uid": "1", "thickness": 5.0, "gap": 5.0, "slices": 30,
        "description": "PLAIN", "kernel": "H30s",
    }  # fmt: skip
    return Candidate(**{"key": key, **usual, **fields})  # type: ignore[arg-type]


def reason(rule: str, **fields: object) -> str | None:
    found = Selection.parse([rule]).left_out([series(**fields)]).get("1.2")
    return found and found.removeprefix("not selected: ")


@pytest.mark.parametrize(
    ("rule", "kept", "left_out"),
    [
        ("thickness<=5", [0.5, 5.0], [5.1, 10]),
        ("thickness < 5", [4.9], [5.0]),
        ("thickness>=5 mm", [5.0, 6], [4.99]),
        ("Thickness>5", [5.01], [5.0]),
        ("thickness=0.625", [0.625], [0.63, 0.6]),
        ("thickness=1..3", [1.0, 2.5, 3.0], [0.99, 3.01]),
        ("thickness = 1 .. 3 mm", [1.0, 3.0], [3.5]),
    ],
)
def test_numbers_lie_within_the_ends_that_the_rule_names(rule, kept, left_out) -> None:
    assert [reason(rule, thickness=value) for value in kept] == [None] * len(kept)
    assert all(
        str(reason(rule, thickness=value)).startswith("thickness is not") for value in left_out
    )


@pytest.mark.parametrize("rule", ["gap<=5", "gap>=5", "gap=5", "gap=4..5", "gap=5..6"])
@pytest.mark.parametrize("gap", [5.0, 5.00000000004998, 4.99999999, 5.0019, 4.9981])
def test_a_gap_that_rounds_to_the_limit_is_the_limit(rule, gap) -> None:
    assert reason(rule, gap=gap) is None
    assert reason("gap<5", gap=gap) == "gap is not <5 mm"
    assert reason("gap>5", gap=gap) == "gap is not >5 mm"
    assert reason("gap<5", gap=4.9) == reason("gap>5", gap=5.1) is None


def test_a_thickness_is_the_limit_within_a_thousandth_and_slices_are_counted() -> None:
    assert reason("thickness<=0.625", thickness=0.6250001) is None
    assert reason("thickness<0.625", thickness=0.6249999) == "thickness is not <0.625 mm"
    assert reason("thickness<=.625", thickness=0.63) == "thickness is not <=0.625 mm"
    assert reason("slices<=20", slices=21) is not None
    assert reason("slices<20", slices=19) is None


def test_slices_and_gap_are_numbers_too_and_what_is_unknown_keeps_no_rule() -> None:
    assert reason("slices>=20", slices=20) is None
    assert reason("slices>=20", slices=19) == "slices is not >=20"
    assert reason("gap<=5", gap=5.5) == "gap is not <=5 mm"
    assert reason("gap<=5", gap=math.nan) == "gap unknown, gap<=5 mm asked"
    assert reason("thickness>1", thickness=math.nan) == "thickness unknown, thickness>1 mm asked"


@pytest.mark.parametrize(
    ("rule", "description", "expected"),
    [
        ("description=*plain*", "CT PLAIN THIN", None),
        ("description=plain", "CT PLAIN", "description does not match plain"),
        ("description=plain", "  Plain ", None),
        ("description=A*|*THIN", "PLAIN  THIN", None),
        ("description=*PLAIN THIN", "PLAIN \t THIN", None),
        ("description=*", "", None),
        ("description!=*BONE*", "", None),
        ("description!=*BONE*|*LUNG*", "Lung 1mm", "description matches *LUNG*"),
        ("description!=*[0-9]CC*", "4cc/sec", "description matches *[0-9]CC*"),
        ("description!=*[0-9]CC*", "XCC", None),
        ("description!=*C?ST*", "CAST", "description matches *C?ST*"),
        ("description!=*CONTRAST* unless *PRE*|*NON*", "non-contrast", None),
        ("description!=*CONTRAST* UNLESS *PRE*", "POST CONTRAST", "description matches *CONTRAST*"),
        ("description=*HEAD* unless *NECK*", "HEAD AND NECK",
         "description does not match *HEAD* unless *NECK*"),
        ("description=STRASSE", "Stra\u00dfe", None),
        ("description!=*\u00c4*", "sch\u00e4del", "description matches *\u00c4*"),
    ],
)  # fmt: skip
def test_patterns_are_a_shells_on_the_whole_text_in_any_case(rule, description, expected) -> None:
    assert reason(rule, description=description) == expected


def test_kernel_patterns_see_the_kernel() -> None:
    assert reason("kernel!=*bone*", kernel="BONEPLUS") == "kernel matches *bone*"
    assert reason("kernel=H3*|SOFT*", kernel="H31s", description="BONE") is None


PLAIN_NAMES = (
    "PLAIN THIN", "Plain", "Plain 3mm", "5/5mm Plain", "PRE CONTRAST 5MM STD", "PRE CONTRAST THIN",
    "PRE CONTRAST BONE", "5 MM PRE CONTRAST", "0.625mm", "5mm", "2.5/5mm", "I To S", "HELICAL",
    "BONE", "CT THIN STD", "C THIN", "1.25 MMC", "NON CONTRAST", "NON-CONTRAST HEAD",
    "HEAD W/O CONTRAST", "Without contrast", "0.625mm DMPR on HiRes VS40", "HEAD WO CONTRAST",
    "WO CONTRAST", "WITHOUT C+", "POSTERIOR FOSSA", "POST CONTUSION", "CT AXIAL", "DE THIN", "HRCT",
    "5 MM PRE CONTRAST-2", "LT THIN BONE", "THIN BONE PNS 5/5", "3.75/3.75mm Plain", "Thin Stnd",
)  # fmt: skip
CONTRAST_NAMES = (
    "POST CONTRAST", "CT POST CONTRAST", "5mm POST CONTRAST", "5/5mm Contrast", "Thin Contrast",
    "CONTRAST", "CECT THIN", "4cc/sec 150cc D3D on", "4cc sec 150cc D3D on", "ORAL & IV", "ORAL IV",
    "C+", "CT C+ THIN", "HEAD WITH CONTRAST", "CT ANGIO HEAD", "I/V CONTRAST", "HEAD C+",
    "4cc sec 150cc D3D on-2", "POST CONTRAST-4", "ORAL IV-3", "PRE & POST CONTRAST", "POST CON",
    "PRE/POST CONTRAST", "HEAD POSTCONTRAST", "CTA", "CTA HEAD", "HEAD CTA", "C + THIN",
)  # fmt: skip


def test_the_cq500_preset_leaves_out_contrast_and_nothing_else() -> None:
    names = [*PLAIN_NAMES, *CONTRAST_NAMES]
    everything = [series(key=name, description=name) for name in names]
    assert Selection.parse(CQ500_RULES).left_out(everything).keys() == set(CONTRAST_NAMES)
    assert Selection.parse(PRESET_RULES["rsna"]).left_out(everything) == {}


def test_the_first_rule_that_a_series_breaks_is_its_reason() -> None:
    selection = Selection.parse(["slices>=20", "kernel!=H*"])
    found = selection.left_out([series("a", slices=5), series("b", kernel="FC21"), series("c")])
    assert found == {
        "a": "not selected: slices is not >=20", "c": "not selected: kernel matches H*"
    }  # fmt: skip


STUDY = [
    series("1.4", thickness=5, slices=30),
    series("1.1", thickness=0.625, slices=250),
    series("1.3", thickness=0.625, slices=260),
    series("1.2", thickness=0.625, slices=260),
    series("1.5", thickness=math.nan, slices=900),
    series("2.1", study_uid="2", thickness=math.nan),
    series("3.1", patient_id="q"),
]


@pytest.mark.parametrize(
    ("rules", "chosen"),
    [
        (["one per study"], "1.2"),
        (["One-per-study = thinnest"], "1.2"),
        (["one per study: thickest"], "1.4"),
        (["one per study: most-slices"], "1.5"),
        (["one per study", "slices<=250"], "1.1"),
        (["thickness>=5", "one per study: most slices"], "1.4"),
    ],
)
def test_one_per_study_does_not_depend_on_the_order(rules, chosen) -> None:
    everything = list(STUDY)
    random.Random(0).shuffle(everything)
    for order in (STUDY, everything):
        left_out = Selection.parse(rules).left_out(order)
        assert {one.key for one in STUDY if one.key[:2] == "1."} - left_out.keys() == {chosen}
    assert "3.1" not in left_out, "another patient's study of the same UID is another study"
    if len(rules) == 1:
        assert "2.1" not in left_out, "the only series of a study is used whatever is unknown"
        assert left_out["1.3"].startswith("not selected: one per study: ")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([1.0, 5.0, math.nan]),
                          st.integers(2, 4)), min_size=1, max_size=12))  # fmt: skip
def test_one_per_study_leaves_exactly_one_of_each(drawn) -> None:
    everything = [
        series(f"{number}", study_uid=study, thickness=thickness, slices=slices)
        for number, (study, thickness, slices) in enumerate(drawn)
    ]
    left_out = Selection.parse(["one per study"]).left_out(everything)
    kept = [one.study_uid for one in everything if one.key not in left_out]
    assert sorted(kept) == sorted({one.study_uid for one in everything})


def test_the_rule_that_took_the_last_series_is_named() -> None:
    everything = [series("a", slices=5), series("b"), series("c")]
    selection = Selection.parse(["slices>=20", "kernel!=h30s", "description=x"])
    assert selection.last_taker(everything) == (
        "the rule 'kernel!=h30s' took the last 2 of 3 that other rules had left"
    )
    assert Selection.parse(["slices>99"]).last_taker(everything) == (
        "the rule 'slices>99' took the last 3 of 3"
    )
    assert Selection.parse(["slices>=20", "one per study"]).last_taker(everything) is None
    assert selection.last_taker([]) is None


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["thicknes<5"], "did you mean 'thickness'?"),
        (["thickness<=-5"], "not a rule"),
        (["thickness!=5"], "not a rule"),
        (["thickness<=5cm"], "not a rule"),
        (["slices>=nan"], "not a rule"),
        (["description<5"], "not a rule"),
        (["description="], "not a rule"),
        (["description=a||b"], "no pattern empty"),
        (["description=a unless b unless c"], "unless"),
        (["thickness=5..1"], "the range is empty"),
        (["one per patient"], "did you mean 'one per study'?"),
        (["one per study: best"], "thinnest, thickest, most slices"),
        (["one per study", "one per study: thickest"], "but which"),
        (["all", "slices>5"], "takes every series"),
        ([""], "not a rule"),
    ],
)
def test_what_is_no_rule_is_refused_with_what_was_expected(rules, words) -> None:
    with pytest.raises(UsageError) as error:
        Selection.parse(rules)
    assert words in str(error.value)


def test_a_selection_is_frozen_and_its_spelling_parses_to_the_same() -> None:
    rules = [
        "THICKNESS = 1..3", "slices>20", "slices<1000000", "gap<=4.0019258", "kernel!=a|b",
        *CQ500_RULES, "one-per-study",
    ]  # fmt: skip
    selection = Selection.parse(rules)
    assert Selection.parse(selection.texts) == selection
    assert Selection.parse(["all"]) == Selection.parse([]) == Selection()
    assert Selection().texts == ("all",)
    with pytest.raises(FrozenInstanceError):
        selection.one_per_study = None  # type: ignore[misc]


@given(st.text(max_size=40))
def test_any_text_is_a_rule_or_a_usage_error(text: str) -> None:
    try:
        selection = Selection.parse([text])
    except UsageError:
        return
    assert Selection.parse(selection.texts) == selection
    selection.left_out([series()])


def test_a_plus_adds_to_the_settings_and_anything_else_replaces_them() -> None:
    assert add_rules(["slices>5"], []) == ()
    assert add_rules(["slices>5"], ["gap<5"]) == ("gap<5",)
    assert add_rules(["slices>5"], ["+gap<5", " +one per study"]) == (
        "slices>5", "gap<5", "one per study",
    )  # fmt: skip
    assert add_rules(["all"], ["+gap<5"]) == ("gap<5",)
    with pytest.raises(UsageError, match="one or the other"):
        add_rules(["slices>5"], ["+gap<5", "slices>9"])
