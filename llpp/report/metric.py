"""The metric of the task in the report: its name, and the quantities that it appears in.

A quantity is a column of a round's row; `{metric}` in it stands for the name that the task gives its metric.
"""

from collections.abc import Iterable

METRIC_SETTINGS = "pck"  # section of config.yaml that says how pose measures it; other tasks have no such section
DEFAULT_NAME = "pck"  # of runs that recorded none, which had only poses
DEFAULT_TITLE = "PCK"

TEST_METRIC = "test_{metric}"  # on the test images
TEST_METRIC_AREA = f"{TEST_METRIC}_auc"  # area under its curve over all thresholds
TEST_METRIC_AT = f"{TEST_METRIC}_at_"  # followed by another threshold
SELECTED_METRIC = "selected_{metric}"  # of the images that the round selected
POOL_METRIC = "pool_{metric}"  # of all unlabelled images that were scored

# How well failures are found on the test images, followed by a measure: augrc, auroc, risk_at_80, … With other
# prefixes, by what else the network says about itself, such as distinctness_.
FAILURE_PREFIX = "failure_"  # by predicted loss
CONFIDENCE_PREFIX = "confidence_"  # by the network's own confidence
RANKER_PREFIX = "ranker_"  # by what ranks in that round, where it was chosen
FAILURE_SHARE = "failure_share"  # how many there are

TEST_FILE = "test.parquet"  # of a round: one row per test image

# Column of a round's score tables: one value per image.
IMAGE_METRIC = "quality"


def resolve_column(quantity: str, metric: str) -> str:
    """Return the column of a quantity: `test_{metric}` → test_pck."""
    return quantity.replace("{metric}", metric)


def list_free_rankers(columns: Iterable[str]) -> list[str]:
    """Return what a network says about itself of which the columns of a round's row say how it finds failures."""
    names = []
    for column in columns:
        prefix = column.removesuffix("augrc")
        if prefix != column and prefix not in (FAILURE_PREFIX, RANKER_PREFIX):
            names.append(prefix.removesuffix("_"))
    return names
