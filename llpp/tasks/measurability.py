"""Whether a split can be measured at all, in a sentence."""

from llpp.tasks.base import Task


def find_undefined_metric(task: Task, split: str) -> str | None:
    """Return why the metric is undefined for every record of a split, and what to set; None if it is not.

    Raises:
        ConfigError: it is undefined for all records of the dataset.
    """
    rows = task.dataset.records.select_rows(split)
    if not len(rows) or task.count_measurable(rows):
        return None
    remedy = "label some of them"
    if task.metric_setting:
        remedy = f"set {task.metric_setting} or another metric that they have, or {remedy}"
    return f"{split} {task.describe_metric(rows)} is undefined: {task.explain_undefined(rows)}; {remedy}"
