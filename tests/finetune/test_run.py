"""`finetune run` end to end on a tiny model: what it leaves, that it repeats, that it refuses what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curate.artifact import digest_file, read_jsonl
from finetune.cli import main
from finetune.run.record import read_run
from tests.finetune.conftest import QUICK
from tests.manifests import edit_manifest


def run(selection: Path, out: Path, *more: str) -> int:
    return main(["run", "--selection", str(selection), "--out", str(out), "--track", "none", *QUICK, *more])


def test_a_run_leaves_its_artifact_and_the_adapter_loads_with_peft(
    selection: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert run(selection, tmp_path / "r") == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r")
    made = read_run(tmp_path / "r")
    assert [line["step"] for line in made.history] == [0, 1, 2, 3, 4, 5, 6]
    assert set(made.history[0]) == {"step", "train_loss", "eval_loss", "learning_rate", "tokens_seen", "padding_share"}
    assert made.history[0]["train_loss"] is None
    assert [line["eval_loss"] is not None for line in made.history] == [True, False, True, False, True, False, True]
    assert made.history[6]["eval_loss"] < made.history[0]["eval_loss"]
    assert made.manifest.config["best_step"] == 6
    adapter = json.loads((made.adapter_dir / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tiny_model)
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert PeftModel.from_pretrained(base, str(made.adapter_dir)).peft_config["default"].r == 16
    assert set(read_jsonl(tmp_path / "r" / "timings.jsonl")[1]) == {
        "step", "tokens_per_second", "elapsed_seconds", "peak_memory_gib",
    }  # fmt: skip


def test_equal_runs_leave_equal_bytes_and_a_finished_one_is_reused(selection: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run(selection, tmp_path / name, "lora_dropout=0.1") == 0
    for name in ("history.jsonl", "adapter/adapter_model.safetensors"):
        assert digest_file(tmp_path / "a" / name) == digest_file(tmp_path / "b" / name)
    made = read_run(tmp_path / "a").manifest.created_at
    assert run(selection, tmp_path / "a", "lora_dropout=0.1") == 0
    assert read_run(tmp_path / "a").manifest.created_at == made


def largest_difference(one: Path, other: Path) -> float:
    """Between the weights of two runs' adapters."""
    from safetensors.torch import load_file

    first, second = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def test_eight_times_one_is_one_times_eight(selection: Path, tmp_path: Path) -> None:
    """Rows of unequal length, unpacked: a mean of batch means would weigh the tokens of short rows more."""
    losses = []
    for name, batch, accumulation in (("a", 1, 8), ("b", 8, 1)):
        more = ["packing=none", f"per_device_train_batch_size={batch}", f"gradient_accumulation_steps={accumulation}"]
        assert run(selection, tmp_path / name, *more, "max_steps=3", "learning_rate=1e-3") == 0
        losses.append([line["train_loss"] for line in read_run(tmp_path / name).history[1:]])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert largest_difference(tmp_path / "a", tmp_path / "b") <= 1e-5


@pytest.mark.parametrize(
    ("more", "code", "sentence"),
    [
        (["--preset", "cpu-dem"], 2, 'Unknown preset "cpu-dem". Did you mean "cpu-demo"?'),
        (["lerning_rate=1"], 2, 'lerning_rate is not a setting (Did you mean "learning_rate"?).'),
        (["r=0", "learning_rate=-1"], 2, "The config has 2 problem(s)"),
        (["max_length=16"], 1, "tokens and max_length is 16; rows are never cut. Set max_length="),
        (["target_modules=[nothing]"], 1, "target_modules ['nothing'] do not fit"),
        (["pad_token=<none>"], 1, 'pad_token "<none>" is not in the vocabulary'),
        (["eval_steps=3", "logging_steps=2"], 2, "eval_steps 3 is not a multiple of logging_steps 2"),
        (["--track", "sometimes"], 2, '--track is "sometimes". Allowed: none, trackio, wandb, wandb-offline.'),
        (["--config", "none.yaml"], 1, "Could not read the config none.yaml"),
        (["target_modules=[q_proj"], 2, '"target_modules=[q_proj" cannot be read as YAML'),
        (["=1"], 2, '"=1" is not an override'),
        (["--resume", "nowhere"], 2, "--resume goes on with the settings the run was started with"),
    ],
)
def test_bad_input_is_one_line_with_the_next_step(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, sentence: str
) -> None:
    assert run(selection, tmp_path / "r", *more) == code
    assert sentence in capsys.readouterr().err


def test_a_target_module_that_no_layer_is_called_is_said(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for modules, n in (("[q_proj, v_porj, layers.1.self_attn.o_proj]", 1), ("[q_proj, v_proj]", 0), ("all-linear", 0)):
        assert run(selection, tmp_path / modules, f"target_modules={modules}", "max_steps=2") == 0
        said = capsys.readouterr().err
        assert said.count(" is called v_porj: the other target_modules get the adapter.") == n
        assert said.count(" is called ") == n


def test_a_broken_config_file_is_one_line_with_its_place(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("r: 4\nlearning_rate: [1\n")
    assert run(selection, tmp_path / "r", "--config", str(tmp_path / "c.yaml")) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path / 'c.yaml'}:3: not YAML (" in told and told.count("\n") == 1


def test_a_run_that_was_started_says_how_to_go_on_and_takes_no_other_settings(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curate.errors import UserError
    from curate.selection.record import read_selection
    from finetune.config import load_config
    from finetune.run.record import start_run

    assert main(["run", "--resume", "nowhere"]) == 1
    assert "There is no run nowhere that was started" in capsys.readouterr().err
    started = tmp_path / "r"
    chosen = load_config(None, None, QUICK, read_selection(selection).manifest.config["model"])
    assert start_run(started, chosen, read_selection(selection), resume=False) is False
    with pytest.raises(UserError, match="is an unfinished run. Go on with: finetune run --resume"):
        read_run(started)
    text = (started / "config.yaml").read_text()
    for changed in ("0.5", "abc"):
        (started / "config.yaml").write_text(text.replace("learning_rate: 0.01", f"learning_rate: {changed}"))
        assert main(["run", "--resume", str(started), "--track", "none"]) == 1
        assert "was changed after the run was started" in capsys.readouterr().err
    (started / "config.yaml").write_text(text)
    part = read_selection(selection).first_rows(20)
    assert part.first_rows(30) is part and len(part.selected) == 20
    with pytest.raises(UserError, match=f"{selection} is not the selection that {started} was started with"):
        start_run(started, chosen, part, resume=True)


def test_a_forecast_for_another_model_than_the_newest_selections_needs_no_tokenizer(
    selection: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_home / "selections").mkdir(parents=True)
    selection.rename(own_home / "selections" / "s")
    assert main(["forecast", "--preset", "gpt2", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["steps"] is None
    assert "steps and time are not known; name a --selection" in " ".join(told.err.split())


def test_a_gpu_that_is_asked_for_and_absent_is_an_error(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("THIS MACHINE HAS A GPU: the error cannot be shown here")
    assert run(selection, tmp_path / "r", "device=cuda") == 1
    assert "A GPU was asked for (device: cuda), and there is none" in capsys.readouterr().err


def test_a_selection_counted_with_another_tokenizer_is_refused(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_manifest(selection, lambda manifest: manifest["config"].update(tokenizer_digest="0" * 64))
    assert run(selection, tmp_path / "r") == 1
    assert "is not the one that the selection selection was counted with" in capsys.readouterr().err


def test_an_unfinished_selection_and_another_run_in_the_same_place_are_refused(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(selection, tmp_path / "r", "max_steps=2") == 0
    assert run(selection, tmp_path / "r", "max_steps=3") == 1
    assert "holds another run" in capsys.readouterr().err
    (selection / "manifest.json").unlink()
    assert run(selection, tmp_path / "new") == 1
    assert "is not finished: it has no manifest.json" in capsys.readouterr().err


def test_an_adapter_of_another_base_model_is_refused(selection: Path, tmp_path: Path) -> None:
    from curate.errors import UserError
    from finetune.model import load_adapter, load_base_model

    assert run(selection, tmp_path / "r", "max_steps=2") == 0
    made = read_run(tmp_path / "r")
    base = load_base_model(made.config)
    base.config.name_or_path = "another/model"
    with pytest.raises(UserError, match="belongs to .*tiny-llama, not to another/model"):
        load_adapter(base, made.adapter_dir)


def test_dry_run_prints_the_plan_and_leaves_nothing(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(selection, tmp_path / "r", "--dry-run") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["rows"], plan["bins"], plan["steps"], plan["eval_rows"]) == (40, 12, 6, 4)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("asked", "kernels", "given"), [
    ("auto", "there is no GPU", False), (True, "there is no GPU", True), (False, "there is no GPU", False),
    (True, None, False),
])  # fmt: skip
def test_activations_are_recomputed_where_that_is_asked_for_and_the_kernels_do_not_do_it(
    selection: Path, tiny_model: Path, tmp_path: Path, asked: object, kernels: str | None, given: bool
) -> None:
    from curate.selection.record import read_selection
    from finetune.config import RunConfig
    from finetune.run.job import prepare
    from finetune.trainer import training_arguments

    settings = dict(setting.split("=") for setting in QUICK)
    config = RunConfig(model=str(tiny_model), gradient_checkpointing=asked, **settings)  # type: ignore[arg-type]
    job = prepare(config, read_selection(selection), tmp_path / "r")
    job.kernels_refused = kernels
    assert training_arguments(job, "cpu", "float32", None).gradient_checkpointing is given


def test_the_notebooks_faults_are_said_once_and_reproduced(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows joined and cut at 100 tokens, all of them bins of exactly that; the prompt trained on too."""
    notebook = ["packing=joined", "completion_only_loss=false", "max_length=100", "max_steps=2"]
    assert run(selection, tmp_path / "r", *notebook) == 0
    told = capsys.readouterr().err
    assert told.count("rows are joined and cut, samples see each other, the prompt is trained on") == 1
    made = read_run(tmp_path / "r")
    assert [line["tokens_seen"] for line in made.history] == [0, 200, 400]
    assert [line["padding_share"] for line in made.history[1:]] == [0.0, 0.0]


def build_other_tokenizer(folder: Path) -> Path:
    """Save a byte-level tokenizer whose ids are not those of the tiny model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate([*alphabet, "<end>"])}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>").save_pretrained(folder)
    return folder


def test_rows_counted_with_another_models_tokenizer_are_refused_and_trapped(
    made_selection: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`curate select --tokenizer OTHER` says what the rows were counted with, not what the model reads."""
    from curate.cli import main as curate

    rows, other = made_selection.parent / "rows.jsonl", build_other_tokenizer(tmp_path / "other")
    selected = tmp_path / "s"
    select = ["select", "--dataset", str(rows), "--model", str(tiny_model), "--encoder", "tfidf", "--strategy", "first"]
    assert curate([*select, "--tokenizer", str(other), "--k", "20", "--out", str(selected)]) == 0
    capsys.readouterr()
    assert run(selected, tmp_path / "r") == 1
    assert (
        f"The selection was counted with the tokenizer of {other}, which is not that of {tiny_model}, "
        "the model to be trained." in capsys.readouterr().err
    )
    assert not (tmp_path / "r" / "history.jsonl").exists()
    assert main(["check", "--selection", str(selected), "--json", *QUICK]) == 1
    assert "tokenizer_differs" in json.loads(capsys.readouterr().out)["problems"]


class Guesser:
    """A model whose logits are `scale` at one token of `vocabulary` and 0 at all others."""

    training = False

    def __init__(self, scale: float, vocabulary: int = 100) -> None:
        import torch

        self.logits = torch.zeros(vocabulary)
        self.logits[7] = scale

    def parameters(self) -> Any:
        return iter([self.logits])

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def __call__(self, input_ids: Any, **_: Any) -> Any:
        from types import SimpleNamespace

        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))


@pytest.mark.parametrize(("scale", "loss", "outcome"), [
    (20.0, 4.55, "refused"), (0.0, 4.55, "said"), (20.0, 3.0, ""), (20.0, None, ""),
])  # fmt: skip
def test_a_base_model_that_reads_noise_is_refused_and_an_untrained_one_is_said(
    scale: float, loss: float | None, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from curate.errors import UserError
    from curate.tokens.tokenizers import EncodedExample
    from finetune.run.base_loss import require_reading

    arguments = (Guesser(scale), "some-model", loss, 100, [EncodedExample([1, 2, 3, 4], 2)], 0)
    if outcome == "refused":
        with pytest.raises(
            UserError, match=r"4\.55 nats a token at step 0, where uniform guessing is ln\(100\) = 4\.61"
        ):
            require_reading(*arguments)
        return
    require_reading(*arguments)
    assert ("some-model looks untrained" in capsys.readouterr().err) == (outcome == "said")


def test_the_record_says_which_share_of_the_selection_was_trained_on(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from finetune.run.record import share_seen

    assert run(selection, tmp_path / "part", "max_steps=2") == 0
    told = capsys.readouterr().err
    made = read_run(tmp_path / "part")
    config = made.manifest.config
    selected = sum(row.token_count for row in made.read_selection().selected)
    assert config["trained_tokens"] == made.history[-1]["tokens_seen"] < selected == config["selected_tokens"]
    assert config["epochs"] == round(config["trained_tokens"] / selected, 4) == round(share_seen(made) or 0, 4)
    facts = f"{config['trained_tokens']:,} tokens (of {selected:,} selected; {config['epochs']:.2f} epochs) in 2 steps"
    assert facts in told and facts in (made.path / "README.md").read_text()
    assert f"2 steps train on {config['trained_tokens']:,} of the {selected:,} selected tokens" in told
    assert run(selection, tmp_path / "whole", "max_steps=14", "eval_steps=12", "eval_rows=500") == 0
    told = capsys.readouterr().err
    assert "selected tokens (" not in told
    assert "max_steps is 14, and num_train_epochs=1 ends after 7 steps; num_train_epochs=3 is enough for all." in told
    assert "eval_rows is 500, and the selection holds out 10 rows: the eval loss is of these." in told
    whole = read_run(tmp_path / "whole")
    assert whole.manifest.config["steps"] == 7
    assert (whole.manifest.config["epochs"], share_seen(whole)) == (1.0, 1.0)


@pytest.mark.parametrize(("schedule", "shares"), [
    ("linear", [1 / 4, 2 / 4, 3 / 4, 1.0, 2 / 3, 1 / 3]), ("constant", [1.0] * 6),
    ("constant_with_warmup", [1 / 4, 2 / 4, 3 / 4, 1.0, 1.0, 1.0]),
])  # fmt: skip
def test_warm_up_starts_above_0_and_each_line_holds_the_rate_its_step_used(
    selection: Path, tmp_path: Path, schedule: str, shares: list[float]
) -> None:
    """The first step trains: its loss falls by the next one, at a quarter of the learning rate."""
    assert run(selection, tmp_path / "r", "warmup_steps=3", f"lr_scheduler_type={schedule}", "eval_steps=1") == 0
    history = read_run(tmp_path / "r").history
    assert [line["learning_rate"] for line in history[1:]] == pytest.approx([1e-2 * share for share in shares])
    assert history[0]["learning_rate"] is None
    assert history[1]["eval_loss"] < history[0]["eval_loss"]


def test_a_run_of_one_step_trains_and_says_that_warm_up_fills_it(
    selection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(selection, tmp_path / "r", "warmup_steps=4", "max_steps=1") == 0
    assert "warmup_steps 4 fills all 1 steps: the learning rate reaches 20% of 0.01" in capsys.readouterr().err
    made = read_run(tmp_path / "r")
    assert made.history[1]["eval_loss"] < made.history[0]["eval_loss"]


def test_every_method_overridden_of_trl_exists_there_with_the_expected_parameters() -> None:
    """Underlined ones are no promise: a new version of TRL or transformers that changes one fails here first."""
    import inspect

    from transformers import Trainer, TrainingArguments
    from trl import SFTTrainer

    from finetune.trainer import PackedTrainer

    overridden = {name for name in vars(PackedTrainer) if not name.startswith("__") and hasattr(SFTTrainer, name)}
    expected = {
        "_clip_grad_norm": ["self", "model"],
        "_save": ["self", "output_dir", "state_dict"],
        "_save_checkpoint": ["self", "model", "trial"],
        "_set_signature_columns_if_needed": ["self"],
        "compute_loss": ["self", "model", "inputs", "return_outputs", "num_items_in_batch"],
        "create_optimizer": ["self", "model"],
        "create_scheduler": ["self", "num_training_steps", "optimizer"],
        "floating_point_ops": ["self", "inputs"],
        "get_train_dataloader": ["self"],
        "log": ["self", "logs", "start_time"],
    }
    assert overridden - {"create_model_card"} == set(expected)
    for name, parameters in expected.items():
        assert list(inspect.signature(getattr(SFTTrainer, name)).parameters) == parameters
    assert "self.model_accepts_loss_kwargs" in inspect.getsource(Trainer)
    assert "_n_gpu" in inspect.getsource(TrainingArguments)
