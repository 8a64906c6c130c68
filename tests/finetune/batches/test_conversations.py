"""A file of ShareGPT conversations, from selection over training to the report, with the loss where it belongs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from curate.cli import main as curate
from curate.pool.dialogue import Dialogue, texts_of
from curate.selection.record import Selection, read_decisions, read_selection
from curate.tokens import load_tokenizer
from evaluate_suite.cli import main as evalsuite
from evaluate_suite.reporting.models import ReportModels
from finetune.batches.dataset import encode_rows
from finetune.batches.packing import IGNORED, build_packed_batch
from finetune.cli import main as finetune
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK, SUBJECTS, VERBS, tiny_model  # noqa: F401


def sharegpt(folder: Path) -> Path:
    """100 conversations of two rounds, every tenth with a system message and every twentieth of one round."""
    talks = []
    for i, (verb, subject) in enumerate((verb, subject) for verb in VERBS for subject in SUBJECTS):
        turns = [
            {"from": "human", "value": f"{verb} a {subject}"},
            {"from": "gpt", "value": f"def {verb}_{subject}(x):\n    return {verb}(x)\n" * (1 + i % 3)},
            {"from": "human", "value": f"and with a default, number {i}?"},
            {"from": "gpt", "value": f"def {verb}_{subject}(x={i}):\n    return {verb}(x)\n"},
        ]
        turns = turns[:2] if i % 20 == 0 else turns
        talks.append({"conversations": [{"from": "system", "value": "Be brief."}, *turns] if i % 10 == 1 else turns})
    (folder / "talks.json").write_text(json.dumps(talks))
    return folder / "talks.json"


def select(folder: Path, model: Path, turns: str, template: str = "chat") -> Selection:
    words = [
        "select",
        "--dataset",
        str(sharegpt(folder)),
        "--model",
        str(model),
        "--encoder",
        "tfidf",
        "--turns",
        turns,
    ]
    words += ["--near-duplicate", "0.999", "--k", "40", "--system", "keep", "--out", str(folder / turns)]
    assert curate(words if template == "raw" else [*words, "--prompt-template", template]) == 0
    return read_selection(folder / turns)


def test_a_sharegpt_file_is_selected_trained_on_and_reported(tiny_model: Path, tmp_path: Path, capsys: Any) -> None:  # noqa: F811
    selection = select(tmp_path, tiny_model, "all")
    rows = [row for row in selection.selected if isinstance(texts_of(row), Dialogue)]
    line = json.loads((selection.path / "selected.jsonl").read_text().splitlines()[0])
    assert set(line) == {"row_id", "instruction", "output", "source", "token_count", "messages"}
    assert rows and [message["role"] for message in json.loads(str(rows[0].extra["messages"]))][-1] == "assistant"
    assert "messages" not in read_decisions(selection).column_names
    tokenizer = load_tokenizer(str(tiny_model))
    for row, example in zip(rows, encode_rows(tokenizer, selection, rows), strict=True):
        assert len(example.input_ids) == row.token_count
        dialogue = texts_of(row)
        assert isinstance(dialogue, Dialogue)
        labels = build_packed_batch([[example]], 0)["labels"][0]
        learnt = tokenizer.decode(labels[labels != IGNORED])
        assert learnt == "".join(f"{answer}<|im_end|>" for _, answer in dialogue.rounds)
        written = tokenizer.apply_chat_template(dialogue.as_messages(), tokenize=False)
        assert tokenizer.decode(example.input_ids) == written.removesuffix("\n")

    run = tmp_path / "run"
    assert finetune(["run", "--selection", str(selection.path), "--out", str(run), "--track", "none",
                     f"model={tiny_model}", *QUICK, "max_length=256"]) == 0  # fmt: skip
    prompts = tmp_path / "prompts.jsonl"
    asked = [
        {"role": "user", "content": "sort"},
        {"role": "assistant", "content": "x"},
        {"role": "user", "content": "y"},
    ]
    prompts.write_text(json.dumps({"messages": asked}) + "\n" + json.dumps({"prompt": "reverse a list"}) + "\n")
    out = ["--prompts", str(prompts), "--max-new-tokens", "4", "--out", str(tmp_path / "report")]
    assert evalsuite(["report", str(run), *out]) == 0
    made = [json.loads(line) for line in (tmp_path / "report" / "generations.jsonl").read_text().splitlines()]
    assert {(line["prompt_id"], line["prompt"]) for line in made} == {
        ("prompt-1", "sort\n\nx\n\ny"), ("prompt-2", "reverse a list"),
    }  # fmt: skip
    losses = ReportModels().losses(read_run(run), selection, selection.holdout, tuned=True)
    held_out = encode_rows(tokenizer, selection, selection.holdout)
    assert [loss.tokens for loss in losses] == [
        int((build_packed_batch([[example]], 0)["labels"] != IGNORED).sum()) for example in held_out
    ]


def test_last_has_the_ids_of_all_and_loss_on_the_last_answer(tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    tokenizer = load_tokenizer(str(tiny_model))
    every, last = select(tmp_path, tiny_model, "all"), select(tmp_path, tiny_model, "last")
    assert [row.row_id for row in every.selected] == [row.row_id for row in last.selected]
    assert every.template.digest != last.template.digest
    for all_of, one in zip(*(encode_rows(tokenizer, each, each.selected) for each in (every, last)), strict=True):
        assert (one.input_ids, one.prompt_length, one.earlier_answers) == (all_of.input_ids, all_of.prompt_length, ())
    labels = build_packed_batch([[encode_rows(tokenizer, last, last.selected)[0]]], 0)["labels"][0]
    assert tokenizer.decode(labels[labels != IGNORED]) == f"{last.selected[0].output}<|im_end|>"


def test_a_selection_of_conversations_is_one_again_by_the_command_its_error_gives(
    tiny_model: Path, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    selection = select(tmp_path, tiny_model, "all", "raw")
    folder = tmp_path / "copy"
    shutil.copytree(selection.path, folder)
    words = ["select", "--dataset", str(folder / "selected.jsonl"), "--model", str(tiny_model), "--turns", "all",
             "--strategy", "first", "--k", "40", "--holdout", "0", "--clean", "none", "--near-duplicate", "1",
             "--system", "keep", "--encoder", "tfidf", "--out", str(tmp_path / "again")]  # fmt: skip
    assert curate(words) == 0
    again = read_selection(tmp_path / "again")
    assert [(row.row_id, texts_of(row)) for row in again.selected] == [
        (row.row_id, texts_of(row)) for row in selection.selected
    ]


def test_no_row_of_a_packed_batch_learns_a_question(tiny_model: Path, tmp_path: Path) -> None:  # noqa: F811
    selection = select(tmp_path, tiny_model, "all")
    tokenizer = load_tokenizer(str(tiny_model))
    examples = encode_rows(tokenizer, selection, selection.selected[:3])
    batch = build_packed_batch([examples], 0)
    alone = torch.cat([build_packed_batch([[example]], 0)["labels"][0] for example in examples])
    assert torch.equal(batch["labels"][0], alone)
