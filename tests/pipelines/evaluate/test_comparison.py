import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines.evaluate.comparison
import pipelines.evaluate.scores
from pipelines.evaluate.comparison import Comparison, Score, best_and_second, compare, overview
from upfusion.metrics import METRICS

from .measured_values import FAILED, MISSING, rows_of, table_of

NOISE = np.random.default_rng(5).normal(size=40).tolist()


def compared(measured, reference="mean", **options) -> list[Comparison]:
    methods = options.pop("methods", list(dict.fromkeys(m for by in measured.values() for m in by)))
    return compare(table_of(rows_of(measured)), list(measured), methods, reference, resamples=999, **options)


def test_mean_and_std_are_those_of_the_common_pairs():
    (one,) = compared({"vif": {"mean": [1.0, 2.0, 4.0], "tiny": [3.0, 3.0, 9.0]}})
    assert (one.set, one.task, one.pairs, one.of, one.limited_by) == ("MSRS", "ir_visible", 3, 3, ())
    tiny, mean = one.scores["tiny", "vif"], one.scores["mean", "vif"]
    assert (mean.pairs, mean.mean, mean.std) == (3, pytest.approx(7 / 3), pytest.approx(statistics.stdev([1, 2, 4])))
    assert (tiny.mean, tiny.difference) == (5.0, pytest.approx((2 + 1 + 5) / 3))
    assert mean == Score(pairs=3, mean=mean.mean, std=mean.std, rank=2.0), "the reference differs from nothing"


def test_one_pair_has_a_mean_but_no_spread():
    (one,) = compared({"vif": {"mean": [1.0], "tiny": [3.0]}})
    assert one.scores["tiny", "vif"] == Score(pairs=1, mean=3.0, std=None, rank=1.0, difference=2.0)


def test_ranks_follow_the_direction_and_ties_share_the_mean_rank():
    by = {"a": [0.1], "b": [0.5], "mean": [0.5], "tiny": [0.9]}
    (one,) = compared({"vif": by, "nabf": by})
    assert {method: one.scores[method, "vif"].rank for method in by} == {"a": 4, "b": 2.5, "mean": 2.5, "tiny": 1}
    assert {method: one.scores[method, "nabf"].rank for method in by} == {"a": 1, "b": 2.5, "mean": 2.5, "tiny": 4}
    assert best_and_second(one, "vif") == ({"tiny"}, {"b", "mean"})
    assert best_and_second(one, "nabf") == ({"a"}, {"b", "mean"})


def test_a_metric_without_direction_has_no_ranks(monkeypatch):
    metrics = dict(METRICS) | {"en": replace(METRICS["en"], higher_is_better=None)}
    monkeypatch.setattr(pipelines.evaluate.comparison, "METRICS", metrics)
    monkeypatch.setattr(pipelines.evaluate.scores, "METRICS", metrics)
    (one,) = compared({"vif": {"mean": [1.0], "tiny": [2.0]}, "en": {"mean": [9.0], "tiny": [1.0]}})
    assert one.scores["mean", "en"] == Score(pairs=1, mean=9.0)
    assert one.mean_rank == {"mean": 2.0, "tiny": 1.0}
    assert best_and_second(one, "en") == (set(), set())


def test_methods_come_by_balanced_rank_then_mean_rank_then_name():
    (one,) = compared(
        {
            "nabf": {"mean": [0.1], "z": [0.2], "y": [0.2], "tiny": [0.9]},
            "vif_a": {"mean": [9.0], "z": [0.1], "y": [0.1], "tiny": [0.1]},
            "ssim_balanced": {"mean": [0.1], "z": [0.5], "y": [0.5], "tiny": [0.5]},
            "vif_balanced": {"mean": [0.1], "z": [0.5], "y": [0.5], "tiny": [0.5]},
        }
    )
    assert one.metrics == ("vif_balanced", "ssim_balanced", "vif_a", "nabf")
    assert one.balanced_rank == {"mean": 4.0, "z": 2.0, "y": 2.0, "tiny": 2.0}
    # vif_a, against one source alone, has no say.
    assert one.mean_rank == pytest.approx({"mean": 9 / 3, "z": 6.5 / 3, "y": 6.5 / 3, "tiny": 8 / 3})
    assert one.methods == ("y", "z", "tiny", "mean")


def test_without_balanced_metrics_the_mean_rank_decides():
    (one,) = compared({"vif": {"mean": [0.1], "tiny": [0.5]}})
    assert one.balanced_rank == {"mean": None, "tiny": None}
    assert one.methods == ("tiny", "mean")


def test_a_method_with_fewer_images_makes_a_second_comparison_on_its_pairs():
    first, second = compared(
        {
            "vif": {
                "mean": [1.0, 2.0, 3.0, 4.0],
                "tiny": [5.0, 6.0, 7.0, 8.0],
                "published": [MISSING, 0.5, FAILED, 1.5],
                "gone": [MISSING] * 4,
            }
        }
    )
    assert (first.pairs, first.of, first.limited_by, first.methods) == (4, 4, (), ("tiny", "mean"))
    assert (second.pairs, second.of, second.limited_by) == (2, 4, ("published",))
    assert second.methods == ("tiny", "mean", "published")
    assert second.scores["mean", "vif"].mean == 3.0
    assert second.scores["published", "vif"].mean == 1.0
    assert first.absent == second.absent == ("gone",)


def test_a_pair_that_failed_for_all_limits_the_main_comparison():
    (one,) = compared({"vif": {"mean": [1.0, FAILED], "tiny": [2.0, MISSING]}})
    assert (one.pairs, one.of, one.limited_by) == (1, 2, ("mean", "tiny"))


def test_a_pair_counts_although_only_methods_that_are_not_compared_have_it():
    measured = {"vif": {"mean": [1.0], "tiny": [2.0], "other": [3.0, 4.0]}}
    (one,) = compared(measured, methods=["mean", "tiny"])
    assert (one.pairs, one.of, one.methods, one.limited_by) == (1, 2, ("tiny", "mean"), ("mean", "tiny"))


def test_coverages_of_which_none_holds_the_other_meet_on_the_common_pairs():
    first, second, third = compared(
        {
            "vif": {
                "mean": [1.0, 1.0, 1.0, 1.0],
                "x": [2.0, 2.0, 2.0, FAILED],
                "y": [FAILED, MISSING, 3.0, 3.0],
            }
        }
    )
    assert (first.pairs, first.methods, first.limited_by) == (3, ("x", "mean"), ("x",))
    assert (second.pairs, second.methods, second.limited_by) == (2, ("y", "mean"), ("y",))
    assert (third.pairs, third.methods, third.limited_by) == (1, ("y", "x", "mean"), ("x", "y"))


def test_a_method_alone_on_its_pairs_stays_only_where_nothing_else_shows_it():
    alone = {"mean": [1.0, 1.0, 1.0, FAILED], "x": [2.0, 2.0, FAILED, FAILED], "y": [FAILED, FAILED, FAILED, 3.0]}
    first, second = compared({"vif": alone})
    assert (first.methods, first.limited_by, first.pairs) == (("x", "mean"), ("x",), 2)
    assert (second.methods, second.limited_by, second.pairs) == (("y",), ("y",), 1)
    assert second.scores["y", "vif"].mean == 3.0


def test_a_set_without_any_image_is_not_lost():
    (one,) = compared({"vif": {"mean": [FAILED, FAILED], "tiny": [MISSING, MISSING]}})
    assert (one.pairs, one.of, one.methods, one.absent, one.scores) == (0, 2, (), ("mean", "tiny"), {})
    assert best_and_second(one, "vif") == (set(), set())


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf])
def test_a_pair_without_a_value_leaves_that_metric_alone(nothing):
    (one,) = compared(
        {
            "vif": {"mean": [1.0, 2.0, 3.0], "tiny": [nothing, 5.0, 6.0], "flat": [None, None, None]},
            "en": {"mean": [1.0, 2.0, 3.0], "tiny": [4.0, 5.0, 6.0], "flat": [0.0, 0.0, 0.0]},
        }
    )
    assert one.pairs == 3
    assert (one.scores["mean", "vif"].pairs, one.scores["mean", "vif"].mean) == (2, 2.5)
    assert one.scores["tiny", "vif"].difference == 3.0
    assert one.scores["flat", "vif"] == Score()
    assert (one.scores["mean", "en"].pairs, one.scores["mean", "en"].mean) == (3, 2.0)
    assert best_and_second(one, "vif") == ({"tiny"}, {"mean"})


def test_values_that_never_meet_on_a_pair_are_no_figures():
    (one,) = compared({"vif": {"mean": [1.0, None], "tiny": [None, 5.0]}})
    assert set(one.scores.values()) == {Score()}


def test_a_value_of_a_failed_image_does_not_count():
    rows = rows_of({"vif": {"mean": [1.0, 3.0], "tiny": [1.0, 1.0]}})
    rows[0]["status"] = "failed"
    (one,) = compare(table_of(rows), ["vif"], ["mean", "tiny"], "tiny")
    assert (one.pairs, one.scores["mean", "vif"].mean) == (1, 3.0)


def test_the_interval_is_the_percentile_bootstrap_of_the_mean_difference():
    reference = np.array(NOISE[:20])
    method = reference + 0.1 + 0.3 * np.array(NOISE[20:])
    measured = {"vif": {"mean": reference.tolist(), "tiny": method.tolist()}}
    score = compare(table_of(rows_of(measured)), ["vif"], ["mean", "tiny"], "mean")[0].scores["tiny", "vif"]
    differences = method - reference
    draws = np.random.default_rng(99).choice(differences, (40_000, 20)).mean(1)
    assert score.difference == pytest.approx(differences.mean())
    assert (score.low, score.high) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.006)
    assert score.high - score.low > 0.1


def test_what_clearly_differs_is_significant_and_what_does_not_is_not():
    reference = NOISE[:20]
    measured = {
        "vif": {
            "mean": reference,
            "better": [value + 1 + 0.1 * noise for value, noise in zip(reference, NOISE[20:], strict=True)],
            "worse": [value - 1 - 0.1 * noise for value, noise in zip(reference, NOISE[20:], strict=True)],
            "shifted": [value + (1 if index % 2 else -1) for index, value in enumerate(reference)],
            "copy": reference,
        }
    }
    (one,) = compared(measured)
    found = {method: one.scores[method, "vif"].significant for method in measured["vif"]}
    assert found == {"mean": None, "better": True, "worse": True, "shifted": False, "copy": False}
    copy = one.scores["copy", "vif"]
    assert (copy.difference, copy.low, copy.high) == (0.0, 0.0, 0.0)


def test_about_one_of_twenty_differences_that_are_none_is_marked():
    noise = np.random.default_rng(1).normal(size=(400, 60))
    by = {"mean": [0.0] * 60} | {f"m{index}": row.tolist() for index, row in enumerate(noise)}
    (one,) = compared({"vif": by})
    marked = sum(bool(one.scores[method, "vif"].significant) for method in by)
    assert 8 <= marked <= 36


def test_fewer_than_six_pairs_have_no_interval():
    def score(pairs: int) -> Score:
        by = {"mean": NOISE[:pairs], "tiny": [value + 1 for value in NOISE[:pairs]]}
        return compared({"vif": by})[0].scores["tiny", "vif"]

    five, six = score(5), score(6)
    assert (five.low, five.high, five.significant) == (None, None, None)
    assert five.difference == pytest.approx(1.0)
    assert (six.low, six.high, six.significant) == (pytest.approx(1.0), pytest.approx(1.0), True)


def test_a_reference_that_is_not_there_leaves_no_differences():
    first, second = compared({"vif": {"tiny": NOISE[:8], "base": NOISE[8:16], "mean": [*NOISE[16:20], *[MISSING] * 4]}})
    assert "mean" not in first.methods
    assert {(score.difference, score.significant) for score in first.scores.values()} == {(None, None)}
    assert second.scores["tiny", "vif"].difference is not None


def test_a_metric_that_the_reference_has_no_value_of_has_no_differences():
    by = {"mean": [None] * 8, "tiny": NOISE[:8], "base": NOISE[8:16]}
    (one,) = compared({"vif": by, "en": dict.fromkeys(by, NOISE[:8])})
    assert one.scores["tiny", "vif"].difference is None
    assert one.scores["tiny", "vif"].pairs == 8
    assert one.scores["tiny", "en"].difference == 0.0


def test_the_seed_decides_the_interval():
    measured = {"vif": {"mean": NOISE[:20], "tiny": NOISE[20:]}}
    assert compared(measured, seed=1) == compared(measured, seed=1)
    assert compared(measured, seed=1) != compared(measured, seed=2)


def test_sets_come_as_they_first_appear():
    by = {"vif": {"mean": [1.0], "tiny": [2.0]}}
    table = table_of(rows_of(by, "TNO", "ir_visible"), rows_of(by, "Harvard", "pet_mri"))
    assert [(one.set, one.task) for one in compare(table, ["vif"], ["mean"], "mean")] == [
        ("TNO", "ir_visible"),
        ("Harvard", "pet_mri"),
    ]


MIXED = [
    *rows_of(
        {
            "vif": {"mean": NOISE[:9], "tiny": [*NOISE[9:17], FAILED], "x": [MISSING, *NOISE[17:25]]},
            "nabf": {"mean": NOISE[:9], "tiny": [*NOISE[20:28], FAILED], "x": [MISSING, None, *NOISE[30:37]]},
        }
    ),
    *rows_of({"vif": {"mean": NOISE[9:18], "x": NOISE[:9]}}, "Harvard", "pet_mri"),
]
IN_ORDER = compare(table_of(MIXED), ["vif", "nabf"], ["mean", "tiny", "x"], "mean", resamples=199)


@given(st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_rows_does_not_matter(random):
    rows = random.sample(MIXED, len(MIXED))
    found = compare(table_of(rows), ["nabf", "vif"], ["mean", "tiny", "x"], "mean", resamples=199)
    for name in ("MSRS", "Harvard"):
        assert [one for one in found if one.set == name] == [one for one in IN_ORDER if one.set == name]


def test_a_copy_is_marked_like_any_other_method():
    (one,) = compared({"vif": {"a": [0.9], "b": [0.9], "mean": [0.5]}})
    assert best_and_second(one, "vif") == ({"a", "b"}, {"mean"})


def test_the_overview_takes_the_main_comparison_of_each_set():
    table = table_of(
        rows_of({"vif_balanced": {"mean": [1.0, 3.0], "tiny": [5.0, 7.0], "x": [9.0, FAILED]}}, "MSRS"),
        rows_of({"vif_balanced": {"mean": [2.0], "tiny": [1.0], "x": [None]}}, "TNO"),
    )
    comparisons = compare(table, ["vif_balanced"], ["x", "mean", "tiny", "gone"], "mean")
    assert [(one.set, one.limited_by) for one in comparisons] == [("MSRS", ()), ("MSRS", ("x",)), ("TNO", ())]
    found = overview(comparisons, "vif_balanced")
    assert found.comparisons == (comparisons[0], comparisons[2])
    assert found.means == {
        ("MSRS", "mean"): 2.0,
        ("MSRS", "tiny"): 6.0,
        ("TNO", "mean"): 2.0,
        ("TNO", "tiny"): 1.0,
        ("TNO", "x"): None,
    }
    assert (found.best, found.second) == ({"MSRS": {"tiny"}, "TNO": {"mean"}}, {"MSRS": {"mean"}, "TNO": {"tiny"}})
    assert found.average_rank == {"mean": 1.5, "tiny": 1.5, "x": None, "gone": None}
    assert found.ranked_sets == {"mean": 2, "tiny": 2, "x": 0, "gone": 0}
    assert found.methods == ("mean", "tiny", "gone", "x")


def test_an_overview_of_a_metric_that_was_not_compared_is_refused():
    with pytest.raises(ValueError, match=r"'en'.*'MSRS'"):
        overview(compared({"vif": {"mean": [1.0]}}), "en")


@pytest.mark.parametrize(
    ("metrics", "methods", "reference", "said"),
    [
        (["vfi"], ["mean"], "mean", "'vfi'"),
        (["vif"], ["mean", "mean"], "mean", "mean, mean"),
        (["vif"], ["mean"], "tiny", "mean.*'tiny'"),
    ],
)
def test_what_cannot_be_compared_is_refused(metrics, methods, reference, said):
    with pytest.raises(ValueError, match=said):
        compare(table_of(rows_of({"vif": {"mean": [1.0]}})), metrics, methods, reference)


def test_two_values_of_one_image_are_refused():
    rows = rows_of({"vif": {"mean": [1.0, 2.0]}})
    with pytest.raises(ValueError, match=r"'MSRS'.*'p01'.*'mean'"):
        compare(table_of(rows, rows[1:]), ["vif"], ["mean"], "mean")


def test_no_rows_are_no_comparisons():
    assert compare(table_of(), ["vif"], ["mean"], "mean") == []
