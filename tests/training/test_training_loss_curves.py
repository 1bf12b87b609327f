import struct

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from cascade.training.loss_curves import EventLog, plot_losses


def events(folder):
    """All scalars in the event files of a folder, as (name, step, value)."""
    found = set()
    for path in folder.glob("events.out.tfevents.*"):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)  # then a checksum, the event, a checksum
            event = Event.FromString(content[place + 12 : place + 12 + length])
            found |= {(value.tag, event.step, value.simple_value) for value in event.summary.value}
            place += length + 16
    return found


def test_every_value_is_logged_for_tensorboard(tmp_path):
    EventLog(tmp_path / "logs", 50).on_epoch_end(2, {"loss": 0.5, "val_ccd_f1": 0.25})
    assert events(tmp_path / "logs") == {("loss", 150, 0.5), ("val_ccd_f1", 150, 0.25)}


def test_nothing_to_log_is_no_error(tmp_path):
    EventLog(tmp_path / "logs", 50).on_epoch_end(0, None)
    assert events(tmp_path / "logs") == set()


def test_epochs_within_a_second_are_all_logged(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    log = EventLog(tmp_path / "logs", 50)
    for epoch in range(3):
        log.on_epoch_end(epoch, {"loss": float(epoch)})
    assert events(tmp_path / "logs") == {("loss", 50, 0.0), ("loss", 100, 1.0), ("loss", 150, 2.0)}


def picture_of(tmp_path, text):
    """The pixels of the curves of a table."""
    (tmp_path / "losses.csv").write_text(text)
    plot_losses(tmp_path / "losses.csv", tmp_path / "losses.png")
    with Image.open(tmp_path / "losses.png") as picture:
        return np.asarray(picture.convert("RGB"))


FALLING = "step,loss,mask_loss\n50,4.0,1.0\n100,2.0,0.5\n150,1.0,0.25\n"


@pytest.mark.slow
def test_curves_are_drawn(tmp_path):
    picture = picture_of(tmp_path, FALLING)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 500
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20  # lines of several colours
    rising = picture_of(tmp_path, FALLING.replace("1.0,0.25", "9.0,8.0"))
    assert not np.array_equal(rising, picture)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["step,loss\n50,0.5\n", "step,loss,val\n50,2.0,\n100,1.0,0.5\n", "step,loss,x\n50,1,\n"]
)
def test_short_and_patchy_tables_are_drawn(text, tmp_path):
    assert picture_of(tmp_path, text).std() > 0
