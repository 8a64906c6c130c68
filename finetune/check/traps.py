"""The table of traps: what goes wrong in fine-tuning, one function each, None or one sentence on what and what to do.

Every function is pure: it looks at `Facts`. A trap whose facts could not be had is reported as not checked, never as
passed.
"""

from __future__ import annotations

from collections.abc import Callable

from finetune.check import cluster, machine, model, rows, settings
from finetune.check.facts import Facts

TRAPS: tuple[Callable[[Facts], str | None], ...] = (
    rows.end_token_missing, rows.end_token_masked, rows.rows_are_cut, rows.start_token_doubled,
    rows.token_counts_differ, rows.nothing_labelled, rows.empty_outputs, rows.row_over_limit, model.over_context,
    model.tokenizer_differs, model.vocabulary_too_small, settings.samples_see_each_other,
    settings.prompt_is_trained_on, machine.float16_on_a_cpu, machine.float16_overflows, machine.bfloat16_absent,
    machine.paged_optimizer_without_gpu, machine.gpu_absent, settings.learning_rate_unusual,
    settings.warmup_fills_the_run, settings.more_steps_than_data, settings.batch_larger_than_data, rows.no_holdout,
    rows.few_eval_rows, settings.evaluated_only_at_the_end, settings.alpha_out_of_proportion, settings.dropout_high,
    model.targets_match_nothing, model.attention_unsupported, model.pad_token_unknown, rows.holdout_in_training,
    rows.rows_repeated, model.model_absent, model.weights_not_safetensors, model.remote_code,
    settings.grouping_without_effect, machine.not_enough_memory, machine.not_enough_disk,
    cluster.batch_not_divisible, cluster.more_gpus_than_there_are, cluster.rendezvous_silent, cluster.machines_differ,
)  # fmt: skip
