from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from support.packed_models import FALLBACKS, FIELDS, WORDS, random_ids, torch_logits, values_of, vocabulary, write_model
from support.patience import PATIENCE

from autodpq.errors import AutoDPQError
from autodpq.models import MODELS
from autodpq.packed.file import open_packed, write_packed
from autodpq.packed.manifest import ModelSpec
from autodpq.packed.scoring import probabilities
from autodpq.packed.spec import store_rows
from autodpq.packed.vocabulary.side_file import write_vocabulary
from autodpq.serving import ServedModel, open_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_model(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def rewrite(path: Path, out: Path, dense: dict[str, Any] | None = None, **manifest: Any) -> Path:
    """The packed file again, with another manifest or other dense weights."""
    packed = open_packed(path)
    tables = {table.spec.name: table.arrays for table in packed.tables}
    weights = packed.dense if dense is None else dense
    write_packed(out, replace(packed.manifest, **manifest), tables, weights)
    return out


@pytest.mark.parametrize("hidden", [(12, 7), (), (400, 300, 200)])
@pytest.mark.parametrize("model", list(MODELS))
def test_logits_are_torch_s(tmp_path: Path, model: str, hidden: tuple[int, ...]) -> None:
    network = write_model(tmp_path / "m.safetensors", model, hidden)
    ids = random_ids(5000 if hidden == (12, 7) else 300)  # more than one batch, and not whole ones
    served = open_model(tmp_path / "m.safetensors")
    expected = torch_logits(network, ids)
    assert served.scores
    assert served.score(ids).dtype == np.float32
    assert np.abs(expected).std() > 0.1, "logits of one size would show nothing"
    assert np.allclose(served.score(ids), expected, rtol=1e-5, atol=1e-5)
    assert served.score(ids[:0]).shape == (0,)
    assert np.allclose(served.score(ids[:1]), expected[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.uint64])
def test_embeddings_are_the_network_s_whatever_integers_name_them(tmp_path: Path, dtype: type) -> None:
    network = write_model(tmp_path / "m.safetensors")
    served, ids = open_model(tmp_path / "m.safetensors"), random_ids(300)
    with torch.no_grad(), network.embedding.settled():
        expected = network.embedding(network.embedding.flatten(torch.from_numpy(ids))).numpy()
    assert np.array_equal(served.embed(ids.astype(dtype)), expected)
    assert np.array_equal(served.embed(np.asfortranarray(ids)), expected)
    for column, name in enumerate(WORDS):
        assert np.array_equal(served.lookup(name, ids[:, column].astype(dtype)), expected[:, column])
    assert np.array_equal(served.lookup("shop", ids[:6, 3].reshape(2, 3)), expected[:6, 3].reshape(2, 3, 16))


def test_raw_values_become_probabilities(tmp_path: Path) -> None:
    network = write_model(tmp_path / "m.safetensors")
    served = open_model(tmp_path / "m.safetensors")
    ids = random_ids(50)
    ids[0] = FALLBACKS
    frame = values_of(ids)
    frame = pl.concat([pl.DataFrame({name: ["never"] for name in WORDS}), frame[1:]])
    expected = torch.from_numpy(torch_logits(network, ids)).double().sigmoid().numpy()
    found = served.predict(frame.with_columns(other=pl.lit("x")).select("other", *reversed(WORDS)))
    assert found.dtype == np.float64
    assert np.allclose(found, expected, atol=1e-6)
    numbers = frame.with_columns(pl.col("user").cast(pl.Int64, strict=False))
    numbers[0, "user"] = -1
    missing = {name: [None if value == "" else value for value in numbers[name]] for name in reversed(WORDS)}
    for values in (numbers, numbers.to_dict(as_series=False), missing, numbers.to_pandas(), pd.DataFrame(missing)):
        assert np.allclose(served.predict(values), expected, atol=1e-6), type(values)


def test_logistic_function_at_the_ends() -> None:
    found = probabilities(np.array([-1e4, -800, -30, 0, 30, 800, 1e4], np.float32))
    assert np.isfinite(found).all() and found[0] == 0 and found[3] == 0.5 and found[-1] == 1
    assert found[2] == pytest.approx(9.357622968839299e-14)


def test_what_is_read_is_counted(path: Path) -> None:
    packed = open_packed(path)
    expected = sum(table.resident_bytes for table in packed.tables) + sum(a.nbytes for a in packed.dense.values())
    assert open_model(path).resident_bytes == expected
    assert open_model(path).field_names == tuple(WORDS)
    assert open_model(path).manifest == packed.manifest


def test_smaller_rows_are_scored_too(path: Path, tmp_path: Path) -> None:
    ids, packed = random_ids(200), open_packed(path)
    exact = open_model(path).score(ids)
    for head_dtype, most in {"float16": 1e-2, "int8": 0.2}.items():
        specs = tuple(replace(table.spec, head_dtype=head_dtype) for table in packed.tables)
        tables = {t.spec.name: t.arrays | store_rows(t.arrays["rows"], head_dtype) for t in packed.tables}
        write_packed(tmp_path / "s.safetensors", replace(packed.manifest, tables=specs), tables, packed.dense)
        found = open_model(tmp_path / "s.safetensors").score(ids)
        assert 0 < np.abs(found - exact).max() < most


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.zeros((3, 4), int), r"ids of shape \[3, 4\] given, \[batch, 5\] is needed"),
        (np.zeros(5, int), r"ids of shape \[5\] given"),
        (np.zeros((1, 1, 5), int), r"ids of shape \[1, 1, 5\] given"),
        (np.zeros((2, 5)), "ids of type float64 given, integers are needed"),
        (np.array([["7", "Bonn", "", "shop 1", "2024-05-31"]]), "'predict' takes raw values"),
        (np.array([[0, 6, 0, 0, 0]]), r"table 'city': id 6 given, 0\.\.5 are possible"),
        (np.array([[0, 0, 0, 0, -1]]), r"table 'day': id -1 given, 0\.\.1 are possible"),
    ],
)
def test_ids_that_name_nothing_are_one_line(path: Path, ids: np.ndarray, words: str) -> None:
    served = open_model(path)
    for call in (served.embed, served.score):
        with pytest.raises(AutoDPQError, match=rf"^[^\n]*{words}[^\n]*$"):
            call(ids)


def test_wrong_names_and_values_are_one_line(path: Path, tmp_path: Path) -> None:
    served = open_model(path)
    with pytest.raises(AutoDPQError, match=r"^unknown table 'User'; did you mean 'user'\?$"):
        served.lookup("User", [0])
    whole = {name: words[:1] for name, words in WORDS.items()}
    for values, words in (
        ({name: value for name, value in whole.items() if name != "shop"}, "^values: column 'shop', a field"),
        ({**whole, "user": ["7", 7]}, r"^values, column 'user': they make no column; give values of one type: [^\n]*$"),
        ({**whole, "user": ["7", "14"], "city": ["", "", ""]}, r"^values: no table can be made of them: [^\n]*$"),
    ):
        with pytest.raises(AutoDPQError, match=words):
            served.predict(values)
    without = open_model(rewrite(path, tmp_path / "w.safetensors", vocabulary=None))
    with pytest.raises(AutoDPQError, match=r"w\.safetensors: it was exported without a vocabulary; give ids"):
        without.predict(whole)
    (tmp_path / "m.vocabulary.parquet").unlink()
    with pytest.raises(AutoDPQError, match=r"m\.vocabulary\.parquet: the vocabulary of the model is missing"):
        open_model(path).predict(whole)


def test_modules_are_looked_up_and_not_scored(path: Path, tmp_path: Path) -> None:
    served = open_model(rewrite(path, tmp_path / "k.safetensors", kind="modules", model=None))
    assert np.array_equal(served.lookup("user", [5, 0]), open_model(path).lookup("user", [5, 0]))
    assert not served.scores
    ids = random_ids(1)
    for call in (lambda: served.embed(ids), lambda: served.score(ids), lambda: served.predict(values_of(ids))):
        with pytest.raises(AutoDPQError, match=r"k\.safetensors: it holds tables of a torch model.*ONNX$"):
            call()


def test_plug_ins_are_embedded_and_not_scored(path: Path, tmp_path: Path) -> None:
    served = open_model(rewrite(path, tmp_path / "p.safetensors", model=ModelSpec("mine", (3,))))
    assert not served.scores
    assert served.embed(random_ids(2)).shape == (2, len(FIELDS), 16)
    with pytest.raises(AutoDPQError, match=r"p\.safetensors: the model 'mine' is a plug-in.*autodpq\.load.*ONNX$"):
        served.score(random_ids(2))


@pytest.mark.parametrize(
    "model", [name if name in ("deepfm", "finalmlp") else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_every_weight_is_needed_in_its_shape(tmp_path: Path, model: str) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, model)
    dense = dict(open_packed(path).dense)
    for name, weight in dense.items():
        others = {
            "is missing": {key: value for key, value in dense.items() if key != name},
            r"float32 \[.*\], float32 \[": {**dense, name: weight[..., :-1]},
            "is float64": {**dense, name: weight.astype(np.float64)},
        }
        for words, wrong in others.items():
            with pytest.raises(AutoDPQError, match=rf"w\.safetensors: the weight '{name}' of its model .*{words}"):
                open_model(rewrite(path, tmp_path / "w.safetensors", wrong))
    with pytest.raises(AutoDPQError, match=r"w\.safetensors: the weight '(mlp|streams\.0)\.layers\.1\.running_var'"):
        open_model(rewrite(path, tmp_path / "w.safetensors", model=ModelSpec(model, (11, 7))))


def test_fields_have_embeddings_of_one_size(path: Path, tmp_path: Path) -> None:
    packed = open_packed(path)
    first = packed.tables[1]
    spec = replace(first.spec, dim=8)
    specs = tuple(spec if table is first else table.spec for table in packed.tables)
    tables = {table.spec.name: table.arrays for table in packed.tables}
    tables["city"] = {**first.arrays, "rows": first.arrays["rows"][:, :8]}
    write_packed(tmp_path / "d.safetensors", replace(packed.manifest, tables=specs), tables, packed.dense)
    with pytest.raises(AutoDPQError, match=r"d\.safetensors: its fields have embeddings of \[8, 16\] numbers"):
        open_model(tmp_path / "d.safetensors")


def test_cut_and_altered_files_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(AutoDPQError, match="cut off or altered"):
        open_model(path)


def test_scoring_imports_neither_torch_nor_polars(path: Path) -> None:
    program = f"""
import sys
from autodpq.serving import ServedModel, open_model
model = open_model({str(path)!r})
assert model.embed([[0, 1, 2, 3, 0]]).shape == (1, 5, 16)
logits = model.score([[0, 1, 2, 3, 0], [19, 5, 4, 32, 1]])
heavy = {{"torch", "polars", "pyarrow", "pandas", "scipy"}}
assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))
model.predict({{"user": [7], "city": [None], "device": [1.5], "shop": ["shop 0"], "day": ["2024-05-31"]}})
assert "torch" not in sys.modules
print(*logits)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ids = np.array([[0, 1, 2, 3, 0], [19, 5, 4, 32, 1]])
    assert np.allclose([float(x) for x in done.stdout.split()], ServedModel(open_packed(path)).score(ids), atol=1e-5)


# What serving knows from training: a network of other words.
ASKED = {"user": [7.0, None], "city": ["Bonn", "never"], "device": [True, None], "shop": ["shop 3", "?"]}
ASKED_DAYS = {"day": pd.to_datetime(["2024-05-31", "2024-06-01"])}


def _send_probabilities(served: ServedModel | Path, values: Any, connection: Any) -> None:
    """What a child does; one that is stuck sends nothing."""
    served = served if isinstance(served, ServedModel) else open_model(served)
    connection.send(served.predict(values).tolist())


def predicted_in_a_child(method: str, served: ServedModel | Path, values: Any) -> list[float]:
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_send_probabilities, args=(served, values, theirs), daemon=True)
    with warnings.catch_warnings():
        # Polars warns of every fork; what it warns of is what is tested here.
        warnings.filterwarnings("ignore", "Using fork", RuntimeWarning)
        child.start()
    theirs.close()
    try:
        assert ours.poll(PATIENCE / 5), "the child is stuck"
        found: list[float] = ours.recv()
        return found
    finally:
        child.kill()
        child.join()


def tables() -> list[Any]:
    frame = pd.DataFrame({**ASKED, **ASKED_DAYS})
    many = pd.concat([frame] * 2000, ignore_index=True)
    return [frame, many, pl.from_pandas(many), many.to_dict("series"), {name: frame[name].tolist() for name in frame}]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
@pytest.mark.parametrize(
    "opened", ["before, and asked", *(pytest.param(when, marks=pytest.mark.slow) for when in ("before", "after"))]
)
def test_a_forked_process_predicts(path: Path, opened: str) -> None:
    # The threads that polars has now are what a forked process lacks.
    pl.DataFrame({"a": [1, 2]}).lazy().select(pl.col("a").sum()).collect()
    served = open_model(path)
    if opened == "before, and asked":
        served.predict(tables()[0])
    for values in tables():
        found = predicted_in_a_child("fork", path if opened == "after" else served, values)
        assert found == open_model(path).predict(values).tolist()


def test_a_forked_process_predicts_from_numbers_and_wrong_values(tmp_path: Path) -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork on this system")
    write_model(tmp_path / "m.safetensors")
    binned = pl.DataFrame(
        {"field": ["user"] * 3, "id": [0, 1, 2], "value": ["[-inf, 1)", "[1, inf)", ""],
         "at_least": [float("-inf"), 1.0, None]}, {"field": pl.String, "id": pl.Int32, "value": pl.String,
         "at_least": pl.Float64})  # fmt: skip
    packed = open_packed(tmp_path / "m.safetensors")
    rest = vocabulary().filter(pl.col("field") != "user").with_columns(at_least=pl.lit(None, pl.Float64))
    side = write_vocabulary(tmp_path / "n.vocabulary.parquet", pl.concat([binned, rest]), packed.manifest.tables)
    path = rewrite(tmp_path / "m.safetensors", tmp_path / "n.safetensors", vocabulary=side)
    served = open_model(path)
    for user in ([0.5, None], ["0.5", "NA"], [" 7", "x"], [3, 4]):
        values = {**ASKED, "day": ["2024-05-31 00:00:00", None], "user": user}
        assert predicted_in_a_child("fork", served, values) == open_model(path).predict(values).tolist()


def test_a_served_model_is_pickled_by_its_path(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    served = open_model(path.name)
    served.predict(tables()[0])
    pickled = pickle.dumps(served)
    assert len(pickled) < 1000
    monkeypatch.chdir("/")
    for values in tables():
        assert pickle.loads(pickled).predict(values).tolist() == served.predict(values).tolist()
    path.write_bytes(b"")
    with pytest.raises(AutoDPQError, match=r"m\.safetensors: this is no file that autodpq exported"):
        pickle.loads(pickled)


@pytest.mark.slow
def test_a_spawned_process_predicts(path: Path) -> None:
    served, values = open_model(path), tables()[0]
    assert predicted_in_a_child("spawn", served, values) == served.predict(values).tolist()


def test_a_column_that_is_mostly_unseen_is_warned_of_once(path: Path) -> None:
    served = open_model(path)
    values = {name: [words[0], words[1]] * 5 for name, words in WORDS.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        served.predict(values)
        served.predict({**values, "user": ["never"] * 5 + ["7"] * 5})
    with pytest.warns(UserWarning) as caught:
        served.predict({**values, "user": ["never"] * 6 + ["7"] * 4, "day": ["31 May"] * 10})
        served.predict({**values, "user": ["never"] * 10})
    assert [str(warning.message) for warning in caught] == [
        f"values, column {name!r}: {share} of the values were never seen in training; are they written as they were "
        "there?"
        for name, share in (("user", "60.0%"), ("day", "100.0%"))
    ]
    assert caught[0].filename == __file__
