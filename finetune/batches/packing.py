"""Rows into bins without cutting any, and batches in which no row sees another."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import torch

from curate.tokens.tokenizers import EncodedExample

IGNORED = -100


def pack_examples(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Indices of `lengths` in bins of at most `max_length` tokens, by best-fit decreasing (Johnson, 1974).

    Each row, longest first, goes into the bin with the least room that still holds it. Ties go by index, so the result
    is a function of the lengths alone. A row longer than `max_length` is a ValueError: bounds are checked before.
    """
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, bin), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        length = lengths[index]
        if length > max_length:
            raise ValueError(f"row {index} has {length} tokens; a bin holds {max_length}")
        place = bisect_left(rooms, (length, -1))
        if place < len(rooms):
            room, bin_index = rooms.pop(place)
            bins[bin_index].append(index)
        else:
            room, bin_index = max_length, len(bins)
            bins.append([index])
        if room > length:
            insort(rooms, (room - length, bin_index))
    return bins


def build_packed_batch(
    bins: Sequence[Sequence[EncodedExample]], pad_token_id: int, completion_only_loss: bool = True
) -> dict[str, torch.Tensor]:
    """`input_ids`, `position_ids`, `labels` and `sample_ids`, each (bins x longest bin), int64.

    Positions restart at 0 with every sample; transformers reads the restarts, where no attention mask is given, as
    borders that attention does not cross, in every implementation. The first token of a sample is never a target.
    Padding at the end of a bin counts as one more sample, without targets: `sample_ids` is -1 there. Bins may be empty.
    """
    width = max(1, *(sum(len(example.input_ids) for example in examples) for examples in bins))
    shape = (len(bins), width)
    input_ids = torch.full(shape, pad_token_id, dtype=torch.long)
    position_ids = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    sample_ids = torch.full(shape, -1, dtype=torch.long)
    sample = 0
    for row, examples in enumerate(bins):
        start = 0
        for example in examples:
            end = start + len(example.input_ids)
            ids = torch.tensor(example.input_ids, dtype=torch.long)
            skipped = max(1, example.prompt_length) if completion_only_loss else 1
            input_ids[row, start:end] = ids
            position_ids[row, start:end] = torch.arange(end - start)
            labels[row, start + skipped : end] = ids[skipped:]
            for first, last in example.earlier_answers:
                labels[row, start + first : start + last] = ids[first:last]
            sample_ids[row, start:end] = sample
            start, sample = end, sample + 1
        position_ids[row, start:] = torch.arange(width - start)
    return {"input_ids": input_ids, "position_ids": position_ids, "labels": labels, "sample_ids": sample_ids}
