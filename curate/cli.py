"""The `curate` command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.cleaning.table import DEFAULT_CHECKS, parse_checks
from curate.console import add_version, columns_table, print_result, run_command, say, summary_table, typed_command
from curate.defaults import DEFAULT_SCORE_MAX_TOKENS, DEFAULT_STRATEGY, LOCAL, TARGET_STRATEGY, SelectDefaults
from curate.extensions import print_added

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Choose the rows worth training on.",
    epilog="Examples:  curate select --k 1000   |   curate strategies",
)
add_version(app)
BASE = SelectDefaults()

SELECT_EXAMPLES = """Examples:

  curate select --dataset stdlib --model smollm2-135m --k 1000

  curate select --dataset rows.jsonl --tokenizer ./llama2-tokenizer --strategy random --max-tokens 1024"""

SCORE_EXAMPLES = """Examples:

  curate score --dataset stdlib

  curate score --dataset rows.jsonl --score-model ./small-model --max-tokens 1024"""


@app.command(epilog=SELECT_EXAMPLES)
def select(
    dataset: Annotated[str, typer.Option(help="Hub id (ID@REVISION), file or folder, or stdlib.")] = BASE.dataset,
    model: Annotated[str, typer.Option(help="Model to be trained: its tokenizer counts. Hub id, path or smollm2-135m.")] = BASE.model,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer to count with, when only that is at hand.")] = None,
    prompt_template: Annotated[str | None, typer.Option(help="File with {instruction} in it, or chat. Default: the raw instruction.")] = None,
    columns: Annotated[str | None, typer.Option(help="Other column names: instruction=NAME,output=NAME[,input=NAME], or messages=NAME.")] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of a hub dataset, where it has several.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a hub dataset. Default: train, or the only one.")] = None,
    first: Annotated[int | None, typer.Option(help="Only the first N rows of a hub dataset, streamed.")] = None,
    system: Annotated[str, typer.Option(help="System messages: drop, keep (before the instruction), or require (rows without are excluded).")] = BASE.system,
    turns: Annotated[str, typer.Option(help="Conversations: single (those of more rounds are excluded), last (the last answer is learnt) or all (every answer).")] = BASE.turns,
    keep_where: Annotated[list[str] | None, typer.Option(help="NAME=VALUE[,VALUE...]: keep rows whose column has one of these, such as license=mit; can be repeated.")] = None,
    strategy: Annotated[str | None, typer.Option(help=f"How to pick; `curate strategies` lists them. Default: {DEFAULT_STRATEGY}, and {TARGET_STRATEGY} with --target.")] = None,
    strategy_option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the strategy; can be repeated.")] = None,
    keep: Annotated[str | None, typer.Option(help="Name or folder of a selection: its rows stand, the rest is chosen around them.")] = None,
    pick_where: Annotated[list[str] | None, typer.Option(help="NAME=VALUE[,VALUE...]: pick such rows alone; what is held out stays the same. Can be repeated.")] = None,
    cap: Annotated[list[str] | None, typer.Option(help="NAME=SHARE: no value of the column may have more of the picks, such as source=0.3; can be repeated.")] = None,
    target: Annotated[str | None, typer.Option(help="Rows to pick rows like (file, folder or hub id; instructions alone will do), for strategies that need them.")] = None,
    influence: Annotated[str | None, typer.Option(help="Scores made by `finetune influence`, for strategies that need them: a name or folder.")] = None,
    mixture: Annotated[str | None, typer.Option(help="Weights or shares fitted by `evalsuite mixture`, for --strategy mixture: a name or folder.")] = None,
    draws: Annotated[str | None, typer.Option(help="Draws trained by `evalsuite best-of-draws`, for that strategy: a name or folder.")] = None,
    score_model: Annotated[str, typer.Option(help="Model whose scores are used, for strategies that need them; see `curate score`.")] = BASE.score_model,
    encoder: Annotated[str, typer.Option(help="minilm, static, tfidf, a sentence-transformers model (hub id or path), or auto: minilm for small pools, else static.")] = BASE.encoder,
    vectors: Annotated[str | None, typer.Option(help="Your own vectors instead of an encoder's: .npy, one a row of the pool in order, or .npz with ids and vectors.")] = None,
    embed: Annotated[str, typer.Option(help="What of a row is embedded: instruction, output or both.")] = BASE.embed,
    batch_size: Annotated[int, typer.Option(help="Rows per encoder batch; part of the cache key.")] = BASE.batch_size,
    k: Annotated[int, typer.Option(help="How many rows to pick.")] = BASE.k,
    token_budget: Annotated[int | None, typer.Option(help="Pick rows of at most this many tokens in all, instead of --k.")] = None,
    min_tokens: Annotated[int, typer.Option(help="Shortest whole example, in tokens.")] = BASE.min_tokens,
    max_tokens: Annotated[int, typer.Option(help="Longest whole example, in tokens.")] = BASE.max_tokens,
    holdout: Annotated[int, typer.Option(help="Rows held out for evaluation (at most a tenth of the pool).")] = BASE.holdout,
    near_duplicate: Annotated[float, typer.Option(help="Cosine from which two rows are near-duplicates.")] = BASE.near_duplicate,
    clean: Annotated[str, typer.Option(help="Cleaning checks, commas between, or all, or none; `curate checks` lists them.")] = ",".join(DEFAULT_CHECKS),
    decontaminate: Annotated[list[str] | None, typer.Option(help="humaneval, or a file of HumanEval or MBPP tasks: rows that leak one are dropped; can be repeated.")] = None,
    clusters: Annotated[int | None, typer.Option(help="Number of clusters. Default: from k and the pool.")] = None,
    coordinated: Annotated[bool, typer.Option("--coordinated", help="Draw by numbers that belong to the rows: strategies of one seed share picks, and are compared seed by seed.")] = BASE.coordinated,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = BASE.seed,
    engine: Annotated[str, typer.Option(help="Who does the work, with the same result: local (this machine) or ray (a cluster).")] = LOCAL,
    ray_address: Annotated[str | None, typer.Option(help="auto or HOST:PORT of a Ray cluster. Default: Ray is started here.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: $ROWPICK_HOME/selections/NAME.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON instead of the path.")] = False,
) -> None:  # fmt: skip
    """Pick k rows, hold some out, and write a selection with a reason for every row of the pool."""
    from curate.config import SelectConfig
    from curate.pipeline import select as run_select
    from curate.strategies.table import STRATEGIES, parse_options

    strategy = strategy or (DEFAULT_STRATEGY if target is None else TARGET_STRATEGY)
    config = SelectConfig(
        dataset=dataset, model=model, tokenizer=tokenizer, prompt_template=prompt_template, columns=columns,
        subset=subset, split=split, first=first, system=system, turns=turns, keep_where=tuple(keep_where or ()),
        strategy=strategy, keep=keep, pick_where=tuple(pick_where or ()), cap=tuple(cap or ()), target=target, influence=influence, mixture=mixture, draws=draws, score_model=score_model,
        encoder=encoder, vectors=vectors, embed=embed, batch_size=batch_size, k=k, token_budget=token_budget,
        min_tokens=min_tokens, max_tokens=max_tokens, holdout=holdout, near_duplicate=near_duplicate,
        clusters=clusters, coordinated=coordinated, seed=seed, clean=parse_checks(clean), decontaminate=tuple(decontaminate or ()),
        strategy_options=parse_options([strategy], strategy_option or [])[strategy] if strategy in STRATEGIES else {},
    )  # fmt: skip
    selection = run_select(config, out, typed_command("curate"), engine=engine, ray_address=ray_address)
    manifest = selection.manifest
    for note in manifest.config["notes"]:
        say(f"Note: {note}")
    counts = manifest.counts
    summary_table(
        selection.path.name,
        [
            ("pool", f"{counts['pool']} rows of {manifest.config['source']}"),
            ("held out", str(counts.get("held_out", 0))),
            *((name.replace(".", ": "), str(n)) for name, n in counts.items() if name.startswith("excluded.")),
            ("not picked", str(counts.get("not_picked", 0))),
            ("selected", f"{counts['selected']} rows, {counts['selected_tokens']} tokens"),
            ("seconds", f"{sum(manifest.seconds.values()):.1f}"),
        ],
    )
    print_result(manifest.model_dump(by_alias=True) if as_json else selection.path)


def with_pool_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with those options of `select` that describe the pool and the size: defined once, the same in both."""
    from inspect import Parameter, signature

    about_the_pick = {"strategy", "strategy_option", "out", "as_json"}
    own = [p for p in signature(command, eval_str=True).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    shared = signature(select, eval_str=True).parameters.values()
    both = [*own, *(p for p in shared if p.name not in about_the_pick)]
    command.__signature__ = signature(command).replace(parameters=both)  # type: ignore[attr-defined]
    return command


COMPARE_EXAMPLES = """Examples:

  curate compare --dataset stdlib --model smollm2-135m --strategies random,kmeans --k 500

  curate compare --dataset rows.jsonl --tokenizer ./llama2-tokenizer --strategies random,mmr --strategy-option relevance=0.7"""


@app.command(epilog=COMPARE_EXAMPLES)
@with_pool_options
def compare(
    strategies: Annotated[str, typer.Option(help="Strategies with commas between, or all.")] = "all",
    strategy_option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for those of the strategies that take it; can be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: reports/compare-DIGEST.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    **pool: Any,
) -> None:  # fmt: skip
    """Put strategies side by side on one pool: coverage, variety, clusters, lengths, sources, time."""
    from curate.comparison.recipe import compare as run_compare
    from curate.comparison.recipe import comparison_table, parse_strategies
    from curate.config import CompareConfig, SelectConfig
    from curate.strategies.table import parse_options

    names = parse_strategies(strategies)
    options = {
        name: value for own in parse_options(names, strategy_option or []).values() for name, value in own.items()
    }
    pool |= {
        "clean": parse_checks(pool["clean"]),
        **{name: tuple(pool[name] or ()) for name in ("decontaminate", "keep_where", "pick_where", "cap")},
    }
    workers = {name: pool.pop(name) for name in ("engine", "ray_address")}
    config = CompareConfig(strategies=tuple(names), options=options, pool=SelectConfig(**pool))
    compared = run_compare(config, out, typed_command("curate"), **workers)
    say(compared.record.headline)
    columns_table(*comparison_table(compared))
    for result in compared.results:
        if result.reason is not None:
            say(f"{result.strategy} picked nothing: {result.reason}")
    print_result(compared.as_dict() if as_json else compared.path / "index.html")


@app.command(epilog=SCORE_EXAMPLES)
def score(
    dataset: Annotated[str, typer.Option(help="Hub id (ID@REVISION), file or folder, or stdlib.")] = BASE.dataset,
    score_model: Annotated[str, typer.Option(help="Small causal model that reads the rows. Hub id, path or smollm2-135m.")] = BASE.score_model,
    columns: Annotated[str | None, typer.Option(help="Other column names: instruction=NAME,output=NAME[,input=NAME], or messages=NAME.")] = None,
    subset: Annotated[str | None, typer.Option(help="Subset of a hub dataset, where it has several.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of a hub dataset. Default: train, or the only one.")] = None,
    first: Annotated[int | None, typer.Option(help="Only the first N rows of a hub dataset, streamed.")] = None,
    system: Annotated[str, typer.Option(help="System messages: drop, keep or require, as in `curate select`.")] = BASE.system,
    turns: Annotated[str, typer.Option(help="Conversations: single, last or all, as in `curate select`.")] = BASE.turns,
    max_tokens: Annotated[int, typer.Option(min=2, help="Longer rows are left unscored.")] = DEFAULT_SCORE_MAX_TOKENS,
    engine: Annotated[str, typer.Option(help="Who scores, with the same result: local (this machine) or ray (a cluster).")] = LOCAL,
    ray_address: Annotated[str | None, typer.Option(help="auto or HOST:PORT of a Ray cluster. Default: Ray is started here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON instead of the path.")] = False,
) -> None:  # fmt: skip
    """Score every row with a small model, for the strategies that need scores. Stopped, it goes on where it was."""
    from curate.engines import open_engine
    from curate.pool.read_options import ReadOptions
    from curate.scores.kept_scores import scores_path
    from curate.scores.scoring import score_rows
    from curate.sources import load_rows

    options = ReadOptions(system=system, subset=subset, split=split, first=first, turns=turns)
    with open_engine(engine, ray_address) as workers:
        counts = score_rows(load_rows(dataset, columns, options, workers).rows, score_model, max_tokens, workers)
    path = scores_path(score_model)
    summary_table(f"scores by {score_model}", [(name.replace("_", " "), str(n)) for name, n in counts.items()])
    print_result({**counts, "path": str(path)} if as_json else path)


@app.command(epilog="Examples:\n\n  curate strategies\n\n  curate strategies --json")
def strategies(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the strategies: what each does, what it needs, its options and its source."""
    from curate.strategies.table import STRATEGIES, listed_strategies, strategy_lines

    if as_json:
        print_result(listed_strategies())
        return
    print("\n".join(strategy_lines()))
    print_added(STRATEGIES)


@app.command(epilog="Examples:\n\n  curate checks\n\n  curate checks --json")
def checks(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """List the cleaning checks that `curate select --clean` takes: what each drops, and under which reason code."""
    from dataclasses import asdict

    from curate.cleaning.table import CHECKS

    if as_json:
        print_result({name: {k: v for k, v in asdict(check).items() if k != "load"} for name, check in CHECKS.items()})
        return
    for name, check in CHECKS.own.items():
        print(f"{name:<20} {check.reason:<18} {check.help}{'' if check.on else ' (off by default)'}")
    print_added(CHECKS)


@app.command(epilog="Examples:\n\n  curate inspect\n\n  curate inspect kmeans-k1000-0a1b2c3d --row 12")
def inspect(
    selection: Annotated[str | None, typer.Argument(help="Name or folder of a selection. Default: the newest.")] = None,
    row: Annotated[
        str | None, typer.Option(help="Row id (or its start) or row index: why it was kept or dropped.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Explain a selection, or one row of its pool."""
    from dataclasses import asdict

    from curate.selection.inspection import row_lines, summarise, summary_rows, tell_row
    from curate.selection.record import read_selection

    chosen = read_selection(selection)
    if row is not None:
        stories = tell_row(chosen, row)
        if as_json:
            print_result({"rows": [asdict(story) for story in stories]})
            return
        print_result("\n".join(map(row_lines, stories)))
        return
    summary = summarise(chosen)
    if as_json:
        print_result(summary)
        return
    summary_table(summary["name"], summary_rows(summary))
    print_result(chosen.path)


@app.command(epilog="Examples:\n\n  curate show\n\n  curate show kmeans-k1000-0a1b2c3d --rows 3 --cluster 12 --whole")
def show(
    selection: Annotated[str | None, typer.Argument(help="Name or folder of a selection. Default: the newest.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many picks, from as many clusters as there are.")] = 8,
    cluster: Annotated[int | None, typer.Option(help="Of this cluster alone.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Whole texts; without this, long ones are cut.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:  # fmt: skip
    """Print a few picked rows, cluster by cluster."""
    from curate.selection.record import read_selection
    from curate.selection.showing import choose_shown, shown_lines

    shown = choose_shown(read_selection(selection), rows, cluster)
    print_result({"clusters": [each.as_record() for each in shown]} if as_json else shown_lines(shown, whole))


@app.command(
    epilog="Examples:\n\n  curate overlap kmeans-k1000-0a1b2c3d random-k1000-4e5f6a7b\n\n  curate overlap a b --json"
)
def overlap(
    first: Annotated[str, typer.Argument(help="Name or folder of a selection.")],
    second: Annotated[str, typer.Argument(help="Name or folder of another.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON, with the ids of the rows in both.")] = False,
) -> None:  # fmt: skip
    """Tell how many rows two selections share, and whether one picked what the other holds out."""
    from curate.selection.overlap import measure_overlap, overlap_lines
    from curate.selection.record import read_selection

    measured = measure_overlap(read_selection(first), read_selection(second))
    print_result(measured.as_record() if as_json else overlap_lines(measured))


@app.command(
    epilog="Examples:\n\n  curate push me/my-rows\n\n  curate push me/my-rows --selection kmeans-k1000-0a1b2c3d --public"
)
def push(
    repository: Annotated[str, typer.Argument(help="Name on the hub: OWNER/NAME.")],
    selection: Annotated[str | None, typer.Option(help="Name or folder of a selection. Default: the newest.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public. The rows' licence is that of their source.")] = False,
    any_license: Annotated[bool, typer.Option("--any-license", help="Make it public although licences are unknown or mixed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded; ask nobody.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print address, commit and files as JSON.")] = False,
) -> None:  # fmt: skip
    """Upload a selection to the hub as a dataset, with its card; private unless told otherwise."""
    from curate.selection.hub_upload import push_or_show
    from curate.selection.record import read_selection

    sent = push_or_show(read_selection(selection), repository, not public, any_license, dry_run)
    print_result(sent.as_record() if as_json else sent.result)


@app.command(
    epilog="Examples:\n\n  curate verify\n\n  curate verify kmeans-k1000-0a1b2c3d reports/compare-0a1b2c3d --json"
)
def verify(
    artifacts: Annotated[list[str] | None, typer.Argument(metavar="[ARTIFACT]...", help="Names or folders. Default: every selection and comparison.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:  # fmt: skip
    """Hold every file of an artifact against its manifest; name each bad one and exit 1 where there is one."""
    from curate.artifact.verify import require_all_whole, result_lines
    from curate.artifact.verify import verify as look
    from curate.comparison.record import KIND as COMPARISON
    from curate.selection.record import KIND, selections_dir

    verified = look(artifacts or [], [(selections_dir(), KIND), (Path("reports"), COMPARISON)])
    print_result(
        {"artifacts": [each.as_record() for each in verified]} if as_json else "\n".join(result_lines(verified))
    )
    require_all_whole(verified)


@app.command("clean-cache", epilog="Examples:\n\n  curate clean-cache\n\n  curate clean-cache --yes")
def clean_cache(
    yes: Annotated[bool, typer.Option("--yes", help="Free it; without this, only show it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what the cache holds, and free it with --yes. Everything in it can be computed again."""
    from dataclasses import asdict

    from curate.artifact.shared_cache import free_caches, list_caches

    parts = list_caches()
    freed = free_caches() if yes else 0
    if as_json:
        print_result({"parts": [asdict(part) for part in parts], "freed_bytes": freed})
        return
    for part in parts:
        print(f"{part.name:<20} {part.files:>6} files {part.bytes / 1e6:>10.1f} MB")
    if not parts:
        print("The cache is empty.")
    elif yes:
        print(f"freed {freed / 1e6:.1f} MB")
    else:
        say("Free it with: curate clean-cache --yes")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit code comes back."""
    return run_command(app, argv)


if __name__ == "__main__":
    sys.exit(main())
