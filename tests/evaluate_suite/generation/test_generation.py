"""Generation: the same text batched as alone, resumable, seeded, honest about why it stopped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UsageError, UserError
from curate.tokens.prompt import RAW
from curate.tokens.text_rule import text_rule
from curate.tokens.tokenizers import encode_examples, encode_prompt
from evaluate_suite.generation.engines import build_tasks, finish, generate, generate_to_file
from evaluate_suite.generation.record import DecodingSettings, Generation, GenerationTask, sample_seed
from tests.curate.tokens.tokenizer_families import EXACT, wrap

VOCABULARY = 61
END = 2


class NumberTokenizer:
    """Ids as words; enough of a tokenizer for decoding."""

    eos_token_id = END
    bos_token_id = 1
    pad_token_id = None

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return " ".join(map(str, ids))

    def __call__(self, texts: str | list[str], **_: object) -> dict[str, Any]:
        if isinstance(texts, str):
            return {"input_ids": [1, 3]}
        return {"input_ids": [[3 + len(word) for word in text.split()] for text in texts]}


def build_model(kind: str) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    if kind == "llama":
        llama = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=96, initializer_range=0.4, bos_token_id=1, eos_token_id=END,
        )  # fmt: skip
        return LlamaForCausalLM(llama)
    gpt2 = GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=96, initializer_range=0.4, bos_token_id=1,
        eos_token_id=END,
    )  # fmt: skip
    return GPT2LMHeadModel(gpt2)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    return build_model(request.param)


@pytest.fixture(scope="module")
def llama() -> Any:
    return build_model("llama")


def make_tasks(count: int = 24) -> list[GenerationTask]:
    import numpy as np

    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 30, count)
    return [
        GenerationTask(f"p{i}", f"prompt {i}", [1, *(int(t) for t in rng.integers(3, VOCABULARY, length - 1))])
        for i, length in enumerate(lengths)
    ]


@pytest.mark.parametrize(("engine", "batch_size"), [("slots", 1), ("slots", 5), ("slots", 64), ("plain", 7)])
def test_a_batch_gives_the_text_of_one_prompt_at_a_time(model: Any, engine: str, batch_size: int) -> None:
    tasks, settings = make_tasks(), DecodingSettings(max_new_tokens=30)
    alone = [generate(model, NumberTokenizer(), [task], settings, engine="plain")[0] for task in tasks]
    batched = generate(model, NumberTokenizer(), tasks, replace(settings, batch_size=batch_size), engine=engine)
    assert batched == alone
    assert {g.stop_reason for g in alone} == {"end_token", "max_new_tokens"}


def test_new_tokens_are_counted_apart_from_the_prompt_with_the_end_token(llama: Any) -> None:
    generations = generate(llama, NumberTokenizer(), make_tasks(), DecodingSettings(max_new_tokens=30))
    for g in generations:
        ended = g.stop_reason == "end_token"
        assert g.new_tokens == len(g.completion.split()) + ended
        assert str(END) not in g.completion.split()
        assert ended or g.new_tokens == 30


def test_no_end_token_comes_before_min_new_tokens(llama: Any) -> None:
    settings = DecodingSettings(max_new_tokens=20, min_new_tokens=20)
    for engine in ("slots", "plain"):
        generations = generate(llama, NumberTokenizer(), make_tasks(), settings, engine=engine)
        assert {(g.new_tokens, g.stop_reason) for g in generations} == {(20, "max_new_tokens")}


def test_the_models_own_generation_config_changes_nothing(llama: Any) -> None:
    from transformers import GenerationConfig

    before = llama.generation_config
    expected = generate(llama, NumberTokenizer(), make_tasks(6), DecodingSettings(max_new_tokens=10))
    llama.generation_config = GenerationConfig(
        do_sample=True, temperature=9.0, repetition_penalty=5.0, max_length=3, eos_token_id=END
    )
    odd = llama.generation_config
    try:
        for engine in ("slots", "plain"):
            got = generate(llama, NumberTokenizer(), make_tasks(6), DecodingSettings(max_new_tokens=10), engine=engine)
            assert got == expected
        assert llama.generation_config is odd
    finally:
        llama.generation_config = before


def sampled(model: Any, batch_size: int, seed: int = 0) -> list[Generation]:
    settings = DecodingSettings(12, batch_size=batch_size, do_sample=True, samples=3, seed=seed, temperature=1.5)
    prompts = [(f"p{i}", "a bb ccc"[: 2 * i + 1]) for i in range(4)]
    tasks = build_tasks(NumberTokenizer(), RAW, prompts, settings)
    return generate(model, NumberTokenizer(), tasks, settings)


def test_a_sample_depends_on_its_recorded_seed_and_nothing_else(llama: Any) -> None:
    first = sampled(llama, 12)
    assert sampled(llama, 2) == first
    assert [(g.prompt_id, g.sample) for g in first[:4]] == [("p0", 0), ("p0", 1), ("p0", 2), ("p1", 0)]
    assert first[1].seed == sample_seed(0, "p0", 1)
    assert len({g.completion for g in first if g.prompt_id == "p3"}) == 3
    assert [g.completion for g in sampled(llama, 12, seed=1)] != [g.completion for g in first]


def test_nucleus_sampling_draws_by_the_inverse_of_the_distribution() -> None:
    import torch

    from evaluate_suite.generation.slots import sample_top_p

    logits = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25]])).expand(5, 4)
    draws = torch.tensor([0.0, 0.66, 0.67, 0.99, 0.999999], dtype=torch.float64)
    # The nucleus of 0.7 is {1: 0.5, 3: 0.25}: ids below 2/3 of the mass are 1, the rest 3.
    assert sample_top_p(logits, draws, 1.0, 0.7) == [1, 1, 3, 3, 3]
    assert sample_top_p(logits, draws, 1.0, 1.0) == [1, 3, 3, 0, 0]


def test_the_adapter_is_applied_and_not_merged(llama: Any) -> None:
    pytest.importorskip("peft")
    import torch
    from peft import LoraConfig, get_peft_model

    base = build_model("llama")
    weight = base.model.layers[0].self_attn.q_proj.weight.clone()
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    got = generate(adapted, NumberTokenizer(), make_tasks(8), DecodingSettings(max_new_tokens=10, batch_size=3))
    alone = generate(adapted, NumberTokenizer(), make_tasks(8), DecodingSettings(max_new_tokens=10), engine="plain")
    assert got == alone
    assert got != generate(llama, NumberTokenizer(), make_tasks(8), DecodingSettings(max_new_tokens=10))
    assert torch.equal(base.model.layers[0].self_attn.q_proj.base_layer.weight, weight)


class KilledError(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was(llama: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, tasks, settings = tmp_path / "generations.jsonl", make_tasks(), DecodingSettings(max_new_tokens=8)
    asked: list[int] = []

    def run(missing: Sequence[GenerationTask], save: Any, kill_after: int = 10**6) -> None:
        asked.append(len(missing))
        done = 0

        def on_result(generation: Generation) -> None:
            nonlocal done
            save(generation)
            done += 1
            if done == kill_after:
                raise KilledError

        generate(llama, NumberTokenizer(), missing, settings, on_result=on_result)

    with pytest.raises(KilledError):
        generate_to_file(path, lambda missing, save: run(missing, save, 7), tasks, "key")
    with path.open("ab") as file:
        file.write(b'{"prompt_id": "torn')
    resumed = generate_to_file(path, run, tasks, "key")
    again = generate_to_file(path, run, tasks, "key")
    assert asked == [24, 17]
    assert resumed == again == generate(llama, NumberTokenizer(), tasks, settings)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["prompt_id"] for line in lines] == [task.prompt_id for task in tasks]
    assert generate_to_file(path, run, tasks, "of another model") == resumed
    assert asked == [24, 17, 24]
    assert "24 cached generations" in capsys.readouterr().err


def test_a_prompt_without_room_is_refused_before_any_work(llama: Any) -> None:
    long = GenerationTask("long", "x", [1] * 80)
    with pytest.raises(UserError, match="The prompt long has 80 tokens; with 20 new ones .* context of 96"):
        generate(llama, NumberTokenizer(), [*make_tasks(2), long], DecodingSettings(max_new_tokens=20))
    with pytest.raises(UserError, match="The prompt empty has no tokens"):
        generate(llama, NumberTokenizer(), [GenerationTask("empty", "", [])], DecodingSettings(max_new_tokens=2))


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"batch_size": 0}, {"temperature": 0.0}, {"top_p": 1.5}, {"samples": 2}]
)
def test_wrong_settings_are_usage_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        DecodingSettings(**wrong).check()


def test_an_unknown_engine_is_a_usage_error(llama: Any) -> None:
    with pytest.raises(UsageError, match='Did you mean "slots"'):
        generate(llama, NumberTokenizer(), make_tasks(1), DecodingSettings(), engine="slot")


def test_a_model_with_an_attention_window_is_decoded_plainly() -> None:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    from evaluate_suite.generation.slots import why_not_slots

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=16, max_position_embeddings=96, bos_token_id=1, eos_token_id=END,
    )  # fmt: skip
    mistral = MistralForCausalLM(config)
    assert why_not_slots(mistral, 17) == "its attention window of 16 tokens is shorter than 17"
    assert why_not_slots(mistral, 16) is None
    tasks, settings = make_tasks(3), DecodingSettings(max_new_tokens=20)
    auto = generate(mistral, NumberTokenizer(), tasks, settings)
    assert auto == generate(mistral, NumberTokenizer(), tasks, settings, engine="plain")
    with pytest.raises(UserError, match="attention window"):
        generate(mistral, NumberTokenizer(), tasks, settings, engine="slots")


def test_vllm_absent_is_one_clear_line_before_anything_is_loaded(tmp_path: Path) -> None:
    from evaluate_suite.generation.engines import checked_engine

    with pytest.raises(UserError, match="needs the package vllm, which is not installed. Run `pip install vllm`"):
        checked_engine("vllm")
    with pytest.raises(UsageError, match='Unknown engine "vlm". Did you mean "vllm"'):
        checked_engine("vlm")


def test_vllm_is_asked_for_the_same_ids_ends_and_adapter(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in answers as our own engine does: what is shown is what vLLM is asked and how its answers are read."""
    import sys
    from types import ModuleType, SimpleNamespace

    from evaluate_suite.generation.vllm_engine import VllmEngine
    from finetune.config import load_config

    tasks, settings = make_tasks(5), DecodingSettings(max_new_tokens=30)
    expected = generate(llama, NumberTokenizer(), tasks, settings)
    by_prompt = {tuple(task.prompt_ids): g for task, g in zip(tasks, expected, strict=True)}
    asked: dict[str, Any] = {}

    class LLM:
        def __init__(self, **given: Any) -> None:
            asked.update(given)

        def generate(self, prompts: list[Any], parameters: list[Any], **given: Any) -> list[Any]:
            asked.update(given, parameters=parameters)
            answers = []
            for prompt in prompts:
                g = by_prompt[tuple(prompt["prompt_token_ids"])]
                ended = g.stop_reason == "end_token"
                ids = [*map(int, g.completion.split()), *([END] if ended else [])]
                one = SimpleNamespace(token_ids=ids, finish_reason="stop" if ended else "length")
                answers.append(SimpleNamespace(outputs=[one]))
            return answers

    fake, request = ModuleType("vllm"), ModuleType("vllm.lora.request")
    fake.LLM, fake.SamplingParams = LLM, lambda **given: given  # type: ignore[attr-defined]
    request.LoRARequest = lambda *given: given  # type: ignore[attr-defined]
    for name, module in (("vllm", fake), ("vllm.lora", ModuleType("vllm.lora")), ("vllm.lora.request", request)):
        monkeypatch.setitem(sys.modules, name, module)
    engine = VllmEngine(load_config(None, model="/no/such/folder", overrides=["r=100"]))
    kept: list[Generation] = []
    made = engine.generate(NumberTokenizer(), tasks, settings, adapter_dir="/run/adapter", on_result=kept.append)
    assert made == expected and sorted(g.prompt_id for g in kept) == sorted(g.prompt_id for g in expected)
    assert (asked["quantization"], asked["max_lora_rank"], asked["skip_tokenizer_init"]) == ("bitsandbytes", 128, True)
    assert asked["lora_request"] == ("/run/adapter", 1, "/run/adapter")
    first = {"max_tokens": 30, "min_tokens": 0, "stop_token_ids": [END], "detokenize": False, "temperature": 0.0}
    assert asked["parameters"] == [first] * 5
    engine.generate(NumberTokenizer(), tasks, settings)
    assert asked["lora_request"] is None


@pytest.mark.parametrize("kind", [kind for kind in EXACT if "blank" in kind])
def test_a_completion_keeps_the_blanks_it_begins_with(kind: str) -> None:
    """A base model's continuation of a HumanEval prompt: one blank less is an IndentationError."""
    tokenizer = wrap(EXACT[kind]())
    prompt = "def add_all(xs):\n"
    rule = text_rule(tokenizer)
    for text in ("    return 1\n", " x", "x", "\tx", "\n\n  x"):
        task = GenerationTask("x", prompt, encode_prompt(tokenizer, RAW, prompt.removesuffix("\n")))
        assert finish(task, tokenizer, rule.resume([text])[0], True).completion == text


def test_a_model_that_has_learnt_rows_writes_them_to_the_blank() -> None:
    """Trained with a SentencePiece tokenizer on rows that begin with and without blanks, then asked by our engines."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from finetune.batches.packing import build_packed_batch
    from finetune.batches.token_loss import token_nll

    tokenizer = wrap(EXACT["SentencePiece BPE, blank at the first text"]())
    rows = [("Sort it", "    return x\n"), ("Write", "def f(x):\n    return x\n"), ("  x", "\ty = 2 </s>\n")]
    torch.manual_seed(0)
    shape = LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, vocab_size=len(tokenizer),
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(shape)
    batch = build_packed_batch([encode_examples(tokenizer, RAW, rows)], 3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        token_nll(model, batch)[0].mean().backward()
        optimizer.step()
    tasks = build_tasks(tokenizer, RAW, [(prompt, prompt) for prompt, _ in rows], DecodingSettings(max_new_tokens=40))
    for engine in ("slots", "plain"):
        written = generate(model, tokenizer, tasks, DecodingSettings(max_new_tokens=40), engine=engine)
        assert [(g.completion, g.stop_reason) for g in written] == [(output, "end_token") for _, output in rows]


def test_no_tasks_give_no_generations(llama: Any) -> None:
    assert generate(llama, NumberTokenizer(), [], DecodingSettings()) == []


def test_prompts_of_like_length_share_a_pass_and_a_long_one_does_not_pad_the_others() -> None:
    from evaluate_suite.generation.slots import prefill_groups

    assert prefill_groups([40, 41, 42, 43, 44, 230]) == [(0, 5), (5, 6)]
    assert prefill_groups([50] * 8) == [(0, 8)]
    assert prefill_groups([3, 90]) == [(0, 2)]
    assert prefill_groups([0, 0, 5]) == [(2, 3)]
    assert prefill_groups([0, 0]) == []
    assert prefill_groups([]) == []
    for lengths in (sorted((7 * i * i) % 211 for i in range(n)) for n in range(1, 60)):
        groups = prefill_groups(lengths)
        assert [i for first, last in groups for i in range(first, last)] == [i for i, n in enumerate(lengths) if n]


@pytest.mark.parametrize("batch_size", [3, 16])
def test_prompts_of_very_different_lengths_give_the_text_of_one_at_a_time(llama: Any, batch_size: int) -> None:
    import numpy as np

    rng = np.random.default_rng(5)
    lengths = [1, 1, 2, 3, 60, 61, 62, 8, 9, 70, 40, 41, 42, 43, 30, 1]
    tasks = [
        GenerationTask(f"p{i}", "x", [1, *(int(t) for t in rng.integers(3, VOCABULARY, length - 1))])
        for i, length in enumerate(lengths)
    ]
    settings = DecodingSettings(max_new_tokens=20)
    alone = [generate(llama, NumberTokenizer(), [task], settings, engine="plain")[0] for task in tasks]
    batched = generate(llama, NumberTokenizer(), tasks, replace(settings, batch_size=batch_size), engine="slots")
    assert batched == alone
