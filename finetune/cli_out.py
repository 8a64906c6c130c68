"""The commands of `finetune` that take a finished run: merged, exported, tried, uploaded, verified."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from curate.console import print_result, say
from curate.errors import UsageError, did_you_mean
from finetune.options import JsonOption

RunArgument = Annotated[str | None, typer.Argument(metavar="RUN", help="Default: the newest finished run.")]

app = typer.Typer()


@app.command(
    epilog="Examples:\n\n  finetune merge\n\n  finetune merge kmeans-k1000-0a1b2c3d --out merged --dtype float32"
)
def merge(
    run_name: RunArgument = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: merged/ in the run.")] = None,
    dtype: Annotated[str, typer.Option(help="bfloat16, float16 or float32.")] = "bfloat16",
    allow_different: Annotated[
        bool, typer.Option("--allow-different-text", help="Keep a model that writes another text than the adapter.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write base model and adapter as one model, and compare its greedy text with the adapter's."""
    from finetune.export.merged_model import merge as write_merged
    from finetune.run.record import read_run

    if dtype not in ("bfloat16", "float16", "float32"):
        raise UsageError(f'--dtype is "{dtype}".', did_you_mean(dtype, ["bfloat16", "float16", "float32"]))
    merged = write_merged(read_run(run_name), out, dtype, allow_different)
    say(f"Greedy text equals the adapter's on {merged.same_text} of {merged.compared} held-out prompts.")
    print_result(merged.as_dict() if as_json else merged.path)


@app.command(
    epilog="Examples:\n\n  finetune export --gguf\n\n  finetune export kmeans-k1000-0a1b2c3d --gguf --quantize q8_0 --out gguf"
)
def export(
    run_name: RunArgument = None,
    gguf: Annotated[bool, typer.Option("--gguf", help="One GGUF file, for llama.cpp and Ollama.")] = False,
    quantize: Annotated[str, typer.Option(help="f16, or q8_0 for half the size.")] = "f16",
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: gguf/ in the run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the merged model as GGUF with an Ollama Modelfile, read both back and compare their greedy text."""
    if not gguf:
        raise UsageError("There is no format named.", "Give --gguf (a merged model for transformers: finetune merge).")
    if quantize not in ("f16", "q8_0"):
        raise UsageError(
            f'--quantize is "{quantize}".',
            f"{did_you_mean(quantize, ['f16', 'q8_0'])} llama.cpp's llama-quantize makes others from the f16 file.",
        )
    from finetune.export.gguf_model import MODELFILE, export_gguf
    from finetune.run.record import read_run

    exported = export_gguf(read_run(run_name), out, quantize)
    say(f"Greedy text equals the merged model's on {exported.same_text} of {exported.compared} held-out prompts.")
    say(f"Try it:\n\nollama create NAME -f {shlex.quote(str(exported.path / MODELFILE))}\nollama run NAME\n")
    print_result(exported.as_dict() if as_json else exported.path)


@app.command(
    "try",
    epilog='Examples:\n\n  finetune try --prompt "reverse a string in go"\n\n  finetune try kmeans-k1000-0a1b2c3d --base',
)
def try_run(
    run_name: RunArgument = None,
    prompt: Annotated[str | None, typer.Option(help="The prompt. Default: typed line by line, or piped in.")] = None,
    base: Annotated[bool, typer.Option("--base", help="Let the base model answer too, first.")] = False,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Default: report_max_new_tokens.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Give a run a prompt and watch it answer, greedily, in the template it was trained with."""
    from finetune.export.trial import Trial, read_prompts, write_piece
    from finetune.run.record import read_run

    trial = Trial(read_run(run_name), max_new_tokens)
    for asked in [prompt] if prompt is not None else read_prompts():
        answers = {}
        for who in ("base", "tuned") if base else ("tuned",):
            if base and not as_json:
                print(f"{'' if who == 'base' else chr(10)}--- {who} ---")
            answer = trial.answer(asked, who == "base", (lambda text: None) if as_json else write_piece)
            answers[who] = answer.as_record()
            if not as_json:
                print()
                say(f"{answer.tokens} tokens, {'ended by itself' if answer.ended else 'cut at --max-new-tokens'}")
        if as_json:
            print_result({"prompt": asked, **answers})


@app.command(
    epilog="Examples:\n\n  finetune push me/my-adapter\n\n  finetune push me/my-adapter --run kmeans-k1000-0a1b2c3d --public"
)
def push(
    repository: Annotated[str, typer.Argument(help="Name on the hub: OWNER/NAME.")],
    run_name: Annotated[str | None, typer.Option("--run", help="Default: the newest finished run.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    report: Annotated[
        str | None, typer.Option(help="Report whose figures the card gets. Default: the newest with this run.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded; ask nobody.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload a run's adapter and model card to the hub, private unless told otherwise."""
    from finetune.export.hub_upload import plan_upload
    from finetune.export.hub_upload import push as upload
    from finetune.run.record import read_run

    run = read_run(run_name)
    planned = plan_upload(run, repository, not public, report)
    for line in planned.lines():
        say(line)
    address = None if dry_run else upload(planned, f"Adapter of {run.path.name}")
    if as_json:
        print_result({**planned.as_record(), "address": address})
    else:
        print_result(address or planned.result)


@app.command(epilog="Examples:\n\n  finetune verify\n\n  finetune verify kmeans-k1000-0a1b2c3d --json")
def verify(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...", help="Names or folders. Default: every run, padding study and scores of influence."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold every file of a run, its checkpoints and its selection against what was recorded; exit 1 for a bad one."""
    from curate.artifact.verify import require_all_whole, result_lines
    from curate.artifact.verify import verify as look
    from curate.scores.influence_record import KIND as INFLUENCE
    from curate.scores.influence_record import influences_dir
    from finetune.padding_study.record import KIND as STUDY
    from finetune.run.record import KIND, runs_dir
    from finetune.run.verify import verify_run

    homes = [(runs_dir(), KIND), (Path("reports"), STUDY), (influences_dir(), INFLUENCE)]
    verified = look(runs or [], homes, verify_run)
    print_result(
        {"artifacts": [each.as_record() for each in verified]} if as_json else "\n".join(result_lines(verified))
    )
    require_all_whole(verified)
