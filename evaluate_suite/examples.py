"""The two examples that end the help of each `evalsuite` command; a test parses them."""

REPORT_EXAMPLES = """Examples:

  evalsuite report

  evalsuite report kmeans-k1000-0a1b2c3d random-k1000-4e5f6a7b --out reports/first --fail-on overfit,regression"""

SCORE_EXAMPLES = """Examples:

  evalsuite score generations.jsonl

  evalsuite score generations.jsonl --out scores.jsonl --json"""

VERDICT_EXAMPLES = """Examples:

  evalsuite verdict history.jsonl

  evalsuite verdict losses.csv --columns step=iter,eval_loss=dev --json"""

WATCH_EXAMPLES = """Examples:

  evalsuite watch kmeans-k1000-0a1b2c3d

  evalsuite watch artifacts/runs/kmeans-k1000-0a1b2c3d --port 8123"""

COMPARE_EXAMPLES = """Examples:

  evalsuite compare kmeans-k1000-0a1b2c3d random-k1000-4e5f6a7b --baseline random-k1000-4e5f6a7b

  evalsuite compare ours=a0.jsonl,a1.jsonl,a2.jsonl theirs=b0.jsonl,b1.jsonl,b2.jsonl --json"""

STUDY_EXAMPLES = """Examples:

  evalsuite study --strategies random,kmeans --draws 5 --token-budget 50000 --random-budgets 25000,100000

  evalsuite study --file study.yaml --dry-run"""

EXECUTE_EXAMPLES = """Examples:

  evalsuite execute --tasks HumanEval.jsonl --generations generations.jsonl

  evalsuite execute --tasks HumanEval.jsonl --generations generations.jsonl --out results.jsonl --execute"""

MIXTURE_EXAMPLES = """Examples:

  evalsuite mixture --dataset rows.jsonl --token-budget 150000 --dry-run

  evalsuite mixture --dataset rows.jsonl --token-budget 150000 --proxies 96 --workers 4 --min-correlation 0.6"""

BEST_OF_DRAWS_EXAMPLES = """Examples:

  evalsuite best-of-draws --dataset rows.jsonl --token-budget 150000

  evalsuite best-of-draws --dataset rows.jsonl --token-budget 150000 --draws 16 --strategy well-formed --json"""
