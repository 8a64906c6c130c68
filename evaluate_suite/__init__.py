"""Judge finished runs: loss, generations, executed code, statistics, one page."""

__all__: list[str] = []
