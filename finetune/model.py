"""Base models and adapters: loaded, quantised, saved. The only file that imports peft and bitsandbytes."""

from __future__ import annotations

import contextlib
import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from peft import LoraConfig, LoraModel, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, PreTrainedTokenizerBase

from curate.console import say
from curate.defaults import SMOLLM2
from curate.errors import UserError
from curate.loading import load_pretrained, quiet
from curate.tokens.embedded_model import smollm2_as_safetensors
from finetune.attention import register
from finetune.config import RunConfig
from finetune.parallel.processes import this_process
from finetune.run.record import read_run
from finetune.run.tokenizer import load_selections_tokenizer

AdaptedModel: TypeAlias = PeftModel  # a base model with an adapter: what attach_adapter and load_adapter return

with quiet():  # bitsandbytes greets on import
    from bitsandbytes.nn import Linear4bit
    from bitsandbytes.optim import PagedAdamW8bit

# What of a run's config decides the numbers its base model computes.
BASE_SETTINGS = (
    "model", "device", "dtype", "attn_implementation", "load_in_4bit", "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant",
)  # fmt: skip
_kept: dict[tuple[Any, ...], PreTrainedModel] = {}  # of this process: one model at most
_keeps = False


def resolve_device(wanted: Literal["auto", "cuda", "mps", "cpu"]) -> str:
    """ "cuda", "mps" or "cpu"; a GPU that is asked for and absent is an error."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "A GPU was asked for (device: cuda), and there is none that torch can use.",
            "Set device=cpu, or check the driver with nvidia-smi.",
        )
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise UserError("Apple's GPU was asked for (device: mps), and torch finds none.", "Set device=cpu.")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def resolve_dtype(wanted: str, device: str) -> str:
    """Return the name of the dtype to compute in.

    "auto" is bfloat16 on a GPU that has it, else float16, and float32 on a CPU and on mps. "fastest" differs on a CPU
    with AMX, which multiplies bfloat16 several times as fast as float32 (others emulate it and are slower).
    """
    if wanted not in ("auto", "fastest"):
        return wanted
    if device != "cuda":
        return "bfloat16" if device == "cpu" and wanted == "fastest" and multiplies_bfloat16() else "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def multiplies_bfloat16() -> bool:
    """Return whether this machine's CPU has matrix units for bfloat16 (Intel's AMX)."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16"))


def own_device(device: str) -> str:
    """`device`, with this process's number where several share the GPUs: accelerate wants it said for 4-bit models."""
    several = device == "cuda" and this_process().size > 1
    return f"cuda:{torch.cuda.current_device()}" if several else device


def load_base_model(config: RunConfig, place: str | None = None) -> PreTrainedModel:
    """The frozen base model of a run, quantised when the config says so, on its device and in eval mode.

    Hub id, local folder (safetensors) or smollm2-135m. Remote code is never run. `place` "cpu" leaves it in the
    machine's memory, in the form that its device computes with: for weights that are spread over GPUs and fit none.
    Inside `base_model_kept` the weights are read once, and every call returns modules of its own around them.
    """
    if not _keeps or place is not None:
        return _read_base_model(config, place)
    key = tuple(getattr(config, name) for name in BASE_SETTINGS)
    gc.collect()  # models of earlier runs are cycles of modules, and hold on to memory of the GPU
    if key not in _kept:
        _kept.clear()
        _kept[key] = _read_base_model(config, None)
    return _with_same_weights(_kept[key])


@contextlib.contextmanager
def base_model_kept() -> Iterator[None]:
    """Let what is loaded inside the block stay in memory for the next such block of this process.

    For runs that share a frozen base model. `forget_base_model` lets it go.
    """
    global _keeps
    before, _keeps = _keeps, True
    try:
        yield
    finally:
        _keeps = before


def forget_base_model() -> None:
    """Let the kept base model go."""
    _kept.clear()


def _with_same_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of the modules around the same weights: an adapter or kernels put into it do not reach `model`."""
    tensors = [*model.parameters(), *model.buffers()]
    states = [state for module in model.modules() if (state := getattr(module, "quant_state", None)) is not None]
    states += [state for tensor in tensors if (state := getattr(tensor, "quant_state", None)) is not None]
    return copy.deepcopy(model, {id(each): each for each in (*tensors, *states)})


def _read_base_model(config: RunConfig, place: str | None) -> PreTrainedModel:
    device = resolve_device(config.device)
    dtype = getattr(torch, resolve_dtype(config.dtype, device))
    if config.attn_implementation == "varlen":
        register()
    arguments: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": config.attn_implementation,
        "device_map": {"": place or own_device(device)},
        "use_safetensors": True,
    }
    if config.load_in_4bit:
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=config.bnb_4bit_quant_type,
            bnb_4bit_use_double_quant=config.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=dtype,
        )
    source = str(smollm2_as_safetensors()) if config.model == SMOLLM2 else config.model
    model = load_pretrained(AutoModelForCausalLM, source, "model", **arguments)
    model.config.name_or_path = model.name_or_path = config.model
    _keep_4bit_trainable_on_cpu(model)
    return model.eval()


def _keep_4bit_trainable_on_cpu(model: PreTrainedModel) -> None:
    """Stop bitsandbytes 0.50 from repacking 4-bit weights on CPUs with AVX512-BF16.

    It does so at the first forward pass in eval mode, for good; the product of repacked weights has no gradient, so a
    run that evaluates before it trains would train on wrong gradients without a word.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def attach_adapter(model: PreTrainedModel, config: RunConfig) -> AdaptedModel:
    """The model with a fresh float32 LoRA adapter (Hu et al., 2021; on 4-bit weights Dettmers et al., 2023).

    Deterministic in `config.seed`. Target modules that all match nothing are an error; some that do are said.
    """
    torch.manual_seed(config.seed)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    lora = LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=config.target_modules,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        init_lora_weights=config.init_lora_weights,
        task_type="CAUSAL_LM",
        base_model_name_or_path=config.model,
    )
    try:
        with_adapter = get_peft_model(model, lora)
    except ValueError as error:
        what = f"target_modules {config.target_modules} do not fit {config.model} ({error})."
        raise UserError(what, "Use all-linear.") from None
    asked = config.target_modules if isinstance(config.target_modules, list) else []
    targeted = [f".{name}" for name in with_adapter.targeted_module_names]
    unknown = [name for name in asked if not any(target.endswith(f".{name}") for target in targeted)]
    if unknown and this_process().first:
        say(f"No layer of {config.model} is called {', '.join(unknown)}: the other target_modules get the adapter.")
    if isinstance(with_adapter.get_base_model().get_output_embeddings(), BaseTunerLayer):
        what = f"target_modules {config.target_modules} put an adapter on the output layer, which TRL does not train."
        raise UserError(what, "Leave the output layer out, or use all-linear.")
    for name, parameter in with_adapter.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
        elif "lora_" in name:
            raise AssertionError(f"{name} is frozen")
    with_adapter.peft_config["default"].base_model_name_or_path = config.model
    return with_adapter


def match_targets(empty: PreTrainedModel, target_modules: str | list[str]) -> list[str]:
    """Return the names of the modules of `empty` that PEFT puts an adapter on; none where none fit.

    `empty` is a model on the meta device; it is changed.
    """
    lora = LoraConfig(r=1, target_modules=target_modules, task_type="CAUSAL_LM")
    try:
        with quiet():  # GPT-2's transposed layers are a warning
            return list(LoraModel(empty, lora, "default", low_cpu_mem_usage=True).targeted_module_names)
    except ValueError:
        return []


def build_flat_optimizer(parameters: Sequence[torch.nn.Parameter], **options: float) -> torch.optim.Optimizer:
    """bitsandbytes' paged 8-bit AdamW over `parameters` laid end to end as one; they become views of it.

    Its states are quantised in blocks of 256, so where every parameter is a multiple of that the numbers are those of
    one state a parameter. bitsandbytes waits for the GPU after each parameter: hundreds of times a step, or once.
    """
    own = list(parameters)

    class FlatAdamW(PagedAdamW8bit):  # type: ignore[misc]
        """One parameter in its groups, whose gradient is put together when the step is made."""

        def __init__(self) -> None:
            self.flat = torch.nn.Parameter(torch.cat([p.detach().flatten() for p in own]))
            for parameter, part in zip(own, torch.split(self.flat.detach(), [p.numel() for p in own]), strict=True):
                parameter.data = part.view(parameter.shape)
            super().__init__([self.flat], **options)

        @torch.no_grad()
        def step(self, closure: Callable[[], float] | None = None) -> Any:
            gradients = [p.new_zeros(p.shape) if p.grad is None else p.grad for p in own]
            self.flat.grad = torch.cat([gradient.flatten() for gradient in gradients])
            loss = super().step(closure)
            self.flat.grad = None
            return loss

        def zero_grad(self, set_to_none: bool = True) -> None:
            for parameter in own:
                parameter.grad = None

    return FlatAdamW()


def save_adapter(model: AdaptedModel, folder: Path) -> None:
    """Write the adapter in PEFT's layout; the model card is ours, so PEFT's is removed.

    Embeddings are never trained here, so PEFT need not ask the hub whether the vocabulary grew.
    """
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)


def load_adapter(model: PreTrainedModel, folder: Path) -> AdaptedModel:
    """`model` with the saved adapter, frozen, in eval mode. An adapter of another base model is refused."""
    try:
        saved = PeftConfig.from_pretrained(str(folder))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no adapter ({error}).", "Name a finished run.") from None
    if saved.base_model_name_or_path != model.config.name_or_path:
        raise UserError(
            f"The adapter in {folder} belongs to {saved.base_model_name_or_path}, not to {model.config.name_or_path}.",
            "Load it on its own base model.",
        )
    return PeftModel.from_pretrained(model, str(folder)).eval()


def adapter_off(model: AdaptedModel) -> contextlib.AbstractContextManager[None]:
    """A context in which an adapted model computes as its base model."""
    context: contextlib.AbstractContextManager[None] = model.disable_adapter()
    return context


def load_run(folder: str | Path) -> tuple[AdaptedModel, PreTrainedTokenizerBase]:
    """(model with the run's adapter, tokenizer) of a finished run, ready to generate."""
    run = read_run(folder)
    run.check_adapter()
    tokenizer = load_selections_tokenizer(run.read_selection())
    return load_adapter(load_base_model(run.config), run.adapter_dir), tokenizer


def merge_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base model with the adapter added to its weights; 4-bit ones are dequantised first and not rounded again."""
    if getattr(model, "is_loaded_in_4bit", False):
        name = model.config.name_or_path
        model = model.dequantize()
        model.config.name_or_path = name
    adapted = load_adapter(model, folder)
    untie_adapted_embeddings(adapted)
    merged = adapted.merge_and_unload(safe_merge=True)
    for stale in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(merged.config, stale):
            delattr(merged.config, stale)
    merged.hf_quantizer = None
    return merged.eval()


def untie_adapted_embeddings(model: AdaptedModel) -> None:
    """Give the output layer its own weights where it shares them with embeddings and an adapter stands on either.

    The adapter was trained on one of the two; added to shared weights, it would change the other as well.
    """
    base = model.get_base_model()
    inputs, outputs = base.get_input_embeddings(), base.get_output_embeddings()
    if outputs is None or not any(isinstance(layer, BaseTunerLayer) for layer in (inputs, outputs)):
        return
    embedding, head = (
        layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer for layer in (inputs, outputs)
    )
    if head.weight.data_ptr() == embedding.weight.data_ptr():
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False


def load_merged(folder: Path, config: RunConfig) -> PreTrainedModel:
    """A merged model read back, unquantised, on the run's device."""
    changed = config.model_copy(update={"model": str(folder), "load_in_4bit": False, "dtype": "auto"})
    return load_base_model(changed)
