"""Files of labels as DeepLabCut and Lightning Pose save them: written cell by cell, as a person's program would."""

import csv


class JointTableFile:
    """A CSV of one or several individuals; cells stay as they are written, so that nothing is rounded on the way."""

    def __init__(self, path, scorer, joints, individuals=()):
        self.path = path
        if not path.exists():
            owners = individuals or [""]
            columns = [(owner, joint, axis) for owner in owners for joint in joints for axis in "xy"]
            rows = [["scorer"], ["individuals"], ["bodyparts"], ["coords"]]
            for owner, joint, axis in columns:
                for row, cell in zip(rows, (scorer, owner, joint, axis), strict=True):
                    row.append(cell)
            if not individuals:
                del rows[1]
            self.write(rows)

    def read(self):
        with self.path.open(newline="") as file:
            return list(csv.reader(file))

    def write(self, rows):
        with self.path.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)

    def split(self):
        rows = self.read()
        count = 4 if rows[1][0] == "individuals" else 3
        return rows[:count], rows[count:]

    def locate(self, joint, person):
        """The places of a joint's x and y; persons are counted as the file has their individuals."""
        headers, _ = self.split()
        named = [place for place, cell in enumerate(headers[-2]) if cell == joint and place]
        return named[2 * person], named[2 * person + 1]

    def put(self, name, persons):
        """Add a row, or replace its cells; `persons` are mappings of joints to x, y, visible."""
        headers, rows = self.split()
        cells = [name] + [""] * (len(headers[0]) - 1)
        for number, joints in enumerate(persons):
            for joint, (x, y, _) in joints.items():
                across, down = self.locate(joint, number)
                cells[across] = repr(float(x))
                cells[down] = repr(float(y))
        rows = [row for row in rows if row[0] != name]
        self.write([*headers, *rows, cells])

    def change(self, name, joint, person, edit):
        headers, rows = self.split()
        places = self.locate(joint, person)
        for row in rows:
            if row[0] == name:
                values = edit(float(row[places[0]]), float(row[places[1]]))
                for place, value in zip(places, values, strict=True):
                    row[place] = "" if value is None else repr(value)
        self.write([*headers, *rows])

    def drop(self, name):
        headers, rows = self.split()
        self.write([*headers, *(row for row in rows if row[0] != name)])

    def repeat(self, name):
        headers, rows = self.split()
        self.write([*headers, *rows, *(row for row in rows if row[0] == name)])

    def reverse(self):
        """Rows and columns in the opposite order; x stays in front of y within no joint, and does not have to."""
        rows = self.read()
        headers, others = self.split()
        rows = [*headers, *reversed(others)]
        self.write([[row[0], *reversed(row[1:])] for row in rows])
