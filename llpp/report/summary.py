"""The report in plain words, computed from its numbers."""

from collections.abc import Sequence

from llpp.report.collect import Section
from llpp.report.tables import describe_spread


def summarise_section(section: Section) -> str:
    """One paragraph about a section."""
    if not any(method.started_runs for method in section.methods):
        return "No round is committed yet, so there is nothing to compare."
    sentences = [
        _describe_first_selection(section),
        _describe_learning(section),
        _describe_ranking(section),
        _describe_seeds(section),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _describe_first_selection(section: Section) -> str:
    """What the first selection found."""
    counts = section.list_label_counts("selected_pck")
    if not counts:
        return "No round has selected images yet."
    parts, pools = [], []
    for method in section.methods:
        if cell := method.compute_cell("selected_pck", counts[0]):
            parts.append((cell.mean, method.label))
            if pool := method.compute_cell("pool_pck", counts[0]):
                pools.append(pool.mean)
    (low, first), *others = sorted(parts)
    sentence = f"In the first selection, {first} chose images with a {section.get_metric_name('train')} of {low:.2f}"
    if others:
        sentence += f" where {_join_words([f'those of {label} had {mean:.2f}' for mean, label in others])}"
    if pools:
        sentence += f" (the pool: {_format_range(pools)})"
    if pools and not others:
        sentence += ", so it found images harder than the average" if low < min(pools) else ", no harder than average"
    return sentence + "; a lower value means that it found more of the model's failures."


def _format_range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _describe_learning(section: Section) -> str:
    """Test PCK at the largest number of labels that all seeds of all methods reached."""
    begun = [method for method in section.methods if method.started_runs]
    for count in reversed(section.list_label_counts("test_pck")):
        cells = [(cell, method.label) for method in begun if (cell := method.compute_cell("test_pck", count))]
        if sum(len(cell.values) for cell, _ in cells) == sum(len(method.started_runs) for method in begun):
            break
    else:
        return ""
    cells.sort(key=lambda found: -found[0].mean)
    words = _join_words([f"{cell.mean:.3f} for {label}" for cell, label in cells])
    sentence = f"With {count:,} labelled images, the test {section.get_metric_name('test')} is {words}"
    spreads = [cell.std for cell, _ in cells if cell.std is not None]
    if len(cells) > 1 and len(spreads) == len(cells):
        gap, spread = cells[0][0].mean - cells[1][0].mean, max(spreads)
        relation = "no more than" if gap <= spread else "more than"
        sentence += f"; the two best differ by {gap:.3f}, {relation} the seeds of one method do (std {spread:.3f})"
    return sentence + "."


def _describe_ranking(section: Section) -> str:
    """How well the first round's head ordered the losses."""
    counts = section.list_label_counts("loss_spearman")
    if not counts:
        return ""
    cells = [(cell.mean, m.label) for m in section.methods if (cell := m.compute_cell("loss_spearman", counts[0]))]
    words = [f"{rho:.2f} for {label}" for rho, label in sorted(cells, reverse=True)]
    if len({f"{rho:.2f}" for rho, _ in cells}) == 1:
        words = [f"{cells[0][0]:.2f}"]  # one seed and one recipe give one first model, whatever it selects next
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
    if len(words) > 3:
        return f"{words[0]}, …, {words[-1]}"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
