"""A labelling tool that writes text, one line for each image of a batch with all that it is given."""

from llpp.files import replace_text
from llpp.oracles.tool import FileContent, LabellingTool


class TextTool(LabellingTool):
    """Writes `to_label.txt`."""

    name = "text"
    title = "Notepad <2>"
    answered = "A line with a number is an answer."

    def write(self, batch, folder, options):
        """See `LabellingTool.write`."""
        path = folder / f"to_label{options.part}.txt"
        lines = []
        for image in batch.images:
            joints = sum(len(person.joints) for person in image.suggested)
            lines.append(f"{image.name} {image.role} {joints} {image.predicted_loss}\n")
        replace_text(path, "".join(lines))
        return [path]

    def describe_steps(self, batch, files):
        """See `LabellingTool.describe_steps`."""
        return [f"Open {files[0].name}.", "Write joints & all.", "Save it."]

    def recognises(self, path, start):
        """See `LabellingTool.recognises`."""
        return False

    def read(self, path, options):
        """See `LabellingTool.read`."""
        return FileContent([])
