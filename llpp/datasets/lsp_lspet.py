"""LSP first, LSPET afterwards: the non-stationary protocol of LearningLoss++ (Shukla & Ahmed 2021, section 5)."""

from typing import Literal

from llpp.datasets.lsp import LeedsSportsPose
from llpp.datasets.merged import MergedDataset

PUBLISHED_HALF = 1000  # LSP's own split: so many to train, so many to test


class LspThenLspet(MergedDataset):
    """The first 1,000 images of LSP start, its last 1,000 test, and LSPET is the pool from the first selection on.

    LSP has no image left to validate with, so `val` images of LSPET do, drawn with `split_seed`; `train` keeps at
    most so many of its others.
    """

    def __init__(
        self,
        lsp_root: str,
        lspet_root: str,
        val: int,
        split_seed: int | None = 0,
        train: int | None = None,
        box: Literal["joints", "image"] = "joints",
    ) -> None:
        start = LeedsSportsPose(lsp_root, val=0, test=PUBLISHED_HALF, box=box)
        pool = LeedsSportsPose(lspet_root, val=val, test=0, train=train, split_seed=split_seed, box=box)
        super().__init__([start, pool], initial=[start.name], name="lsp_lspet")
