"""Where the labels of a project are kept, and where not."""

import pytest

from llpp.errors import ConfigError
from llpp.journal.folder import find_labelling_folder


def test_labels_are_in_a_folder_with_the_name_of_the_images_or_in_the_one_that_was_chosen(tmp_path, monkeypatch):
    (tmp_path / "mice").mkdir()
    monkeypatch.chdir(tmp_path / "mice")
    assert str(find_labelling_folder(tmp_path / "mice", None).path) == "labelling/mice"
    # Also below the images, for those who start llpp there.
    assert str(find_labelling_folder(tmp_path / "mice", "labels").path) == "labels"


@pytest.mark.parametrize("labelling", ["", ".", "mice", "mice/", "mice/../mice"])
def test_labels_are_not_kept_where_the_images_are(labelling, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mice").mkdir()
    with pytest.raises(ConfigError, match="holds the images of mice; expected a folder for labels alone"):
        find_labelling_folder((tmp_path / "mice").relative_to(tmp_path), labelling)


def test_a_file_is_no_folder_of_labels(tmp_path):
    (tmp_path / "export.json").touch()
    with pytest.raises(ConfigError, match=r"export\.json is a file; expected a folder"):
        find_labelling_folder(tmp_path / "mice", str(tmp_path / "export.json"))
