"""Traps in the settings of a run."""

from __future__ import annotations

from finetune.check.facts import Facts

USUAL_LEARNING_RATES = (1e-6, 2e-3)
MOST_EPOCHS = 5


def learning_rate_unusual(facts: Facts) -> str | None:
    """Far outside what LoRA is trained with."""
    low, high = USUAL_LEARNING_RATES
    rate = facts.config.learning_rate
    if low <= rate <= high:
        return None
    return f"learning_rate {rate:g} is outside {low:g} to {high:g}, where LoRA trains. Try 2e-4."


def warmup_fills_the_run(facts: Facts) -> str | None:
    """The full learning rate is never reached."""
    if facts.steps is None or facts.config.warmup_steps < facts.steps or facts.config.lr_scheduler_type == "constant":
        return None  # a constant rate has no warm-up
    return f"warmup_steps {facts.config.warmup_steps} fills all {facts.steps} steps. Use at most {facts.steps // 2}."


def more_steps_than_data(facts: Facts) -> str | None:
    """The same rows again and again: the model learns them by heart."""
    if facts.steps is None or not facts.bins_per_epoch:
        return None
    config = facts.config
    epochs = facts.steps * config.per_device_train_batch_size * config.gradient_accumulation_steps
    epochs_seen = epochs / facts.bins_per_epoch
    if epochs_seen <= MOST_EPOCHS:
        return None
    return f"{facts.steps} steps show every row {epochs_seen:.0f} times. Lower num_train_epochs, or select more rows."


def batch_larger_than_data(facts: Facts) -> str | None:
    """One step would hold more than an epoch."""
    config = facts.config
    size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    if facts.bins_per_epoch is None or size <= facts.bins_per_epoch:
        return None
    return f"One step takes {size} bins and the data fill {facts.bins_per_epoch}. Lower gradient_accumulation_steps."


def evaluated_only_at_the_end(facts: Facts) -> str | None:
    """No best checkpoint can be told and no overfitting seen."""
    if facts.steps is None or facts.config.eval_steps < facts.steps or facts.steps == 1:
        return None
    return f"eval_steps {facts.config.eval_steps} leaves one evaluation in {facts.steps} steps. Lower eval_steps."


def alpha_out_of_proportion(facts: Facts) -> str | None:
    """LoRA's update is scaled by alpha / r."""
    scale = facts.config.lora_alpha / facts.config.r
    if 0.25 <= scale <= 8:
        return None
    return f"lora_alpha / r is {scale:g}; usual is 1 to 2. Set lora_alpha={2 * facts.config.r}."


def dropout_high(facts: Facts) -> str | None:
    """Most of the adapter is switched off at every step."""
    share = facts.config.lora_dropout
    return None if share <= 0.3 else f"lora_dropout is {share:g}; usual is 0 to 0.1."


def samples_see_each_other(facts: Facts) -> str | None:
    """The notebook's packing."""
    if facts.config.packing != "joined":
        return None
    return "packing is joined: rows in a bin attend to each other. Set packing=best-fit."


def prompt_is_trained_on(facts: Facts) -> str | None:
    """The model spends itself on writing prompts."""
    if facts.config.packing == "joined":
        return (
            "packing is joined: the loss counts the prompt, whatever completion_only_loss says. Set packing=best-fit."
        )
    if facts.config.completion_only_loss:
        return None
    return "completion_only_loss is false: the loss counts the prompt. Set completion_only_loss=true."


def grouping_without_effect(facts: Facts) -> str | None:
    """Packed bins are all of one length."""
    if not facts.config.group_by_length or facts.config.packing == "none":
        return None
    return "group_by_length does nothing to packed rows. Set packing=none, or leave it out."
