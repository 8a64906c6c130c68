"""Which engine generates, and the file it writes to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.artifact import file_lock
from curate.artifact.sealed import append_sealed, read_sealed, write_sealed
from curate.console import say
from curate.errors import UsageError, UserError, did_you_mean
from curate.extensions import Table
from curate.pool.dialogue import Dialogue
from curate.tokens.prompt import PromptTemplate
from curate.tokens.tokenizers import decode_completion, encode_prompt
from evaluate_suite.generation.plain import decode_plainly
from evaluate_suite.generation.record import (
    END_TOKEN,
    MAX_NEW_TOKENS,
    DecodingSettings,
    Generation,
    GenerationTask,
    as_record,
    read_generation,
    sample_seed,
)
from evaluate_suite.generation.slots import decode_in_slots, why_not_slots

AUTO = "auto"
VLLM = "vllm"  # loads its own model, see `vllm_engine`


@dataclass(frozen=True)
class Engine:
    """One line of the table: how prompts are decoded with a model of transformers, and which models it does not serve.

    `decode` takes (model, stop ids, pad id, tasks, settings) and yields (place of a task, its new ids, whether it ended
    itself) as tasks finish; `why_not` takes (model, longest sequence) and returns a reason, or None where it serves.
    Another package adds one with an entry point of the group `rowpick.generation_engines`.
    """

    decode: Callable[..., Iterator[tuple[int, list[int], bool]]]
    why_not: Callable[[Any, int], str | None] = lambda model, length: None


# The first that serves a model is the one that "auto" takes.
ENGINES = Table(
    "rowpick.generation_engines",
    Engine,
    {"slots": Engine(decode_in_slots, why_not_slots), "plain": Engine(decode_plainly)},
)


def build_tasks(
    tokenizer: Any,
    template: PromptTemplate,
    prompts: Sequence[tuple[str, str | Dialogue]],
    settings: DecodingSettings,
    *,
    languages: Mapping[str, str | None] | None = None,
    references: Mapping[str, str | None] | None = None,
) -> list[GenerationTask]:
    """The tasks for (prompt_id, prompt) pairs, one per sample, with ids as in training (see `curate.tokens`)."""
    tasks = []
    for prompt_id, asked in prompts:
        if isinstance(asked, Dialogue) and template.turns is None:
            raise UserError(
                f"The prompt {prompt_id} is a conversation, and the prompt template {template.name} of this selection "
                "is for single questions.",
                "Select with --turns last or --turns all, or leave it out.",
            )
        prompt = asked if isinstance(asked, str) else asked.instruction
        ids = encode_prompt(tokenizer, template, asked)
        for sample in range(settings.samples):
            seed = sample_seed(settings.seed, prompt_id, sample) if settings.do_sample else None
            language, reference = (languages or {}).get(prompt_id), (references or {}).get(prompt_id)
            tasks.append(GenerationTask(prompt_id, prompt, ids, sample, seed, language, reference))
    return tasks


def finish(task: GenerationTask, tokenizer: Any, new_ids: Sequence[int], ended: bool) -> Generation:
    """The `Generation` of a task from the ids the model produced (the end token, if any, is not among them)."""
    text = decode_completion(tokenizer, task.prompt_ids, new_ids)
    return Generation(
        task.prompt_id,
        task.prompt,
        text,
        len(new_ids) + ended,
        END_TOKEN if ended else MAX_NEW_TOKENS,
        task.sample,
        task.seed,
        task.language,
        task.reference,
    )


def stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """The ids that end a generation: the tokenizer's end token, which training appends, and the model's own."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = own if isinstance(own, list) else [] if own is None else [own]
    return sorted({int(i) for i in [tokenizer.eos_token_id, *listed] if i is not None})


def checked_engine(engine: str) -> str:
    """`engine`, where there is such a one and it is installed."""
    if engine not in (AUTO, *ENGINES, VLLM):
        raise UsageError(f'Unknown engine "{engine}".', did_you_mean(engine, (AUTO, *ENGINES, VLLM)))
    if engine == VLLM and importlib.util.find_spec("vllm") is None:
        raise UserError(
            "The engine vllm needs the package vllm, which is not installed.",
            "Run `pip install vllm` on a machine with a CUDA device, or use the engine auto.",
        )
    return engine


def generate(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[GenerationTask],
    settings: DecodingSettings,
    *,
    on_result: Callable[[Generation], None] | None = None,
    engine: str = "auto",
) -> list[Generation]:
    """One `Generation` per task, in the tasks' order; `on_result` gets each as soon as it exists.

    Everything in the model's own `generation_config` but its end tokens is ignored, so that two models are decoded
    alike. An adapter on the model is applied as it is, never merged. `slots` is our continuous batching
    (see `slots`), `plain` is transformers' `generate` in batches sorted by length; `auto` takes
    `plain` only for architectures that `slots` does not serve (recurrent state, attention windows).
    """
    settings.check()
    checked_engine(engine)
    _check_room(model, tasks, settings)
    longest = max((len(task.prompt_ids) for task in tasks), default=0) + settings.max_new_tokens
    decode = choose_engine(engine, model, longest).decode
    results: dict[int, Generation] = {}
    was_training = model.training
    model.eval()
    try:
        for index, new_ids, ended in decode(model, stop_ids(model, tokenizer), tokenizer.pad_token_id, tasks, settings):
            results[index] = finish(tasks[index], tokenizer, new_ids, ended)
            if on_result is not None:
                on_result(results[index])
    finally:
        model.train(was_training)
    return [results[index] for index in range(len(tasks))]


def choose_engine(name: str, model: Any, longest: int) -> Engine:
    """Return the engine of that name, or for "auto" the first of ours that serves the model."""
    if name == AUTO:
        return next(engine for engine in ENGINES.own.values() if engine.why_not(model, longest) is None)
    reason = ENGINES[name].why_not(model, longest)
    if reason is not None:
        raise UserError(f"The engine {name} does not serve this model: {reason}.", "Use the engine plain.")
    return ENGINES[name]


def _check_room(model: Any, tasks: Sequence[GenerationTask], settings: DecodingSettings) -> None:
    context = getattr(model.config, "max_position_embeddings", None)
    for task in tasks:
        if not task.prompt_ids:
            raise UserError(f"The prompt {task.prompt_id} has no tokens.", "Remove it, or give it a text.")
        needed = len(task.prompt_ids) + settings.max_new_tokens
        if context is not None and needed > context:
            raise UserError(
                f"The prompt {task.prompt_id} has {len(task.prompt_ids)} tokens; with {settings.max_new_tokens} new "
                f"ones that is more than the model's context of {context}.",
                "Shorten or remove the prompt, or lower max_new_tokens.",
            )


def generate_to_file(
    path: str | Path,
    run: Callable[[Sequence[GenerationTask], Callable[[Generation], None]], object],
    tasks: Sequence[GenerationTask],
    made_with: str,
) -> list[Generation]:
    """All generations, in the tasks' order, and the same in the JSONL file `path`; a killed call goes on where it was.

    `run(missing_tasks, on_result)` makes the missing ones (a closure over `generate` or over a vLLM engine). Each is
    appended and synced as soon as it exists; when all do, the file is put into the tasks' order. `made_with` is a
    digest of what decides the text (model, adapter, template, settings); a line that was made with another one, or was
    changed since, is made again, and said.
    """
    with file_lock(Path(path).with_suffix(".lock")):
        return _generate_to_file(Path(path), run, tasks, made_with)


def _generate_to_file(
    target: Path,
    run: Callable[[Sequence[GenerationTask], Callable[[Generation], None]], object],
    tasks: Sequence[GenerationTask],
    made_with: str,
) -> list[Generation]:
    finished = _read_finished(target, made_with)

    def key(item: Generation | GenerationTask) -> tuple[str, int]:
        return item.prompt_id, item.sample

    wanted = {key(task): task for task in tasks}
    if len(wanted) < len(tasks):
        raise UserError("Two prompts have the same prompt_id.", "Give every prompt its own prompt_id.")
    done = {key(g): g for g in finished if key(g) in wanted and wanted[key(g)].prompt == g.prompt}

    def save(generation: Generation) -> None:
        append_sealed(target, as_record(generation), made_with)
        done[key(generation)] = generation

    missing = [task for task in tasks if key(task) not in done]
    if missing:
        run(missing, save)
    ordered = [
        replace(done[key(task)], language=task.language, reference=task.reference, seed=task.seed) for task in tasks
    ]
    write_sealed(target, (as_record(g) for g in ordered), made_with)
    return ordered


def _read_finished(target: Path, made_with: str) -> list[Generation]:
    """What an earlier, perhaps killed, call left; a torn last line is cut off so that appending is safe."""
    rows, damaged = read_sealed(target, made_with)
    if damaged:
        say(f"{damaged} cached generations in {target} were damaged, or are of another version; making them again.")
    if target.exists():
        write_sealed(target, rows, made_with)
    return [read_generation(row, str(target)) for row in rows]
