"""`finetune export --gguf`: a run as a GGUF file and a Modelfile, read back and compared before they are kept."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel

from curate.artifact import write_text
from curate.errors import UserError
from curate.loading import load_pretrained
from curate.pool.dialogue import prompt_of
from curate.selection.record import Selection
from curate.tokens.prompt import NO_NEWLINE, SLOT, PromptTemplate
from curate.tokens.text_rule import text_rule
from curate.tokens.tokenizers import encode_prompt
from finetune.export.gguf_file import FILE_TYPES, require_exportable, rope_kind, write_gguf
from finetune.export.merged_model import PROMPTS_COMPARED, greedy_texts, whole_folder
from finetune.export.modelfile import read_modelfile_template, render_modelfile
from finetune.model import load_base_model, merge_adapter
from finetune.run.record import Run
from finetune.run.tokenizer import load_selections_tokenizer

QUANTIZATIONS = tuple(FILE_TYPES)
MODELFILE = "Modelfile"


@dataclass(frozen=True)
class Exported:
    """Where file and Modelfile lie; on how many of `compared` held-out prompts its text is the merged model's."""

    path: Path
    file: str
    quantization: str
    same_text: int
    compared: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "path": str(self.path)}


def export_gguf(run: Run, out: Path | None = None, quantization: str = "f16") -> Exported:
    """Write the run's merged weights as GGUF, with a Modelfile for Ollama, into `out` or gguf/ in the run.

    Both are read back as others would: the prompt is rendered by the Modelfile's template, tokenised by the file's own
    tokenizer, and continued greedily with the file's weights. Where that is not the merged model's text on every
    held-out prompt a float16 file is not kept; q8_0 rounds the weights, so there the number is said and no more.
    """
    target = out or run.path / "gguf"
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} already exists.", "Name another --out, or remove it.")
    run.check_adapter()
    selection = run.read_selection()
    tokenizer = load_selections_tokenizer(selection)
    instructions = prompts_to_compare(selection, tokenizer)
    base = load_base_model(run.config)
    require_exportable(base.config)
    merged = merge_adapter(base, run.adapter_dir)
    computing = torch.float16 if merged.device.type == "cuda" else torch.float32
    round_to_float16(merged, computing)
    file = f"model-{quantization}.gguf"
    with whole_folder(target) as folder:
        write_gguf(folder / file, merged, tokenizer, selection.template, run.path.name, quantization)
        write_text(folder / MODELFILE, render_modelfile(file, selection.template))
        ids = [encode_prompt(tokenizer, selection.template, each) for each in instructions]
        before = greedy_texts(merged, tokenizer, ids)
        shape, device, decoding = merged.config, merged.device, merged.generation_config
        del merged, base
        back = read_gguf_model(folder, file, shape, computing, device)
        back.generation_config = decoding  # a penalty there is no part of the file, and would make another text
        after = texts_of_file(folder, file, back, instructions)
        same = sum(a == b for a, b in zip(before, after, strict=True))
        if same < len(ids) and quantization == "f16":
            raise UserError(
                f"The GGUF file, read back, writes the merged model's greedy text on {same} of {len(ids)} held-out "
                "prompts; it was not kept.",
                "Use the merged model with transformers or vLLM: finetune merge",
            )
    return Exported(target, file, quantization, same, len(ids))


def round_to_float16(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Round every weight to what float16 can hold, kept in `dtype`; the frequencies of positions stay as they are."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.float16).to(dtype)


def prompts_to_compare(selection: Selection, tokenizer: Any) -> list[str]:
    """Return questions of held-out rows, of conversations the first.

    Those that spell a control token are left out: llama.cpp would take it for one.
    """
    controls = text_rule(tokenizer).controls
    prompts = (prompt_of(row) for row in selection.holdout or selection.selected)
    questions = (prompt if isinstance(prompt, str) else prompt.rounds[0][0] for prompt in prompts)
    return list(islice((each for each in questions if not controls.spelled_in(each)), PROMPTS_COMPARED))


def texts_of_file(folder: Path, file: str, model: PreTrainedModel, instructions: Sequence[str]) -> list[str]:
    """Return what the exported `model` writes after each instruction, by the file's tokenizer and the Modelfile."""
    source = str(folder)
    tokenizer = load_pretrained(AutoTokenizer, source, "tokenizer", gguf_file=file)
    tokenizer.clean_up_tokenization_spaces = False
    before, after = read_modelfile_template((folder / MODELFILE).read_text(encoding="utf-8"))
    ending = after.removesuffix("\n") if after.endswith("\n") else after + NO_NEWLINE
    template = PromptTemplate(MODELFILE, f"{before}{SLOT}{ending}")
    ids = [encode_prompt(tokenizer, template, each) for each in instructions]
    return greedy_texts(model, tokenizer, ids)


def read_gguf_model(
    folder: Path, file: str, shape: PretrainedConfig, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """Return the model in a GGUF file, by transformers' reader.

    It passes over Llama 3's scaling, whether there are biases, the width of Qwen3's heads, and what all Gemma 3 have in
    common: those are of `shape`.
    """
    source = str(folder)
    config = load_pretrained(AutoConfig, source, "model", gguf_file=file)
    if rope_kind(shape) != "default" or shape.model_type == "gemma3_text":
        config.rope_parameters = shape.rope_parameters
    if shape.model_type == "gemma3_text":
        config.layer_types, config.query_pre_attn_scalar = shape.layer_types, shape.query_pre_attn_scalar
    for name in ("attention_bias", "mlp_bias", *(("head_dim",) if config.model_type == "qwen3" else ())):
        if hasattr(config, name):
            setattr(config, name, getattr(shape, name, False))
    with contextlib.redirect_stderr(io.StringIO()):  # the reader's own progress bar
        model = load_pretrained(
            AutoModelForCausalLM, source, "model", gguf_file=file, config=config, dtype=dtype, device_map={"": device}
        )
    return model.eval()
