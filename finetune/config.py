"""What a run can be told: one schema, its defaults in one place, presets that say only what differs.

Names are those of PEFT, TRL, transformers and bitsandbytes wherever they have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from curate.artifact.yaml_text import parse_yaml
from curate.errors import UsageError, UserError, did_you_mean

PRESETS_DIR = Path(__file__).parent / "presets"


class RunConfig(BaseModel):
    """One training run, fully resolved.

    Unknown keys and numbers that are not finite are refused; numbers written as text are accepted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str = "meta-llama/Llama-2-7b-hf"
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    dtype: Literal["auto", "fastest", "bfloat16", "float16", "float32"] = "auto"
    attn_implementation: Literal["sdpa", "eager", "flex_attention", "varlen"] = "sdpa"
    kernels: Literal["auto"] | bool = "auto"
    # bitsandbytes
    load_in_4bit: bool = True
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    bnb_4bit_use_double_quant: bool = True
    # PEFT
    r: int = Field(16, ge=1, le=1024)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"
    use_rslora: bool = False
    use_dora: bool = False
    # PEFT has more ways to begin; the others change the base model's weights, so the adapter would fit no other copy.
    init_lora_weights: Literal["gaussian", "orthogonal"] | Literal[True] = True
    # data
    max_length: int = Field(1024, ge=8)
    packing: Literal["best-fit", "none", "joined"] = "best-fit"
    group_by_length: bool = False
    completion_only_loss: bool = True
    pad_token: str | None = None
    # optimisation
    per_device_train_batch_size: int = Field(4, ge=1)
    gradient_accumulation_steps: int = Field(2, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    warmup_steps: int = Field(10, ge=0)
    num_train_epochs: int = Field(1, ge=1)
    max_steps: int | None = Field(None, ge=1)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    optim: Literal["auto", "paged_adamw_8bit", "adamw_torch"] = "auto"
    gradient_checkpointing: Literal["auto"] | bool = "auto"
    # what is measured on the way
    logging_steps: int = Field(5, ge=1)
    eval_steps: int = Field(20, ge=1)
    eval_rows: int | None = Field(None, ge=1)
    early_stopping_patience: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0, le=2**32 - 1)  # what numpy takes
    deterministic: bool = False
    # what the report takes from a run
    report_eval_rows: int | None = Field(None, ge=1)
    report_max_new_tokens: int = Field(256, ge=1)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_written_as_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation in (int, float, int | None):
            raise ValueError("A number is wanted; yes, no, on, off, true and false are none")
        return value

    @model_validator(mode="after")
    def _steps_fit(self) -> RunConfig:
        if self.eval_steps % self.logging_steps:
            raise ValueError(
                f"eval_steps {self.eval_steps} is not a multiple of logging_steps {self.logging_steps}; "
                "a checkpoint is written at every evaluation and must hold whole log lines"
            )
        return self

    @model_validator(mode="after")
    def _device_can(self) -> RunConfig:
        if self.device == "mps" and (self.load_in_4bit or self.optim == "paged_adamw_8bit" or self.kernels is True):
            raise ValueError(
                "device mps has neither 4-bit weights nor the paged optimizer nor the kernels; "
                "set load_in_4bit=false, and leave optim and kernels at auto"
            )
        return self


def preset_names() -> list[str]:
    """The presets that exist, in alphabetical order."""
    return sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))


def preset_path(name: str) -> Path:
    """The file of a preset; an unknown name is a usage error."""
    if name not in preset_names():
        raise UsageError(f'Unknown preset "{name}".', did_you_mean(name, preset_names()))
    return PRESETS_DIR / f"{name}.yaml"


def preset_for(model: str) -> str | None:
    """The first preset, in the order llama2-7b, then alphabetical, that trains `model`; None when none does."""
    order = sorted(preset_names(), key=lambda name: (name != "llama2-7b", name in ("notebook", "colab-t4"), name))
    for name in order:
        if read_yaml(preset_path(name)).get("model", RunConfig.model_fields["model"].default) == model:
            return name
    return None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, or a `UserError` with its place."""
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Could not read the config {path} ({error}).", "Check the path.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise UserError(f"{place}: not YAML ({_short(error)}).", "Fix that line.") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a {type(data).__name__}, not settings.", "Write one `name: value` a line.")
    return data


def load_config(
    preset: str | None, file: Path | None = None, overrides: Sequence[str] = (), model: str | None = None
) -> RunConfig:
    """Preset, then config file, then `name=value` overrides; every problem is reported at once.

    `model` is the selection's model: it is taken where none of the three names one.
    """
    settings: dict[str, Any] = {} if model is None else {"model": model}
    if preset is not None:
        settings |= read_yaml(preset_path(preset))
    if file is not None:
        settings |= read_yaml(file)
    for pair in overrides:
        name, _, text = pair.partition("=")
        if not name or name == pair:
            raise UsageError(f'"{pair}" is not an override.', "Write name=value, for example learning_rate=1e-4.")
        try:
            settings[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            what = f'"{pair}" cannot be read as YAML ({_short(error)}).'
            raise UsageError(what, f"Put the value in quotes: {name}='\"...\"'.") from None
    return validated(settings)


def validated(settings: dict[str, Any]) -> RunConfig:
    """The config that `settings` make; all that is wrong with them is one usage error."""
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        problems = [_problem(item) for item in error.errors()]
        raise UsageError(
            f"The config has {len(problems)} problem(s): {'; '.join(problems)}.", "`finetune show` lists all settings."
        ) from None


def _short(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


def _problem(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"][:1])
    if item["type"] == "extra_forbidden":
        guess = did_you_mean(name, RunConfig.model_fields).partition("Allowed")[0].strip()
        return f"{name} is not a setting ({guess})" if guess else f"{name} is not a setting"
    message = str(item["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    return f"{name} is {item['input']!r}: {message[0].lower()}{message[1:]}"
