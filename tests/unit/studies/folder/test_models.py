from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.fake_studies import make_record

from autodpq.choices import DPQ, Choice, Full, Others
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from studies.folder.models import best_compressed, offer

KEPT: dict[str, Choice] = {"brothers": Full(), "others_seen": Full(), "dpq": Full()}


def records(*plans: str) -> pd.DataFrame:
    """A run per plan, each better than the one before."""
    rows = [make_record(run=f"{index}", plan=plan, valid_auc=0.5 + index / 100) for index, plan in enumerate(plans)]
    return pd.DataFrame(rows)


def test_names_of_fields_compress_nothing() -> None:
    own = records(CompressionPlan(KEPT).to_json(), "")
    assert best_compressed(own) is None and offer(Path("study"), own) is None


@pytest.mark.parametrize("choice", [Others(), DPQ(8, 2)])
def test_of_the_plans_that_compress_the_best_is_taken(choice: Choice) -> None:
    full, some = CompressionPlan(KEPT).to_json(), CompressionPlan({**KEPT, "user": choice}).to_json()
    best = best_compressed(records(some, some, full, ""))
    assert best is not None and best["run"] == "1"


def test_no_records_offer_nothing() -> None:
    assert best_compressed(records("")[:0]) is None


def test_no_model_is_the_best_of_several_data_sets() -> None:
    some = CompressionPlan({**KEPT, "user": Others()}).to_json()
    mixed = records(some, some).assign(dataset=["clicks", "synthetic"])
    assert offer(Path("study"), mixed) is None
    with pytest.raises(AutoDPQError, match="clicks, synthetic: no model is the best of several data sets; name a run"):
        best_compressed(mixed)
