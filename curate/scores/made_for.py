"""What a mixing law or a draw was made for: it steers selections from the same pool, for the same model, alone."""

from __future__ import annotations

from curate.artifact import RecordPart
from curate.errors import UserError


class MadeFor(RecordPart):
    """The pool by content (the digest does not depend on the order of its rows), how many of its rows were held out
    and so unseen, and the model whose tokenizer counted."""

    pool_digest: str
    held_out: int
    model: str
    tokenizer_digest: str

    def require(self, name: str, command: str, now: MadeFor) -> None:
        """Raise a `UserError` where a selection is not of the pool and the model that `name` was made for.

        Fewer rows held out are fine: a smaller holdout of the same pool is a part of the larger one. More are not: the
        rest of them was trained on, or measured.
        """
        again = f"Make one for this selection: {command}"
        if now.pool_digest != self.pool_digest:
            raise UserError(f"{name} was made for another pool: the rows of this --dataset are not the same.", again)
        if (now.model, now.tokenizer_digest) != (self.model, self.tokenizer_digest):
            what = f"{self.model}, not {now.model}" if now.model != self.model else f"another tokenizer of {self.model}"
            raise UserError(f"{name} was made for {what}.", again)
        if now.held_out > self.held_out:
            raise UserError(
                f"{name} was made with {self.held_out} rows held out, and --holdout now reserves {now.held_out}: "
                "it has seen the others.",
                f"Take --holdout {self.held_out} or less. {again}",
            )
