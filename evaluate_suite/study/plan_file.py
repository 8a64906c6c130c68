"""`study.yaml`: everything that a third party needs to repeat a study, written for every study and read by --file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from curate.artifact import digest_json, home, write_text
from curate.artifact.yaml_text import parse_yaml
from curate.config import SelectConfig
from curate.errors import UsageError, UserError, did_you_mean
from evaluate_suite.defaults import DRAWS, SEEDS
from evaluate_suite.options import parse_budgets
from finetune.config import RunConfig

STUDY_FILE = "study.yaml"
HEAD = "# A study of selection strategies. Repeat it with: evalsuite study --file study.yaml\n"
VARIED = {"strategy", "strategy_options", "seed"}  # what the cells of a study differ in


def _budgets(value: Any) -> Any:
    """What the option takes is taken here, too: none, or a size or several with commas."""
    try:
        return parse_budgets(str(value)) if isinstance(value, str | int) else value
    except UsageError as error:
        raise ValueError(error.next_step) from None  # the file and the field are told with it


class StudyFile(BaseModel):
    """A study as a file. `selection` has the settings of `curate select`, `training` those of `finetune run`; what is
    left out has its default. `options` are those of strategies, by strategy. Strategies that take a target are studied
    with each of `targets`; `cells` have settings of their own beside those of `selection`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    strategies: tuple[str, ...] = ()
    options: dict[str, dict[str, float | int]] = Field(default_factory=dict)
    targets: tuple[str, ...] = ()
    cells: tuple[dict[str, Any], ...] = ()
    draws: int = Field(DRAWS, strict=True)  # YAML's yes is no number
    seeds: int = Field(SEEDS, strict=True)
    random_budgets: Annotated[tuple[int, ...] | None, BeforeValidator(_budgets)] = None
    selection: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    prompts: str | None = None
    max_new_tokens: int | None = None
    by: str | None = "source"


def settings_that_differ(config: SelectConfig | RunConfig) -> dict[str, Any]:
    """Return the settings of a config that are not the defaults, as a study file holds them."""
    return config.model_dump(mode="json", exclude_defaults=True, exclude=VARIED & set(type(config).model_fields))


def read_study_file(path: Path) -> StudyFile:
    """Return the study in a file; a `UserError` that names what is wrong where it is none."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise UserError(
                f"{path} is not a study: it has no fields.", f"Fields: {', '.join(StudyFile.model_fields)}."
            )
        return StudyFile.model_validate(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}).", "Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML ({' '.join(str(error).split())}).", "See docs/statistics.md.") from None
    except ValidationError as error:
        wrong = "; ".join(map(_problem, error.errors()))
        raise UserError(f"{path} is not a study ({wrong}).", f"Fields: {', '.join(StudyFile.model_fields)}.") from None


def _problem(error: Any) -> str:
    """Return what is wrong with one field, in the words of YAML."""
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        guess = did_you_mean(name, StudyFile.model_fields).partition("Allowed")[0].strip()
        return f"{name} is not a field. {guess}".strip()
    if error["type"] == "tuple_type":
        return f"{name} is {error['input']}; write a list: [{error['input']}]"
    return f"{name}: {error['msg'].replace('valid dictionary', 'mapping of names to values')}"


def write_study_file(study: StudyFile) -> Path:
    """Write the study below the home of artifacts, under a name by its content, and return the file's path."""
    record = study.model_dump(mode="json")
    path = home() / "studies" / digest_json(record)[:8] / STUDY_FILE
    write_text(path, HEAD + yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    return path
