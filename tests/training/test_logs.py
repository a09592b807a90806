"""Logs of learning curves."""

from __future__ import annotations

import csv
import math

from tensorboardX.proto.event_pb2 import Event

from pipeline.training.logs import Log


def events(folder):
    """Events of all files, in order of time: records of length, checksum, data, checksum."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return sorted(found, key=lambda event: event.wall_time)


def rows(folder):
    with (folder / "curve.csv").open(newline="") as file:
        return [(int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(file)]


def test_a_curve_is_in_the_events_and_to_the_last_bit_in_the_table(tmp_path):
    with Log(tmp_path / "stage") as log:
        for step in range(3):
            log.scalars(step, {"loss": 0.1 / (step + 3), "skill, tune": -step})
    expected = [(step, name, value) for step in range(3) for name, value in (("loss", 0.1 / (step + 3)), ("skill, tune", -step))]
    assert rows(tmp_path / "stage") == expected
    seen = [(event.step, value.simple_value) for event in events(tmp_path / "stage") for value in event.summary.value]
    assert [step for step, _ in seen] == [step for step, _, _ in expected]
    assert all(math.isclose(value, other, rel_tol=1e-6) for (_, value), (_, _, other) in zip(seen, expected, strict=True))


def test_what_a_killed_training_did_after_its_checkpoint_is_told_once(tmp_path):
    with Log(tmp_path) as log:
        for step in range(6):
            log.scalars(step, {"loss": float(step)})
    with (tmp_path / "curve.csv").open("a") as file:
        file.write("6,lo")
    with Log(tmp_path, start=3) as log:
        for step in range(4, 8):
            log.scalars(step, {"loss": 10.0 * step})
    assert rows(tmp_path) == [(step, "loss", step if step <= 3 else 10 * step) for step in range(8)]
    # From here on TensorBoard forgets what the first file said.
    assert [event.step for event in events(tmp_path) if event.session_log.status] == [0, 4]


def test_a_training_from_the_beginning_keeps_nothing_of_the_one_before(tmp_path):
    for value in (1.0, 2.0):
        with Log(tmp_path) as log:
            log.scalars(0, {"loss": value})
    assert rows(tmp_path) == [(0, "loss", 2.0)]
