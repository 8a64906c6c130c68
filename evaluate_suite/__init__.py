"""Judge finished runs: loss, generations, executed code, statistics, one page."""
