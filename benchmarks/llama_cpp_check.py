"""Exported GGUF files run by llama.cpp itself: its greedy tokens beside transformers', for a tiny model of each family.

    pip install xllamacpp        # llama.cpp with wheels for the CPU (MIT)
    python benchmarks/llama_cpp_check.py
    python benchmarks/llama_cpp_check.py --file RUN/gguf/model-f16.gguf --prompt "Reverse a string in Go."

Weights are random, in float16 in the file and computed in float32 by both; the cache of both is float32. Without
--file, one JSON line a family and a summary; with it, what llama.cpp writes after the prompt.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

NEW_TOKENS = 24
ENDS = ("</s>", "<|im_end|>", "<|endoftext|>", "<eos>")  # llama.cpp stops at them; here neither may write one


@contextlib.contextmanager
def quiet_stderr() -> Any:
    """llama.cpp writes its log to the process's own stderr."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def complete(file: Path, prompt: str | list[int], count: int, ignore_end: bool) -> dict[str, Any]:
    """Return llama.cpp's greedy completion: its `tokens` and `content`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = str(file), 512, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    asked = {"prompt": prompt, "n_predict": count, "temperature": 0, "return_tokens": True, "ignore_eos": ignore_end}
    with quiet_stderr():
        server = xllamacpp.Server(params)
        request = urllib.request.Request(
            f"{server.listening_address.rstrip('/')}/completion", json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=300) as answer:
            result: dict[str, Any] = json.load(answer)
        del server
    return result


def check_family(kind: str, folder: Path) -> dict[str, Any]:
    """Return whether both write the same tokens after a prompt of 30, and how many are equal from the start."""
    import torch

    from curate.tokens.prompt import RAW
    from finetune.export.gguf_file import write_gguf
    from tests.curate.tokens.tokenizer_families import legacy_sentencepiece, metaspace
    from tests.finetune.export.test_gguf import random_model, sentencepiece, shapes

    tokenizer = sentencepiece(metaspace("never") if kind.startswith("gemma") else legacy_sentencepiece)
    config = shapes()[kind]
    config.vocab_size = len(tokenizer)
    # Without the factor the residual stream is all embedding, and every layer could be wrong.
    model = random_model(config, factor=8)
    write_gguf(folder / "m.gguf", model, tokenizer, RAW, "tiny", "f16")
    ids = list(range(100, 130))
    never = [id for name, id in tokenizer.get_vocab().items() if name in ENDS]
    expected = model.generate(
        torch.tensor([ids]), max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0,
        suppress_tokens=never,
    )[0, len(ids) :].tolist()  # fmt: skip
    written = complete(folder / "m.gguf", ids, NEW_TOKENS, True)["tokens"]
    equal = next((i for i, (a, b) in enumerate(zip(written, expected, strict=False)) if a != b), len(expected))
    return {"family": kind, "same": written == expected, "equal_tokens": equal, "of": len(expected)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--prompt", action="append", default=[], help="with --file: as it goes to the model")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    args = parser.parse_args()
    if args.file is not None:
        for prompt in args.prompt:
            answer = complete(args.file, f"{prompt}\n", args.max_new_tokens, False)
            print(json.dumps({"prompt": prompt, "text": answer["content"]}, ensure_ascii=False), flush=True)
        return
    from tests.finetune.export.test_gguf import shapes

    lines = []
    for kind in shapes():
        with tempfile.TemporaryDirectory() as folder:
            lines.append(check_family(kind, Path(folder)))
        print(json.dumps(lines[-1]), flush=True)
    same = sum(line["same"] for line in lines)
    print(json.dumps({"summary": "llama_cpp_check", "same": same, "of": len(lines)}))
    sys.exit(same < len(lines))


if __name__ == "__main__":
    main()
