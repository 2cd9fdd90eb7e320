"""The metric of the task in the report: its name, and the columns and settings that hold it."""

METRIC_NAME = "PCK"  # where a sentence names no threshold
METRIC_SETTINGS = "pck"  # group of config.yaml that says how it is measured

# Columns of a round's row in state.json.
TEST_METRIC = "test_pck"  # on the test images
TEST_METRIC_AREA = f"{TEST_METRIC}_auc"  # area under its curve over all thresholds
TEST_METRIC_AT = f"{TEST_METRIC}_at_"  # followed by another threshold
SELECTED_METRIC = "selected_pck"  # of the images that the round selected
POOL_METRIC = "pool_pck"  # of all unlabelled images that were scored

# Column of a round's score tables: one value per image.
IMAGE_METRIC = "pck"
