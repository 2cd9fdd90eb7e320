"""The report in plain words, computed from its numbers."""

from collections.abc import Sequence

from llpp.report.collect import Cell, Section
from llpp.report.metric import POOL_METRIC, SELECTED_METRIC, TEST_METRIC
from llpp.report.tables import describe_spread

LabelledCells = list[tuple[Cell, str]]  # with the label of the method


def summarise_section(section: Section) -> str:
    """Return one paragraph about a section."""
    if not section.started_methods:
        return "No round is committed yet, so there is nothing to compare."
    sentences = [
        _describe_first_selection(section),
        _describe_learning(section),
        _describe_ranking(section),
        _describe_seeds(section),
    ]
    return " ".join(filter(None, sentences))


def _compute_cells(section: Section, quantity: str, labelled: int) -> LabelledCells:
    """Return the cells of the methods that know a quantity at this number of labelled images."""
    cells = []
    for method in section.methods:
        cell = method.compute_cell(quantity, labelled)
        if cell:
            cells.append((cell, method.label))
    return cells


def _describe_first_selection(section: Section) -> str:
    """Compare what the methods chose in the first selection, with each other or with the pool."""
    counts = section.list_label_counts(SELECTED_METRIC)
    if not counts:
        return "No round has selected images yet."
    means = []
    pool_means = []
    for method in section.methods:
        cell = method.compute_cell(SELECTED_METRIC, counts[0])
        if cell is None:
            continue
        means.append((cell.mean, method.label))
        pool = method.compute_cell(POOL_METRIC, counts[0])
        if pool:
            pool_means.append(pool.mean)
    # The method that found the most failures comes first.
    means.sort(reverse=not section.higher_is_better)
    (worst, first), *others = means

    metric = section.get_metric_name("train")
    sentence = f"In the first selection, {first} chose images with a mean {metric} of {worst:.2f}"
    if others:
        words = [f"those of {label} had {mean:.2f}" for mean, label in others]
        sentence += f" where {_join_words(words)}"
    if pool_means:
        sentence += f" (the pool: {_format_range(pool_means)})"
    # A single method can only be compared with the pool.
    if pool_means and not others:
        (pool_mean,) = pool_means
        is_harder = worst < pool_mean if section.higher_is_better else worst > pool_mean
        if is_harder:
            sentence += ", so it found images harder than the average"
        else:
            sentence += ", no harder than average"
    direction = "lower" if section.higher_is_better else "higher"
    return f"{sentence}; a {direction} value means that it found more of the model's failures."


def _format_range(values: Sequence[float]) -> str:
    low = f"{min(values):.2f}"
    high = f"{max(values):.2f}"
    if low == high:
        return low
    return f"{low} to {high}"


def _describe_learning(section: Section) -> str:
    """Compare the test metric at the largest number of labels that all seeds of all methods reached."""
    count = _find_last_common_count(section)
    if count is None:
        return ""
    cells = _compute_cells(section, TEST_METRIC, count)
    cells.sort(key=_get_mean, reverse=section.higher_is_better)
    words = []
    spreads = []
    for cell, label in cells:
        words.append(f"{cell.mean:.3f} for {label}")
        if cell.std is not None:
            spreads.append(cell.std)
    metric = section.get_metric_name("test")
    sentence = f"With {count:,} labelled images, the test {metric} is {_join_words(words)}"
    # One method without a spread, or no second one, and there is nothing to judge the difference by.
    if len(cells) > 1 and len(spreads) == len(cells):
        gap = abs(cells[0][0].mean - cells[1][0].mean)
        spread = max(spreads)
        relation = "no more than" if gap <= spread else "more than"
        sentence += f"; the two best differ by {gap:.3f}, {relation} the seeds of one method do (std {spread:.3f})"
    return sentence + "."


def _get_mean(labelled_cell: tuple[Cell, str]) -> float:
    cell, _ = labelled_cell
    return cell.mean


def _find_last_common_count(section: Section) -> int | None:
    """Return the largest number of labels at which every seed of every started method has a test metric."""
    for count in reversed(section.list_label_counts(TEST_METRIC)):
        values = 0
        seeds = 0
        for method in section.started_methods:
            seeds += len(method.started_runs)
            cell = method.compute_cell(TEST_METRIC, count)
            if cell:
                values += len(cell.values)
        if values == seeds:
            return count
    return None


def _describe_ranking(section: Section) -> str:
    """Say how well the first round's head ordered the losses."""
    counts = section.list_label_counts("loss_spearman")
    if not counts:
        return ""
    correlations = [(cell.mean, label) for cell, label in _compute_cells(section, "loss_spearman", counts[0])]
    correlations.sort(reverse=True)
    words = [f"{rho:.2f} for {label}" for rho, label in correlations]
    # Methods that differ in the selection only share their first model, so one number stands for all of them.
    highest = f"{correlations[0][0]:.2f}"
    lowest = f"{correlations[-1][0]:.2f}"
    if highest == lowest:
        words = [highest]
    return (
        "On the test images, the loss head of the first round orders images by loss with Spearman ρ "
        f"{_join_words(words)} (1 is perfect, 0 is chance)."
    )


def _describe_seeds(section: Section) -> str:
    note = describe_spread(section)
    if note.startswith("1 seed"):
        return "All of this is 1 seed, so there is no spread to judge differences by."
    return f"Means over {note.removeprefix('mean ± standard deviation (n − 1) over ')}."


def _join_words(words: Sequence[str]) -> str:
    """Join words as `a, b and c`; of more than three, show the first and the last."""
    if len(words) == 1:
        return words[0]
    if len(words) > 3:
        return f"{words[0]}, …, {words[-1]}"
    return f"{', '.join(words[:-1])} and {words[-1]}"
