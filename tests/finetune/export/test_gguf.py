"""`finetune export --gguf`: a file that other programs read, and that writes what the merged model writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from curate.cli import main as curate
from curate.errors import UserError
from curate.tokens.prompt import NO_NEWLINE, RAW, PromptTemplate
from curate.tokens.text_rule import text_rule
from finetune.cli import main
from finetune.export.modelfile import jinja_template, read_modelfile_template, render_modelfile
from tests.curate.tokens.tokenizer_families import legacy_sentencepiece, metaspace
from tests.finetune.conftest import QUICK


def split_first(digits: str) -> Any:
    """Llama 3's way of splitting, with another number of digits at a time."""
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    first = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([first, pre_tokenizers.ByteLevel(False, use_regex=False)])


SHAPE: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


TEMPLATE = "### Task: {instruction}\n### Answer:"


def train_tiny(folder: Path, tokenizer: Any, *more: str, kind: str = "llama, tied") -> Path:
    """A run of a tiny model of this kind with this tokenizer, on prompts in TEMPLATE."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    config = shapes()[kind]
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    GenerationConfig(repetition_penalty=1.4).save_pretrained(folder / "tiny")  # as Qwen's: no part of the GGUF file
    rows = [{"instruction": f"Count to {n}", "output": f"print(range({n}))"} for n in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "t.txt").write_text(TEMPLATE)
    words = ["select", "--dataset", str(folder / "rows.jsonl"), "--model", str(folder / "tiny"), "--encoder", "tfidf"]
    more_words = ["--holdout", "5", "--prompt-template", str(folder / "t.txt"), "--near-duplicate", "1", "--k", "20"]
    assert curate([*words, *more_words, "--out", str(folder / "s")]) == 0
    train = ["run", "--selection", str(folder / "s"), "--out", str(folder / "run"), *QUICK, "max_steps=4"]
    assert main([*train, "max_length=256", *more]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a SentencePiece tokenizer, as Llama 2 has it."""
    return train_tiny(tmp_path_factory.mktemp("gguf"), sentencepiece(legacy_sentencepiece))


@pytest.mark.parametrize("quantization", ["f16", "q8_0"])
def test_the_exported_file_is_read_by_the_gguf_package_and_writes_the_merged_models_text(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], quantization: str
) -> None:
    from gguf import GGUFReader

    capsys.readouterr()
    command = ["export", str(trained), "--gguf", "--quantize", quantization, "--out", str(tmp_path / "g"), "--json"]
    assert main(command) == 0
    exported = json.loads(capsys.readouterr().out)
    assert exported["compared"] == 4
    assert exported["same_text"] == 4 or quantization == "q8_0"
    assert sorted(path.name for path in (tmp_path / "g").iterdir()) == ["Modelfile", f"model-{quantization}.gguf"]
    reader = GGUFReader(tmp_path / "g" / exported["file"])
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.1.attn_q.weight"] == kinds["token_embd.weight"] == quantization.upper()
    assert kinds["blk.1.attn_norm.weight"] == "F32"
    assert "output.weight" not in kinds  # the embeddings are tied
    assert reader.fields["general.architecture"].contents() == "llama"
    assert reader.fields["llama.attention.head_count_kv"].contents() == 2
    assert reader.fields["tokenizer.ggml.model"].contents() == "llama"
    after = "\n### Answer:\n"
    assert read_modelfile_template((tmp_path / "g" / "Modelfile").read_text()) == ("### Task: ", after)


@pytest.mark.long
def test_a_run_with_smollm2s_tokenizer_is_exported_with_its_splitting(tiny_model: Path, tmp_path: Path) -> None:
    from gguf import GGUFReader

    from curate.tokens.tokenizers import load_tokenizer

    run = train_tiny(tmp_path, load_tokenizer("smollm2-135m"))
    assert main(["export", str(run), "--gguf"]) == 0
    reader = GGUFReader(run / "gguf" / "model-f16.gguf")
    assert reader.fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert reader.fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert reader.fields["tokenizer.ggml.add_bos_token"].contents() is False


@pytest.mark.parametrize(
    ("kind", "build"), [("qwen3, tied", legacy_sentencepiece), ("gemma3", metaspace("never"))], ids=["qwen3", "gemma3"]
)
def test_runs_of_todays_families_leave_with_the_merged_models_text(
    kind: str, build: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_tiny(tmp_path, sentencepiece(build), "attn_implementation=eager", kind=kind)
    capsys.readouterr()
    assert main(["export", str(run), "--gguf", "--json"]) == 0
    exported = json.loads(capsys.readouterr().out)
    assert (exported["same_text"], exported["compared"]) == (4, 4)


@pytest.mark.parametrize(
    ("pre_tokenizer", "name"),
    [
        (pre_tokenizers.ByteLevel(add_prefix_space=False), "gpt-2"),
        (pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]), "smollm"),
        (split_first(r"\p{N}{1,3}"), "llama-bpe"),
        (split_first(r"\p{N}"), "qwen2"),
        (split_first(r"\p{N}{1,4}"), None),
    ],
)
def test_how_a_tokenizer_splits_a_text_has_llama_cpps_name_or_is_refused(pre_tokenizer: Any, name: str | None) -> None:
    from finetune.export.gguf_tokenizer import _splitting

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizer
    spec = json.loads(core.to_str())
    if name is None:
        with pytest.raises(UserError, match="splits texts in a way that llama.cpp does not know"):
            _splitting(spec)
    else:
        assert _splitting(spec) == name


def shapes() -> dict[str, Any]:
    from transformers import Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    gemma = SHAPE | {"num_hidden_layers": 7, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 8}

    return {
        "llama": LlamaConfig(**SHAPE),
        "llama, tied": LlamaConfig(**SHAPE, tie_word_embeddings=True),
        "llama with biases": LlamaConfig(**SHAPE, attention_bias=True),
        "llama 3": LlamaConfig(**SHAPE, rope_parameters=LLAMA3, tie_word_embeddings=True),
        "mistral": MistralConfig(**SHAPE, head_dim=32, sliding_window=None),
        "qwen2": Qwen2Config(**SHAPE),
        "qwen3": Qwen3Config(**SHAPE, head_dim=16),
        "qwen3, tied": Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=True),
        "gemma3": Gemma3TextConfig(**gemma),
    }


def sentencepiece(build: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    core = build()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )
    tokenizer.clean_up_tokenization_spaces = False
    return tokenizer


def random_model(config: Any, factor: float = 1.0) -> Any:
    """A model whose biases and norms vary too, in numbers that float16 holds; its other weights times `factor`."""
    import torch
    from transformers import AutoModelForCausalLM

    from finetune.export.gguf_model import round_to_float16

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "norm.weight")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
            else:
                parameter.mul_(factor)
    round_to_float16(model, torch.float32)
    return model


@pytest.mark.parametrize("kind", list(shapes()))
def test_a_model_read_back_from_its_file_computes_the_same_numbers(kind: str, tmp_path: Path) -> None:
    import torch

    from finetune.export.gguf_file import write_gguf
    from finetune.export.gguf_model import read_gguf_model

    tokenizer = sentencepiece(legacy_sentencepiece)
    config = shapes()[kind]
    config.vocab_size = len(tokenizer) + 5  # more rows than tokens, as many models have
    model = random_model(config)
    write_gguf(tmp_path / "m.gguf", model, tokenizer, RAW, "tiny", "f16")
    back = read_gguf_model(tmp_path, "m.gguf", config, torch.float32, torch.device("cpu"))
    ids = torch.arange(100, 150)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, back(ids).logits)


def test_llama_3s_scaling_is_written_as_the_factors_that_llama_cpp_divides_by(tmp_path: Path) -> None:
    """Its own formula: short waves as they are, long ones by 8, a ramp between them."""
    from finetune.export.gguf_file import rope_factors

    factors = rope_factors(shapes()["llama 3"])
    waves = [2 * 3.141592653589793 * 500000.0 ** (2 * i / 16) for i in range(8)]
    ramp = [(64 / wave - 1) / 3 for wave in waves]
    expected = [
        1.0 if wave < 16 else 8.0 if wave > 64 else 1 / ((1 - r) / 8 + r) for wave, r in zip(waves, ramp, strict=True)
    ]
    assert factors.tolist() == pytest.approx(expected, rel=1e-6)
    assert factors.tolist()[0] == 1.0
    assert factors.tolist()[-1] == 8.0


TEXTS = [
    "Sort it.\n", "def f(x):\n    return x\n", "  two blanks, then Grüße and 日本\n\n", "x = 12345\n", "a", "</s>\n",
]  # fmt: skip


@pytest.mark.parametrize("build", [legacy_sentencepiece, metaspace("first")], ids=["by a normaliser", "by Metaspace"])
def test_a_sentencepiece_tokenizer_read_back_gives_the_same_ids(build: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finetune.export.gguf_file import write_gguf

    tokenizer = sentencepiece(build)
    config = shapes()["llama"]
    config.vocab_size = len(tokenizer)
    model = AutoModelForCausalLM.from_config(config)
    write_gguf(tmp_path / "m.gguf", model, tokenizer, RAW, "tiny", "f16")
    back = AutoTokenizer.from_pretrained(tmp_path, gguf_file="m.gguf")
    assert text_rule(back).begin(TEXTS) == text_rule(tokenizer).begin(TEXTS)


@pytest.mark.parametrize(
    ("text", "modelfile_text"),
    [
        ("{instruction}", "{{ .Prompt }}\n"),
        ("### Task: {instruction}\n### Answer:", "### Task: {{ .Prompt }}\n### Answer:\n"),
        ("{instruction}" + NO_NEWLINE, "{{ .Prompt }}"),
        (
            "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant",
            "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            '{{ x }} """{instruction}""" {{',
            '{{ "{{" }} x }} {{ "\\"\\"\\"" }}{{ .Prompt }}{{ "\\"\\"\\"" }} {{ "{{" }}\n',
        ),
        ('"{instruction}"', '"{{ .Prompt }}"\n'),
    ],
)
def test_the_modelfiles_template_is_the_prompt_template_in_ollamas_notation(text: str, modelfile_text: str) -> None:
    template = PromptTemplate("t", text)
    modelfile = render_modelfile("m.gguf", template)
    assert modelfile == f'FROM ./m.gguf\nTEMPLATE """{modelfile_text}"""\nPARAMETER temperature 0\n'
    assert read_modelfile_template(modelfile) == template.around


def test_the_chat_template_in_the_file_renders_one_turn_as_the_prompt_template_does() -> None:
    import jinja2

    template = PromptTemplate("t", 'Say "{instruction}" {{ twice }}:\n')
    turns = [{"role": "user", "content": "a\n{b}"}]
    assert jinja2.Template(jinja_template(template)).render(messages=turns) == template.render("a\n{b}")


def test_a_file_that_writes_another_text_is_not_kept(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("finetune.export.gguf_model.texts_of_file", lambda *_: ["", "", "", ""])
    assert main(["export", str(trained), "--gguf", "--out", str(tmp_path / "g" / "x")]) == 1
    assert "writes the merged model's greedy text on 0 of 4 held-out prompts" in capsys.readouterr().err
    assert list((tmp_path / "g").iterdir()) == []


def test_what_cannot_be_exported_is_one_line(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import GemmaConfig, LlamaConfig, SmolLM3Config

    from finetune.export.gguf_file import require_exportable

    assert main(["export", str(trained)]) == 2
    assert "Give --gguf" in capsys.readouterr().err
    assert main(["export", str(trained), "--gguf", "--quantize", "q4_k_m"]) == 2
    assert "llama.cpp's llama-quantize makes others from the f16 file" in capsys.readouterr().err
    with pytest.raises(UserError, match="this model is a gemma"):
        require_exportable(GemmaConfig())
    with pytest.raises(UserError, match="a smollm3 .transformers' reader of GGUF files does not know it"):
        require_exportable(SmolLM3Config())
    gemma = shapes()["gemma3"]
    gemma.query_pre_attn_scalar = 256
    with pytest.raises(UserError, match="This Gemma 3 differs from what llama.cpp takes for granted"):
        require_exportable(gemma)
    with pytest.raises(UserError, match="in the way yarn"):
        require_exportable(LlamaConfig(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}))
