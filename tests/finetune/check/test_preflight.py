"""`finetune check`: every trap is sprung by a seeded bad run, and none by good ones."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate.selection.record import SelectedRow, read_selection
from curate.tokens import tokenizers
from curate.tokens.tokenizers import EncodedExample
from finetune.check import preflight
from finetune.check.facts import Facts
from finetune.check.preflight import find_problems, gather_facts
from finetune.check.traps import TRAPS
from finetune.cli import main
from finetune.config import RunConfig
from finetune.parallel import meeting
from finetune.parallel.layout import Layout
from tests.finetune.conftest import QUICK

KEPT: dict[str, Any] = {}
SETTINGS: dict[str, Any] = {
    "device": "cpu", "load_in_4bit": False, "max_length": 128, "per_device_train_batch_size": 1, "logging_steps": 1,
    "gradient_accumulation_steps": 2, "eval_steps": 2, "warmup_steps": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def good(made_selection: Path, tiny_model: Path) -> Facts:
    """Facts of a run without a fault, gathered once."""
    return gather_facts(RunConfig(model=str(tiny_model), **SETTINGS), read_selection(made_selection))


@pytest.fixture(autouse=True)
def one_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the tokenizer takes most of a check's time; it is the same one throughout."""
    read = tokenizers.load_tokenizer

    def load(model: str, tokenizer: str | None = None) -> Any:
        file = Path(model) / "tokenizer.json"
        key = str(file.stat().st_size) if file.is_file() else model  # copies of a folder have the same one
        if key not in KEPT:
            KEPT[key] = read(model, tokenizer)
        return KEPT[key]

    monkeypatch.setattr("finetune.run.tokenizer.load_tokenizer", load)


def config(**changes: Any) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, config=facts.config.model_copy(update=changes))


def with_facts(**changes: Any) -> Callable[[Facts], Facts]:
    return lambda facts: replace(facts, **changes)


def rows(change: Callable[[list[SelectedRow]], list[SelectedRow]]) -> Callable[[Facts], Facts]:
    return lambda facts: replace(
        facts, selection=replace(facts.selection, selected=change(list(facts.selection.selected)))
    )


def regathered(**changes: Any) -> Callable[[Facts], Facts]:
    """The config changed, and everything gathered anew: the trap is seen in what the run would really build."""
    return lambda facts: gather_facts(facts.config.model_copy(update=changes), facts.selection)


def another_model(spoil: Callable[[Path], object]) -> Callable[[Facts], Facts]:
    """The model's folder copied and spoilt, and everything gathered from there."""

    def apply(facts: Facts) -> Facts:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(shutil.copytree(facts.config.model, Path(place) / "model"))
            spoil(folder)
            return regathered(model=str(folder))(facts)

    return apply


def in_its_config(**changes: Any) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def as_gptj(folder: Path) -> None:
    from transformers import GPTJConfig

    GPTJConfig(n_embd=32, n_layer=2, n_head=4, rotary_dim=4, vocab_size=49152).save_pretrained(folder)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def another_tokenizers_digest(facts: Facts) -> Facts:
    """The selection as it would be had another tokenizer counted it."""
    manifest = facts.selection.manifest
    changed = manifest.model_copy(update={"config": {**manifest.config, "tokenizer_digest": "0" * 64}})
    return gather_facts(facts.config, replace(facts.selection, manifest=changed))


def pad_is_end_masked_by_id(facts: Facts) -> Facts:
    """Batches as a collator builds them that masks wherever the id is the pad token's, with pad = end."""
    batches = []
    for batch in facts.batches or ():
        labels = batch["labels"].clone()
        labels[batch["input_ids"] == facts.end_id] = -100
        batches.append(batch | {"labels": labels})
    return replace(facts, batches=batches)


def all_masked(facts: Facts) -> Facts:
    batch = (facts.batches or [])[0]
    return replace(facts, batches=[batch | {"labels": batch["labels"] * 0 - 100}])


def doubled_start(facts: Facts) -> Facts:
    examples = [EncodedExample([1, 1, *e.input_ids], e.prompt_length + 2) for e in facts.examples or ()]
    return replace(facts, examples=examples, start_ids=[1])


def shape(**changes: Any) -> Callable[[Facts], Facts]:
    def apply(facts: Facts) -> Facts:
        import copy

        changed = copy.deepcopy(facts.shape)
        for name, value in changes.items():
            setattr(changed, name, value)
        return replace(facts, shape=changed)

    return apply


def gemma_in_float16(facts: Facts) -> Facts:
    return shape(model_type="gemma2")(config(dtype="float16")(facts))


def nobody_comes(facts: Facts) -> Facts:
    """This machine waits at the rendezvous and is alone."""
    try:
        preflight.meet = lambda layout: meeting.meet(layout, 2)
        return gather_facts(facts.config, facts.selection, Layout(1, "ddp", 2, "127.0.0.1:29417"))
    finally:
        preflight.meet = meeting.meet


SEEDED: dict[str, Callable[[Facts], Facts]] = {
    "batch_not_divisible": with_facts(layout=Layout(3)),
    "more_gpus_than_there_are": lambda facts: replace(config(device="auto")(facts), layout=Layout(64, "fsdp")),
    "rendezvous_silent": nobody_comes,
    "machines_differ": with_facts(machines=[{"machine": "a", "torch": "2.13.0"}, {"machine": "b", "torch": "2.11.0"}]),
    "end_token_missing": regathered(packing="joined"),
    "end_token_masked": pad_is_end_masked_by_id,
    "rows_are_cut": regathered(packing="joined"),
    "start_token_doubled": doubled_start,
    "token_counts_differ": rows(lambda picked: [replace(picked[0], token_count=1), *picked[1:]]),
    "nothing_labelled": all_masked,
    "empty_outputs": rows(lambda picked: [replace(picked[0], output=" \n"), *picked[1:]]),
    "row_over_limit": regathered(max_length=16),
    "over_context": another_model(in_its_config(max_position_embeddings=16)),
    "tokenizer_differs": another_tokenizers_digest,
    "vocabulary_too_small": another_model(in_its_config(vocab_size=100)),
    "samples_see_each_other": config(packing="joined"),
    "prompt_is_trained_on": config(completion_only_loss=False),
    "float16_on_a_cpu": config(dtype="float16"),
    "float16_overflows": gemma_in_float16,
    "bfloat16_absent": lambda facts: replace(
        config(dtype="bfloat16", device="auto")(facts), has_gpu=True, gpu_has_bfloat16=False
    ),
    "paged_optimizer_without_gpu": config(optim="paged_adamw_8bit"),
    "gpu_absent": lambda facts: replace(config(device="cuda")(facts), has_gpu=False),
    "learning_rate_unusual": config(learning_rate=0.1),
    "warmup_fills_the_run": config(warmup_steps=500),
    "more_steps_than_data": regathered(num_train_epochs=50),
    "batch_larger_than_data": config(gradient_accumulation_steps=64),
    "no_holdout": lambda facts: replace(facts, selection=replace(facts.selection, holdout=[])),
    "few_eval_rows": config(eval_rows=2),
    "evaluated_only_at_the_end": config(eval_steps=1000),
    "alpha_out_of_proportion": config(lora_alpha=1000),
    "dropout_high": config(lora_dropout=0.6),
    "targets_match_nothing": regathered(target_modules=["c_attn"]),
    "attention_unsupported": another_model(as_gptj),
    "pad_token_unknown": regathered(pad_token="<nothing>"),
    "holdout_in_training": lambda facts: replace(
        facts, selection=replace(facts.selection, holdout=facts.selection.selected[:1])
    ),
    "rows_repeated": rows(lambda picked: [picked[1], *picked[1:]]),
    "model_absent": regathered(model="/nowhere/tiny-llama"),
    "weights_not_safetensors": another_model(pickled),
    "remote_code": another_model(in_its_config(auto_map={"AutoModelForCausalLM": "modeling.Own"})),
    "grouping_without_effect": config(group_by_length=True),
    "not_enough_memory": regathered(per_device_train_batch_size=100_000),
    "not_enough_disk": with_facts(free_disk_bytes=2**10),
}


def test_every_trap_has_a_seeded_case() -> None:
    assert {trap.__name__ for trap in TRAPS} == set(SEEDED)
    assert len(TRAPS) == 42


@pytest.mark.parametrize("name", SEEDED)
def test_a_trap_is_sprung_by_its_seeded_case_and_not_by_the_good_run(good: Facts, name: str) -> None:
    trap = next(trap for trap in TRAPS if trap.__name__ == name)
    assert trap(good) is None
    sentence = trap(SEEDED[name](good))
    assert isinstance(sentence, str) and sentence.endswith(".")


GOOD: list[dict[str, Any]] = [
    {}, {"r": 4, "lora_alpha": 8}, {"r": 64, "lora_alpha": 64}, {"lora_dropout": 0.1}, {"learning_rate": 1e-4},
    {"learning_rate": 1e-3}, {"packing": "none"}, {"packing": "none", "group_by_length": True}, {"num_train_epochs": 3},
    {"max_steps": 4}, {"warmup_steps": 2}, {"target_modules": ["q_proj", "v_proj"]}, {"load_in_4bit": True},
    {"attn_implementation": "eager"}, {"pad_token": "<|endoftext|>"}, {"lr_scheduler_type": "linear"},
    {"gradient_checkpointing": True}, {"max_length": 512, "eval_steps": 1}, {"per_device_train_batch_size": 2},
    {"dtype": "bfloat16"}, {"weight_decay": 0.01}, {"eval_rows": 8},
]  # fmt: skip


# Settings that change nothing of what is gathered.
ONLY_READ = {
    "lora_alpha",
    "lora_dropout",
    "learning_rate",
    "warmup_steps",
    "lr_scheduler_type",
    "weight_decay",
    "eval_rows",
}


@pytest.mark.long
def test_no_trap_is_sprung_by_good_runs(good: Facts) -> None:
    assert len(GOOD) >= 20
    alarms = {}
    for more in GOOD:
        facts = config(**more)(good) if set(more) <= ONLY_READ else regathered(**more)(good)
        alarms[str(more)] = find_problems(facts).problems
    assert {more: found for more, found in alarms.items() if found} == {}


@pytest.mark.parametrize(("spoilt", "sentence"), [
    ({"dtype": "float16", "device": "cpu"}, "dtype is float16 and the run is on a CPU. Set dtype=float32."),
    ({"dtype": "bfloat16", "device": "cpu"}, None),
    ({"warmup_steps": 500, "lr_scheduler_type": "constant"}, None),
])  # fmt: skip
def test_a_trap_of_a_card_or_a_schedule_that_the_run_does_not_use_is_silent(
    good: Facts, spoilt: dict[str, Any], sentence: str | None
) -> None:
    """A GPU without bfloat16 stands there, and the run is to compute on the CPU; a constant rate has no warm-up."""
    facts = replace(config(**spoilt)(good), has_gpu=True, gpu_has_bfloat16=False)
    assert list(find_problems(facts).problems.values()) == ([sentence] if sentence else [])


def test_joined_rows_are_trained_on_their_prompts_whatever_the_setting_says(good: Facts) -> None:
    facts = regathered(packing="joined")(good)
    assert facts.config.completion_only_loss
    assert all((batch["labels"][:, 1:] != -100).all() for batch in facts.batches or ())
    assert "whatever completion_only_loss says" in find_problems(facts).problems["prompt_is_trained_on"]


def test_all_problems_come_at_once_with_exit_1(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [*QUICK, "learning_rate=0.1", "lora_dropout=0.6", "target_modules=[c_attn]"]
    assert main(["check", "--selection", str(selection), "--json", *bad]) == 1
    told = capsys.readouterr()
    assert set(json.loads(told.out)["problems"]) == {
        "learning_rate_unusual", "dropout_high", "targets_match_nothing", "few_eval_rows",
    }  # fmt: skip
    assert "error: 4 problem(s): " in told.err


def test_a_holdout_that_is_itself_small_is_told_how_to_grow(good: Facts) -> None:
    few = replace(good, selection=replace(good.selection, holdout=good.selection.holdout[:3]))
    said = find_problems(few).problems["few_eval_rows"]
    assert said == (
        "The eval loss comes from 3 rows of 3 held out. Select again with --holdout 8 or more, from 80 rows or more: "
        "a holdout is a tenth of the pool at most."
    )
    manifest = good.selection.manifest.model_copy(update={"counts": {"pool": 9}})
    none = replace(good, selection=replace(good.selection, holdout=[], manifest=manifest))
    assert find_problems(none).problems["no_holdout"].endswith("select from 10 rows or more.")


def test_what_could_not_be_looked_at_is_named(selection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "--selection", str(selection), "--json", "device=cpu", "model=nobody/nothing"]
    assert main(arguments) in (0, 1)
    assert set(json.loads(capsys.readouterr().out)["not_checked"]) >= {"model"}


def test_a_folder_without_a_model_is_a_trap_and_a_hub_id_is_not(tmp_path: Path, tiny_model: Path) -> None:
    from finetune.check.preflight import _can_exist

    found = [_can_exist(model) for model in (str(tmp_path), "./tiny", str(tiny_model), "OWNER/NAME", "smollm2-135m")]
    assert found == [False, False, True, True, True]


def test_the_line_of_a_check_names_what_was_not_looked_at(selection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--selection", str(selection), *QUICK, "model=nobody/nothing"])
    assert capsys.readouterr().out.strip().endswith("of 42 traps sprung; not looked at: tokenizer, model")


def test_a_check_asks_the_network_nothing(selection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model that is not here; the same tokenizer, fetched as a run would, does go out."""
    import socket

    from huggingface_hub import constants

    import curate.tokens.tokenizers
    from curate.errors import UserError

    asked: list[Any] = []

    def connect(self: Any, address: Any) -> None:
        asked.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: asked.append(where) or [])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    facts = gather_facts(RunConfig(model="nobody/nothing", device="cpu"), read_selection(selection))
    assert asked == []
    assert facts.unknown["tokenizer"] == (
        "It is not on this machine yet, and a check downloads nothing (nobody/nothing)."
    )
    with pytest.raises(UserError):
        curate.tokens.tokenizers.load_tokenizer("nobody/nothing")
    assert asked != []
