"""Comparisons in words, worked out by hand."""

from __future__ import annotations

import dataclasses
import math

from reports.numbers.bootstrap import Interval
from reports.numbers.comparisons import AgainstFE, StrategyComparison, metric_differences, ratio_of_means
from reports.numbers.power import detectable_difference, seeds_needed
from reports.numbers.tests import non_inferiority
from reports.tables.sentences import against_fe_sentence, bytes_text, comparison_sentence, signed, size_text


def comparison(differences: list[float], bytes_ratio: float = 4.1, **changes: object) -> StrategyComparison:
    ours = dict(enumerate(0.8 + value for value in differences))
    theirs = dict.fromkeys(ours, 0.8)
    samples = {"autodpq": ours, "random": theirs}
    auc = metric_differences(samples, "autodpq", ["random"])["random"]
    spread, count = auc.paired.deviation, auc.paired.seeds
    built = StrategyComparison(
        "autodpq", "random", tuple(ours), 1, auc, auc, detectable_difference(spread, count),
        seeds_needed(auc.paired.mean, spread), 0, None, "not kept", bytes_ratio,
    )  # fmt: skip
    return dataclasses.replace(built, **changes)


def test_sentences_by_hand() -> None:
    # Differences 1, 3 and 5 ten-thousandths: mean 3, deviation 2; 4.3027 * 2 / sqrt(3) = 4.97; t = 2.598, p = 0.12;
    # three seeds see 3.264 deviations; 6 seeds see 1.43.
    assert comparison_sentence(comparison([0.0001, 0.0003, 0.0005])) == (
        "AutoDPQ against Random: +0.0003 AUC [-0.0002, +0.0008], not significant with 3 seeds (p = 0.12; it would have "
        "taken 0.0007 to be seen, or 6 seeds to see this); 4.1 times fewer bytes."
    )
    assert comparison_sentence(comparison([0.0029, 0.0030, 0.0031], 1.0)) == (
        "AutoDPQ against Random: +0.0030 AUC [+0.0028, +0.0032], significantly better with 3 seeds (p = 0.00037); "
        "equal bytes."
    )
    assert comparison_sentence(comparison([-0.0029, -0.0030, -0.0031], 0.5)) == (
        "AutoDPQ against Random: -0.0030 AUC [-0.0032, -0.0028], significantly worse with 3 seeds (p = 0.00037); "
        "2.0 times more bytes."
    )
    assert (
        comparison_sentence(comparison([0.001], math.nan))
        == "AutoDPQ against Random: +0.0010 AUC with 1 seed, too few for a test."
    )
    assert comparison_sentence(comparison([0.001, 0.001])) == (
        "AutoDPQ against Random: +0.0010 AUC with each of 2 seeds, so that a test is undefined; 4.1 times fewer bytes."
    )
    assert comparison_sentence(comparison([0.001, -0.001])) == (
        "AutoDPQ against Random: 0.0000 AUC [-0.0127, +0.0127], not significant with 2 seeds (p = 1; it would have "
        "taken 0.0163 to be seen, or more than 100,000 seeds to see this); 4.1 times fewer bytes."
    )


def test_sentence_of_what_only_the_correction_takes_away() -> None:
    entry = comparison([0.0019, 0.0030, 0.0041], 0.97)
    corrected = dataclasses.replace(entry.auc, p_holm=0.13)
    assert entry.significant
    assert comparison_sentence(dataclasses.replace(entry, auc=corrected, compared=3)) == (
        "AutoDPQ against Random: +0.0030 AUC [+0.0003, +0.0057], not significant with 3 seeds (p = 0.042 alone, 0.13 "
        "as one of 3 comparisons); 3.1% more bytes."
    )


def test_sentence_of_rows_that_could_turn_it_round() -> None:
    differences = [0.0029, 0.0030, 0.0031]
    wide, narrow = Interval(0.003, -0.001, 0.007, 100, 1000), Interval(0.003, 0.001, 0.005, 100, 1000)
    assert comparison_sentence(comparison(differences, bootstrap=wide)).endswith(
        "; other test rows could turn it round: [-0.0010, +0.0070] over resamples of the test rows of seed 0; "
        "4.1 times fewer bytes."
    )
    assert "rows" not in comparison_sentence(comparison(differences, bootstrap=narrow))
    assert comparison_sentence(comparison([0.001], bootstrap=narrow)) == (
        "AutoDPQ against Random: +0.0010 AUC with 1 seed, too few for a test; [+0.0010, +0.0050] over resamples of the "
        "test rows of seed 0; 4.1 times fewer bytes."
    )


def against(differences: list[float]) -> str:
    strategy = dict(enumerate(0.8 + value for value in differences))
    test = non_inferiority(strategy, dict.fromkeys(strategy, 0.8))
    return against_fe_sentence(AgainstFE("random", tuple(strategy), test))


def test_sentences_against_fe() -> None:
    assert against([0.0001, 0.0, -0.0001]) == "Random is no more than 0.001 AUC worse than FE (p = 0.0017, 3 seeds)."
    assert against([-0.0005, 0.0, -0.001]) == (
        "That Random is no more than 0.001 AUC worse than FE cannot be shown with 3 seeds (p = 0.11)."
    )
    assert against([-0.0029, -0.0030, -0.0031]) == (
        "Random is more than 0.001 AUC worse than FE (p = 0.00042, 3 seeds)."
    )
    assert against([0.001]) == (
        "That Random is no more than 0.001 AUC worse than FE cannot be tested with 1 seed (+0.0010 AUC)."
    )
    assert against([0.001, 0.001]) == (
        "That Random is no more than 0.001 AUC worse than FE cannot be tested, for the 2 seeds differ from FE by the "
        "same amount (+0.0010 AUC)."
    )


def test_bytes_in_words() -> None:
    words = {
        4.1: "4.1 times fewer bytes", 1 / 3: "3.0 times more bytes", 1.0: "equal bytes", 1.03: "2.9% fewer bytes",
        0.98: "2.0% more bytes", 1.0001: "less than 0.1% fewer bytes", 1234.5: "1,234.5 times fewer bytes",
        0.0: "", math.nan: "", math.inf: "",
    }  # fmt: skip
    for ratio, text in words.items():
        assert bytes_text(ratio) == text
    assert ratio_of_means({0: 4.0, 1: 6.0}, {0: 2.0, 1: 3.0, 2: 90.0}, [0, 1]) == 2.0
    assert math.isnan(ratio_of_means({0: 4.0}, {0: 0.0}, [0])) and math.isnan(ratio_of_means({}, {}, []))


def test_numbers_in_words() -> None:
    assert [signed(value) for value in (0.00031, -0.00031, 0.00001, -0.00001, 0.0)] == [
        "+0.0003", "-0.0003", "0.0000", "0.0000", "0.0000",
    ]  # fmt: skip
    assert [size_text(value) for value in (0.0104, 0.00049, 0.000012, 1e-9)] == [
        "0.0104", "0.00049", "0.00001", "<0.00001",
    ]  # fmt: skip
