"""Comparisons in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from reports.names import display_name
from reports.numbers.comparisons import AgainstFE, ModelComparisons, StrategyComparison, compare_strategies
from reports.numbers.power import MOST_SEEDS
from reports.numbers.tests import SIGNIFICANCE, NonInferiority
from reports.results import StudyResults


def sentences_of(entry: ModelComparisons) -> tuple[str, ...]:
    """The comparisons of one dataset and model in words, then those with FE."""
    return (*map(comparison_sentence, entry.comparisons), *map(against_fe_sentence, entry.against_fe))


def comparison_sentence(comparison: StrategyComparison) -> str:
    """A comparison's difference of AUC with its interval, whether the seeds can tell it from nothing, and its bytes."""
    pair = f"{display_name(comparison.reference)} against {display_name(comparison.other)}"
    if not comparison.seeds:
        return f"{pair}: no seed in common, so that nothing can be compared."
    paired = comparison.auc.paired
    difference = f"{signed(paired.mean)} AUC"
    if not math.isnan(paired.low):
        difference += f" {interval_text(paired.low, paired.high)},"
    parts = [f"{difference} {_significance(comparison)}", _rows(comparison), bytes_text(comparison.bytes_ratio)]
    return f"{pair}: {'; '.join(part for part in parts if part)}."


def against_fe_sentence(entry: AgainstFE) -> str:
    """Whether a strategy is no worse than FE by more than the margin, or why that cannot be said."""
    name, test = display_name(entry.strategy), entry.test
    claim = f"no more than {test.margin:g} AUC worse than FE"
    if not entry.seeds:
        return f"{name} and FE have no seed in common: whether {name} is {claim} cannot be tested."
    seeds = seeds_text(test.seeds)
    if math.isnan(test.p_value):
        reason = f" with {seeds}" if test.seeds < 2 else f", for the {seeds} differ from FE by the same amount"
        return f"That {name} is {claim} cannot be tested{reason} ({signed(test.mean)} AUC)."
    if test.shown:
        return f"{name} is {claim} ({p_text(test.p_value)}, {seeds})."
    if test.worse:
        return f"{name} is more than {test.margin:g} AUC worse than FE ({p_text(1 - test.p_value)}, {seeds})."
    return f"That {name} is {claim} cannot be shown with {seeds} ({p_text(test.p_value)})."


def non_inferiority_word(test: NonInferiority) -> str:
    """The verdict on a strategy against FE in a word or two."""
    if math.isnan(test.p_value):
        return "not tested"
    return "no worse" if test.shown else "worse" if test.worse else "not shown"


def bytes_text(ratio: float) -> str:
    """How many bytes the reference needs, given the other's bytes over its own; empty where that is undefined."""
    if not 0 < ratio < math.inf:
        return ""
    if ratio == 1:
        return "equal bytes"
    word, times = ("fewer", ratio) if ratio > 1 else ("more", 1 / ratio)
    if times >= 1.05:
        return f"{times:,.1f} times {word} bytes"
    share = 100 * (1 - 1 / ratio if ratio > 1 else 1 / ratio - 1)
    return f"{share:.1f}% {word} bytes" if share >= 0.05 else f"less than 0.1% {word} bytes"


def signed(value: float) -> str:
    """A difference with its sign, in four decimals; without one where it rounds to zero."""
    text = f"{value:+.4f}"
    return text[1:] if float(text) == 0 else text


def size_text(value: float) -> str:
    """A size without a sign, in four decimals; in five where these say little."""
    return f"{value:.4f}" if value >= 5e-4 else f"{value:.5f}" if value >= 1e-5 else "<0.00001"


def interval_text(low: float, high: float) -> str:
    """``[-0.0002, +0.0008]``."""
    return f"[{signed(low)}, {signed(high)}]"


def p_text(p_value: float) -> str:
    """``p = 0.012``."""
    return f"p {'< 0.0001' if p_value < 1e-4 else f'= {p_value:.2g}'}"


def seeds_text(count: int) -> str:
    """``3 seeds``."""
    return f"{count:,} seed{'' if count == 1 else 's'}"


def _significance(comparison: StrategyComparison) -> str:
    paired, p_holm = comparison.auc.paired, comparison.auc.p_holm
    seeds = seeds_text(paired.seeds)
    if paired.seeds < 2:
        return f"with {seeds}, too few for a test"
    if math.isnan(p_holm):
        return f"with each of {seeds}, so that a test is undefined"
    if comparison.significant:
        return f"significantly {'better' if paired.mean > 0 else 'worse'} with {seeds} ({p_text(p_holm)})"
    # What the seeds can see holds for one comparison: where that one is seen, the correction alone takes it away.
    reason = f"{p_text(p_holm)}; {_reach(comparison)}"
    if paired.p_value < SIGNIFICANCE:
        reason = f"{p_text(paired.p_value)} alone, {p_holm:.2g} as one of {comparison.compared} comparisons"
    return f"not significant with {seeds} ({reason})"


def _rows(comparison: StrategyComparison) -> str:
    """What the test rows say, where the seeds say nothing or could be misread; empty elsewhere."""
    interval = comparison.bootstrap
    if interval is None or math.isnan(interval.low):
        return ""
    text = f"{interval_text(interval.low, interval.high)} over resamples of the test rows of seed "
    text += str(comparison.bootstrap_seed)
    if math.isnan(comparison.auc.paired.low):
        return text
    if comparison.significant and interval.low <= 0 <= interval.high:
        return f"other test rows could turn it round: {text}"
    return ""


def _reach(comparison: StrategyComparison) -> str:
    """What the seeds could have seen, and how many would see what was measured."""
    seen = f"it would have taken {size_text(comparison.detectable)} to be seen"
    needed = comparison.seeds_needed
    if math.isinf(needed):
        return f"{seen}, or more than {MOST_SEEDS:,} seeds to see this"
    return f"{seen}, or {seeds_text(int(needed))} to see this"


def verdicts(study: StudyResults, comparisons: Sequence[ModelComparisons] | None = None) -> tuple[str, ...]:
    """The study in words: one sentence per comparison, and one per strategy on whether it is no worse than FE.

    Args:
        study: The study.
        comparisons: Its comparisons, where they have been computed.

    Returns:
        The sentences; each begins with the dataset and the model where the study has more than one pair of them.

    Raises:
        AutoDPQError: As for :func:`compare_strategies`.
    """
    entries = compare_strategies(study) if comparisons is None else comparisons
    several = len(entries) > 1
    words = (
        f"{entry.title}: {sentence}" if several else sentence for entry in entries for sentence in sentences_of(entry)
    )
    return tuple(" ".join(sentence.split()) for sentence in words)  # a name may hold a line break
