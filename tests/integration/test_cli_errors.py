"""What a person can mend: one line on stderr, exit code 2, and nothing written into the study's folder."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Call, Called, call_cli
from support.installed import installing

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")

HEADER = "click,user,item\n"
ROWS = "".join(f"{number % 2},{number % 7},{number % 5}\n" for number in range(400))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def assert_one_line(done: Called, *parts: str) -> None:
    assert done.code == 2, done
    assert done.err.startswith("Error: ") and done.err.endswith("\n"), done.err
    assert done.err.count("\n") == 1, done.err
    for part in parts:
        assert part in done.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--strategies gird", "unknown strategy 'gird'; did you mean 'grid'?"),
        ("--strategies fe,autodqp", "unknown strategy 'autodqp'; did you mean 'autodpq'?"),
        ("--models depfm", "unknown model 'depfm'; did you mean 'deepfm'?"),
        ("--dataset sintetic", "did you mean 'synthetic'?"),
        ("--recipe stong", "unknown recipe 'stong'; did you mean 'strong'?"),
        ("--K 1", "K=1"),
        ("--K 8,1", "K=1"),
        ("--D 3", "D=3 does not divide the embedding dimension 16"),
        ("--K abc", "--K: 'abc' given, whole numbers"),
        ("--D 2;4", "--D: '2;4' given, whole numbers"),
        ("--candidates hashd(200)", "--candidates: unknown choice 'hashd'; did you mean 'hashed'?"),
        ("--candidates hashed(0)", "--candidates: hashed: m=0: at least one row is needed"),
        ("--candidates int(3)", "--candidates: int: bits=3: 2, 4, 8 are possible"),
        ("--candidates int(four)", "--candidates: int: option bits='four'"),
        (
            "--candidates narrow(32)",
            "--candidates: narrow(32) needs rows of more than 32 numbers, the embeddings have 16",
        ),
        ("--candidates narrow(16)", "--candidates: narrow(16) needs rows of more than 16 numbers"),
        ("--candidates dpq(1,4)", "--candidates: K=1: a code needs at least 2 centroids"),
        ("--candidates dpq(8,3)", "--candidates: D=3 does not divide the embedding dimension 16"),
        ("--candidates dpq(8)", "--candidates: dpq(8): dpq(K,D) is needed"),
        ("--candidates dpq(8,2,1)", "--candidates: dpq(8,2,1): dpq(K,D) is needed"),
        ("--candidates others,others", "--candidates: others is given twice"),
        ("--candidates dpq(8|8,2)", "--candidates: dpq(8,2) is given twice"),
        ("--candidates dpq(8,2", "')' is missing"),
        ("--candidates ,", "--candidates: at least one choice is needed"),
        ("--candidates others --K 8", "--candidates: not together with --K or --D"),
        ("--candidates nowhere.py:Mine", "--candidates: nowhere.py:Mine: there is no file nowhere.py"),
        ("--seeds 0", "--seeds: 0 given"),
        ("--trials 0", "--trials: 0 given"),
        ("--jobs 0", "--jobs: 0 given"),
        ("--threshold 0", "--threshold: 0 given"),
        ("--threshold 100000000", "threshold 100000000 is above every count"),
        ("--init warm", "--init: 'warm' given"),
        ("--split time", "has no time to split by"),
        ("--frequency-scope test", "--frequency-scope: 'test' given"),
        ("--device tpu", "--device: 'tpu' given"),
        ("--time-column hour", "'time_column' does not apply"),
        ("--strategies ,", "--strategies: at least one name"),
        ("--strategies fe,fe", "--strategies: fe is given twice"),
        ("--strategies all,grid", "--strategies: grid is given twice"),
        ("--strategies tpe,tpe(batch_size=1)", "--strategies: tpe is given twice"),
        ("--strategies tpe(batch_size=0)", "tpe: option batch_size='0': a number above 0 is needed"),
        ("--strategies tpe(batch-size=2)", "'tpe(batch-size=2)': 'batch-size=2' given, option=value is needed"),
        ("--strategies tpe(bach_size=2)", "tpe: unknown option 'bach_size'; did you mean 'batch_size'?"),
        ("--strategies tpe(batch_size=2", "'tpe(batch_size=2': ')' is missing"),
        ("--strategies fe(x=1)", "fe: unknown option 'x'; it has none"),
        ("--strategies gone.py:Mine", "gone.py:Mine: there is no file gone.py"),
        ("--strategies gone.py:Ant", "gone.py:Ant: there is no file gone.py"),
        ("--strategies gone:Mine", "gone:Mine: gone does not import: ModuleNotFoundError: No module named 'gone'"),
        ("--strategies json:Mine", "json:Mine: json has no 'Mine'"),
        ("--strategies json:JSONEncoder", "JSONEncoder is no subclass of autodpq.search.strategy.Strategy"),
        ("--models json:JSONEncoder", "JSONEncoder is no subclass of autodpq.models.base.CTRModel"),
        ("--models gone.py:Mine", "gone.py:Mine: there is no file gone.py"),
        ("--dataset gone.py:DATA", "gone.py:DATA: there is no file gone.py"),
        ("--dataset json:dumps", "is no autodpq.data.DatasetSpec"),
        ("--config gone.toml", "--config: gone.toml cannot be read: No such file or directory"),
        ("--dataset ~nobody-is-called-so/a.csv", "'~nobody-is-called-so/a.csv' is neither a data set nor a file"),
        ("--strategies ~nobody-is-called-so/a.py:Mine", "there is no file ~nobody-is-called-so/a.py"),
        ("--executor slurm", "--executor: 'slurm' given"),
        ("--executor ray --jobs 2", "--jobs: applies to --executor local, not ray"),
        ("--ray-address a:1", "--ray-address: applies to --executor ray, not local"),
        ("--cpus-per-trial 2", "--cpus-per-trial: applies to --executor ray, not local"),
        ("--gpus-per-trial 1", "--gpus-per-trial: applies to --executor ray, not local"),
    ],
)
def test_wrong_options(call_here: Call, tmp_path: Path, options: str, message: str) -> None:
    out = tmp_path / "study"
    assert_one_line(call_here("run", *options.split(" "), "--out", out), message)
    assert not out.exists()


HEAD = "from autodpq.search.strategy import Strategy\nclass Mine(Strategy):\n    name = 'mine'\n"
SEARCH = "    def search(self, task):\n        return None\n"


@pytest.mark.parametrize(
    ("code", "options", "message"),
    [
        ("1 / 0", "", "mine.py, line 1: ZeroDivisionError: division by zero"),
        ("x = 1\ndef f(:", "", "mine.py: SyntaxError: invalid syntax (mine.py, line 2)"),
        ("import sys\nsys.exit('gone')", "", "mine.py, line 2: SystemExit: gone"),
        ("raise ValueError('one\\ntwo')", "", "mine.py, line 1: ValueError: one two"),
        (HEAD, "", "Mine does not define search"),
        (HEAD.replace("mine'", "grid'") + SEARCH, "", "strategy 'grid' is there twice: baselines.grid:Grid and "),
        (
            HEAD.replace("mine'", "a,b'") + SEARCH,
            "",
            "a strategy's name is made of letters, digits and -_.+, not 'a,b'",
        ),
        (HEAD + SEARCH + "    def __init__(self, **options): pass", "", "mine: its constructor takes **options"),
        (HEAD + SEARCH + "    def __init__(self, *, x=1): pass", "", "does not store the option 'x' under its name"),
        (HEAD + SEARCH + "    def __init__(self, *, x: int): self.x = x", "", "mine: option 'x' is needed"),
        (HEAD + SEARCH + "    def __init__(self, *, x: 'Gone' = 1): self.x = x", "", "annotations cannot be read"),
        (
            HEAD + SEARCH + "    def __init__(self, *, x: int = 1): 1 / x",
            "(x=0)",
            "ZeroDivisionError: division by zero",
        ),
        (HEAD + SEARCH + "    def __init__(self, *, x: float = 1): self.x = x", "(x=nan)", "mine: option x='nan': "),
    ],
)
def test_wrong_plug_ins(
    call_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, options: str, message: str
) -> None:
    with installing(tmp_path, monkeypatch):
        (tmp_path / "mine.py").write_text(code + "\n")
        assert_one_line(call_here("run", "--strategies", f"fe,mine.py:Mine{options}", "--out", "study"), message)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sedes = 3", "study.toml: sedes = 3: Extra inputs are not permitted; did you mean 'seeds'?"),
        ("seeds = 'x'", "study.toml: seeds = 'x': a whole number is needed"),
        ("seeds = ", "study.toml is not valid TOML"),
        ("strategies = ['mine.py:Mine']", "is code to load, which only the command line may name"),
        ("[options.'mine.py:Mine']", "is code to load, which only the command line may name"),
        ("[options.tpee]", "unknown strategy 'tpee'; did you mean 'tpe'?"),
        (
            "[options.autodpq]\nsearch_epoch = 1",
            "autodpq: unknown option 'search_epoch'; did you mean 'search_epochs'?",
        ),
        (
            "[options.autodpq]\nsearch_epochs = '1'",
            "autodpq: option search_epochs='1': a whole number is needed",
        ),
        ("[options.autodpq]\nxi = nan", "autodpq: option xi=nan: "),
        ("recipe = 'papr'", "unknown recipe 'papr'; did you mean 'paper'?"),
    ],
)
def test_wrong_files_of_options(
    call_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    with installing(tmp_path, monkeypatch):
        (tmp_path / "study.toml").write_text(text)
        (tmp_path / "mine.py").write_text("open('ran', 'w')\n")
        assert_one_line(call_here("run", "--config", "study.toml", "--out", "study"), message)
    assert not (tmp_path / "study").exists() and not (tmp_path / "ran").exists()


def csv(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "own.csv").write_text(text)
        return folder / "own.csv"

    return write


def parquet_of_text(folder: Path) -> Path:
    (folder / "own.parquet").write_text(HEADER + ROWS)
    return folder / "own.parquet"


def csv_of_parquet(folder: Path) -> Path:
    (folder / "own.csv").write_bytes(b"PAR1" + bytes(range(256)) + b"PAR1")
    return folder / "own.csv"


def gzip_cut_off(folder: Path) -> Path:
    # Of digits that compress badly, so that half of the file holds whole lines.
    text = HEADER + "".join(f"{number % 2},{number * 7919 % 10007},{number % 5}\n" for number in range(4000))
    whole = gzip.compress(text.encode())
    (folder / "own.csv.gz").write_bytes(whole[: len(whole) // 2])
    return folder / "own.csv.gz"


def gzip_of_text(folder: Path) -> Path:
    (folder / "own.csv.gz").write_text(HEADER + ROWS)
    return folder / "own.csv.gz"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (csv(HEADER + ",1,2\n" + ROWS), "row 1, column 'click': the value is missing"),
        (csv(HEADER + ROWS + "nan,1,2\n"), "row 401, column 'click': 'nan'; a label must be 0 or 1"),
        (csv(HEADER + ROWS + "2,1,2\n"), "row 401, column 'click': '2'; a label must be 0 or 1"),
        (csv(HEADER + "1,1,2\n" * 50), "every label is 1; both 0 and 1 are needed"),
        (csv(HEADER + "0,1,2\n" * 50), "every label is 0; both 0 and 1 are needed"),
        (csv(HEADER), "no rows"),
        (csv(""), "the file is empty"),
        (csv("clicked,user\n1,2\n0,3\n"), "no column 'click', which 'label' names; did you mean 'clicked'?"),
        (csv(HEADER + "1,2\n" + ROWS), "2 columns where 3 are expected"),
        (csv("click,user\n" + "1,2\n0,3\n" * 2), "part"),
        (parquet_of_text, "own.parquet: this is no parquet file"),
        (csv_of_parquet, "own.csv: this is a parquet file"),
        (gzip_cut_off, "own.csv.gz: the gzip file is cut short"),
        (gzip_of_text, "own.csv.gz: this is no gzip file"),
    ],
)
def test_wrong_files(call_here: Call, tmp_path: Path, write: Callable[[Path], Path], message: str) -> None:
    source, out = tmp_path / "source", tmp_path / "study"
    source.mkdir()
    path = write(source)
    assert_one_line(call_here("run", "--dataset", path, "--seeds", "1", "--out", out), message)
    assert not out.exists()


def test_markup_in_a_name_is_printed_as_it_is(call_here: Call, tmp_path: Path) -> None:
    done = call_here("run", "--strategies", "[bold]fe[/]", "--out", tmp_path / "study")
    assert_one_line(done, "unknown strategy '[bold]fe[/]'")
    done = call_here("run", "--dataset", "it:ant:snail", "--out", tmp_path / "study")
    assert_one_line(done, "it:ant:snail: it:ant does not import")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_missing_archive_is_no_reason_to_download(
    call_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    empty, out = tmp_path / "empty", tmp_path / "study"
    empty.mkdir()
    if how == "environment":
        monkeypatch.setenv("AUTODPQ_DATA", str(empty))
    given = ["--data-dir", empty] if how == "option" else []
    done = call_here("run", "--dataset", "movielens1m", *given, "--out", out)
    assert_one_line(done, f"{empty}: neither ml-1m.zip nor ml-1m/ratings.dat is in it", "files.grouplens.org")
    assert not out.exists()


def test_folder_of_source_files_that_is_not_there(call_here: Call, tmp_path: Path) -> None:
    done = call_here("run", "--dataset", "avazu", "--data-dir", tmp_path / "gone", "--out", tmp_path / "study")
    assert_one_line(done, "gone: there is no such folder")


@pytest.mark.parametrize("dataset", ["avazu", "criteo"])
def test_data_that_cannot_be_downloaded(call_here: Call, tmp_path: Path, dataset: str) -> None:
    assert_one_line(call_here("run", "--dataset", dataset, "--out", tmp_path / "study"), dataset, "AUTODPQ_DATA")
    assert not (tmp_path / "study").exists()


def test_environment_s_data_folder_does_not_disturb_the_embedded_data(
    call_here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTODPQ_DATA", str(tmp_path))
    assert call_here("audit", "--dataset", "synthetic").code == 0


def test_out_that_is_a_file(call_here: Call, tmp_path: Path, own_csv: Path) -> None:
    out = tmp_path / "study"
    out.write_text("precious")
    assert_one_line(call_here("run", "--dataset", own_csv, "--seeds", "1", "--out", out), "--out", str(out))
    assert out.read_text() == "precious"


@pytest.mark.parametrize("options", ["--threshold 0", "--K 1", "--D 3", "--K abc", "--K ,", "--threshold 100000000"])
def test_audit_refuses_what_run_refuses(call_here: Call, options: str) -> None:
    assert_one_line(call_here("audit", "--dataset", "synthetic", *options.split()), options.split()[0].strip("-"))


@pytest.mark.parametrize("command", ["status", "report"])
def test_folder_that_is_no_study(call_here: Call, tmp_path: Path, command: str) -> None:
    assert_one_line(call_here(command, tmp_path), "no study")
    assert list(tmp_path.iterdir()) == []


def test_without_rare_values_a_search_says_so(call_here: Call, tmp_path: Path, own_csv: Path) -> None:
    arguments = ["run", "--dataset", own_csv, "--seeds", "1", "--threshold", "1", "--out", tmp_path / "study"]
    assert_one_line(call_here(*arguments, "--strategies", "autodpq"), "no field has rare values at this threshold")


def test_grid_of_one_pair_runs(call_here: Call, tmp_path: Path, own_csv: Path) -> None:
    arguments = "run --strategies grid --seeds 1 --K 4 --D 2 --threshold 8 --dataset".split()
    done = call_here(*arguments, own_csv, "--out", tmp_path / "study")
    assert done.code == 0, done.err


def test_failed_runs_are_told_and_the_others_go_on(call_here: Call, tmp_path: Path, own_csv: Path) -> None:
    options = "--strategies random,fe --trials 2 --seeds 1 --K 4 --D 2 --threshold 8 --trial-timeout 1e-9"
    done = call_here("run", "--dataset", own_csv, *options.split(), "--out", tmp_path / "study")
    assert done.code == 1 and done.err == ""
    assert "random: failed: no trial is complete: TrainingError: the trial took longer than its 1e-09 s" in done.out
    assert "1 of 2 runs failed; the notes below the table say why" in done.out
    for command, told in (("status", "2 of 2 runs are done, 1 of them failed"), ("report", "failed")):
        done = call_here(command, tmp_path / "study")
        assert done.code == 0 and told in done.out, done


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--sedes", "3"], "No such option: --sedes"),
        (["run", "--seeds", "three"], "Invalid value for '--seeds'"),
        (["run", "--sedes", "3"], "--sedes"),
        (["list", "planets"], "'planets'"),
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["inspect", "shop.csv"], "No such command 'inspect'. Did you mean 'data inspect'?"),
        (["data", "inspct"], "No such command 'inspct'. Did you mean 'inspect'?"),
        (["status", "nowhere"], "Error: nowhere: there is no such folder"),
        (["report", "nowhere"], "Error: nowhere: there is no such folder"),
        (["export", "nowhere", "--out", "m.safetensors"], "Error: nowhere: there is no such folder"),
    ],
)
def test_unknown_words_are_usage_errors(call_here: Call, arguments: list[str], message: str) -> None:
    done = call_here(*arguments)
    assert done.code == 2 and message in " ".join(done.err.split()) and "Traceback" not in done.err


@pytest.mark.parametrize("option", [["--log-level", "debug"], ["--log-level=debug"]])
def test_where_an_error_came_from_is_told_at_debug(call_here: Call, option: list[str]) -> None:
    plain, told = (call_here("run", "--strategies", "gird", *more) for more in ([], option))
    assert plain.err.count("\n") == 1 and (told.code, told.out) == (2, "")
    assert told.err.startswith("Traceback (most recent call last):\n") and told.err.endswith(f"\n{plain.err}")


@pytest.mark.slow  # the pages of the documentation run programs in processes of their own, too
def test_an_error_in_a_process_of_its_own(cache: Path, tmp_path: Path) -> None:
    done = call_cli("run", "--strategies", "gird", "--out", tmp_path / "study", cache=cache)
    assert_one_line(done, "did you mean 'grid'?")
    assert not (tmp_path / "study").exists()
