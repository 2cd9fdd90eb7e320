"""Files of labels are copied before they are read."""

from llpp.labelling.kept_copies import keep_copy


def test_every_content_of_a_file_is_kept_once(tmp_path):
    labels = tmp_path / "labeled-data/film/CollectedData_jane.csv"
    labels.parent.mkdir(parents=True)
    copies = set()
    for content in ("first", "first", "second"):
        labels.write_text(content)
        copies.add(keep_copy(labels, tmp_path / "kept"))
    assert sorted(copy.read_text() for copy in (tmp_path / "kept").iterdir()) == ["first", "second"]
    assert copies == set((tmp_path / "kept").iterdir())
    assert labels.read_text() == "second"


def test_files_of_two_films_are_kept_apart(tmp_path):
    for film in ("day1", "day2"):
        labels = tmp_path / film / "CollectedData_jane.csv"
        labels.parent.mkdir()
        labels.write_text("the same")
        keep_copy(labels, tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2
