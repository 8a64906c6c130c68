"""Scores: what they are, that they are kept, resumed, the same in any company; selecting with them or a target."""

from __future__ import annotations

import json
import pickle
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.artifact import digest_text
from curate.cli import main
from curate.engines.local import LocalEngine
from curate.pool.rows import Row, build_row
from curate.scores import scoring
from curate.scores.kept_scores import load_scores, read_scores, scores_path
from curate.scores.scoring import score_rows
from curate.selection.record import read_selection
from curate.vectors.encoders import Encoder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random Llama of 2 small layers with a byte-level vocabulary."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = str(tmp_path_factory.mktemp("tiny"))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i + 1 for i, letter in enumerate(letters)} | {"<end>": 0}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, bos_token_id=None, eos_token_id=0, initializer_range=0.5,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def rows(n: int = 12) -> list[Row]:
    return [build_row(i, f"say {i}", f"{i} " * (i + 1), "made up") for i in range(n)]


def test_a_score_is_the_models_loss_on_the_output_after_the_prompt_and_alone(tiny: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert score_rows(rows(3), tiny) == {"scored": 3, "cached": 0, "too_long": 0}
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny), AutoTokenizer.from_pretrained(tiny)
    for row in rows(3):
        prompt, answer = (tokenizer(text)["input_ids"] for text in (f"{row.instruction}\n", row.output))
        expected = []
        for context in (prompt, [0]):
            ids = torch.tensor([context + answer])
            labels = ids.clone()
            labels[0, : len(context)] = -100
            expected.append(model(ids, labels=labels).loss.item())
        score = read_scores(tiny)[row.row_id]
        assert [score.nll_given, score.nll_alone] == pytest.approx(expected, abs=1e-4)
    scores = load_scores(rows(3), tiny, [])
    given = np.array([read_scores(tiny)[row.row_id].nll_given for row in rows(3)], dtype=np.float64)
    alone = np.array([read_scores(tiny)[row.row_id].nll_alone for row in rows(3)], dtype=np.float64)
    assert scores["perplexity"].tolist() == np.exp(given).tolist()
    assert scores["ifd"].tolist() == pytest.approx(np.exp(given) / np.exp(alone))


def test_a_row_has_the_same_score_in_any_company_and_is_scored_once(tiny: str, own_home: Path) -> None:
    score_rows(rows()[5:6], tiny)
    alone = read_scores(tiny)
    assert score_rows(rows(), tiny) == {"scored": 11, "cached": 1, "too_long": 0}
    together = read_scores(tiny)
    scores_path(tiny).unlink()
    score_rows(rows()[::-1], tiny)
    assert read_scores(tiny) == together
    assert alone.items() <= together.items()


def test_a_run_that_was_killed_loses_only_what_it_was_writing(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    score_rows(rows(), tiny)
    whole = read_scores(tiny)
    path = scores_path(tiny)
    path.write_bytes(path.read_bytes()[:-30])
    assert len(read_scores(tiny)) == 11
    assert score_rows(rows(), tiny) == {"scored": 1, "cached": 11, "too_long": 0}
    assert read_scores(tiny) == whole


def test_rows_that_another_process_scored_while_this_one_waited_are_not_scored_again(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_lock = scoring.file_lock

    def lock_after_the_other(path: Path) -> Any:
        monkeypatch.setattr(scoring, "file_lock", real_lock)
        score_rows(rows(4), tiny)
        return real_lock(path)

    monkeypatch.setattr(scoring, "file_lock", lock_after_the_other)
    assert score_rows(rows(4), tiny) == {"scored": 0, "cached": 4, "too_long": 0}
    assert len(scores_path(tiny).read_bytes().splitlines()) == 4


def test_rows_too_long_are_left_unscored_until_a_run_allows_them(tiny: str) -> None:
    assert score_rows(rows(), tiny, max_tokens=20) == {"scored": 7, "cached": 0, "too_long": 5}
    assert np.isnan(load_scores(rows(), tiny, [])["ifd"]).sum() == 5
    assert score_rows(rows(), tiny, max_tokens=20) == {"scored": 0, "cached": 12, "too_long": 0}
    assert score_rows(rows(), tiny)["scored"] == 5


def count_words(texts: Sequence[str], advance: object) -> Any:
    """An encoder with one dimension a word, hashed into 64."""
    vectors = np.full((len(texts), 64), 1e-3, dtype=np.float32)
    for i, text in enumerate(texts):
        for word in text.split():
            vectors[i, int(digest_text(word)[:4], 16) % 64] += 1
    return vectors


def write_pool(path: Path, n: int) -> str:
    lines = [json.dumps({"instruction": f"write {i} of {i % 7}", "output": f"answer {i} " * 3}) for i in range(n)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def select(pool: str, out: Path, *more: str) -> int:
    return main(
        ["select", "--dataset", pool, "--model", "smollm2-135m", "--k", "10", "--near-duplicate", "1",
         "--clean", "none", "--out", str(out), *more]
    )  # fmt: skip


def test_a_selection_by_scores_names_the_command_that_makes_them_and_then_picks(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = write_pool(tmp_path / "my rows.jsonl", 60)
    options = ("--strategy", "ifd", "--score-model", tiny, "--encoder", "tfidf")
    assert select(pool, tmp_path / "s", *options) == 1
    error = capsys.readouterr().err
    assert f"54 of 54 candidates have no score by {tiny} yet in" in error
    command = shlex.split(error.split("Run: ")[1])
    assert command == ["curate", "score", "--dataset", pool, "--score-model", tiny]
    assert main(command[1:]) == 0
    assert select(pool, tmp_path / "s", *options) == 0
    scores = read_scores(tiny)

    def ifd(row_id: str) -> float:
        score = scores[row_id]
        assert score.nll_given is not None and score.nll_alone is not None
        return float(np.exp(score.nll_given - score.nll_alone))

    picked = [ifd(row.row_id) for row in read_selection(tmp_path / "s").selected]
    assert picked == sorted((x for x in picked if x < 1), reverse=True) + sorted(x for x in picked if x >= 1)


@pytest.mark.parametrize("strategy", ["perplexity", "ifd-facility", "kmeans-ifd", "deita"])
def test_every_strategy_that_needs_scores_finds_them(strategy: str, tiny: str, tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "rows.jsonl", 60)
    assert main(["score", "--dataset", pool, "--score-model", tiny]) == 0
    out = tmp_path / "s"
    assert select(pool, out, "--strategy", strategy, "--score-model", tiny, "--encoder", "tfidf") == 0
    assert len(read_selection(out).selected) == 10


def test_rds_picks_near_the_target_rows_which_are_part_of_what_the_selection_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "curate.vectors.embedding.load_encoder", lambda name, batch_size: Encoder(name, "words", count_words)
    )
    pool = tmp_path / "rows.jsonl"
    subjects = ["sort a list of numbers", "open a network socket", "draw a red circle", "parse a date"]
    pool.write_text(
        "".join(
            json.dumps({"instruction": f"{s} way {i}", "output": f"{i}"}) + "\n" for s in subjects for i in range(20)
        )
    )
    target = tmp_path / "target.jsonl"
    target.write_text(json.dumps({"instruction": "open a network socket now", "output": "x"}) + "\n")
    options = ("--strategy", "rds", "--target", str(target))
    assert select(str(pool), tmp_path / "s", *options) == 0
    selection = read_selection(tmp_path / "s")
    assert {row.instruction.split(" way")[0] for row in selection.selected} == {"open a network socket"}
    assert [record.file for record in selection.manifest.inputs] == ["rows.jsonl", "target.jsonl"]
    capsys.readouterr()
    target.write_text(json.dumps({"instruction": "draw", "output": "x"}) + "\n")
    assert select(str(pool), tmp_path / "s", *options) == 1
    assert "holds another selection" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "sentence"),
    [
        (("--strategy", "rds"), 2, "Strategy rds picks near a target set, and there is none. Name a file of rows"),
        (("--strategy", "rds", "--target", "no.jsonl"), 1, "no.jsonl does not exist"),
        (("--strategy", "rds", "--target", "x", "--encoder", "tfidf"), 2, "cannot use --encoder tfidf"),
        (("--strategy", "kmeans", "--target", "x"), 2, "Strategy kmeans takes no --target."),
        (("--strategy", "kmeans", "--score-model", "x"), 2, "Strategy kmeans takes no --score-model"),
        (("--strategy", "ifd", "--score-model", "/no/model"), 1, "candidates have no score by /no/model yet"),
        (("--strategy", "mmr", "--strategy-option", "threshold=1"), 2, "threshold belongs to deita"),
    ],
)  # fmt: skip
def test_what_a_strategy_needs_or_cannot_use_is_said_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], code: int, sentence: str
) -> None:
    assert select(write_pool(tmp_path / "rows.jsonl", 60), tmp_path / "s", *more) == code
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_rows_are_scored_again_in_the_same_bytes_on_any_number_of_threads(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for cores in (1, 3):
        monkeypatch.setattr(scoring, "cores", lambda cores=cores: cores)
        monkeypatch.setattr(scoring, "_SAVED_TOGETHER", 4 * cores)
        score_rows(rows(), tiny)
        made.append(scores_path(tiny).read_bytes())
        scores_path(tiny).unlink()
    assert made[0] == made[1]


class Elsewhere(LocalEngine):
    """Maps as workers of another machine would: by a pickled step, no process of this one."""

    name = "ray"

    def map(self, step: Any, blocks: Any, *, heavy: bool = False) -> Any:
        return map(pickle.loads(pickle.dumps(step)), blocks)


def test_scores_made_elsewhere_are_those_made_here(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_SAVED_TOGETHER", 5)
    counts, made = [], []
    for engine in (None, Elsewhere(workers=1)):
        counts.append(
            score_rows([*rows(), build_row(12, "Nothing.", " \n", "made")], tiny, max_tokens=20, engine=engine)
        )
        made.append(scores_path(tiny).read_bytes())
        scores_path(tiny).unlink()
    assert counts == [{"scored": 7, "cached": 0, "too_long": 5}] * 2
    assert made[0] == made[1]
