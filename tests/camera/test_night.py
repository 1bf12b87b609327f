"""Tests of cascade.camera.night."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

import cascade.camera
from cascade.camera import CAMERAS, Camera, mjd_of_night, night_of
from cascade.core.errors import ConfigError

DECAM = (Path(cascade.camera.__file__).parent / "decam.toml").read_text(encoding="utf-8")
OBSERVATORY = "observatory = { night_rollover_utc_h = 12.0 }\n"
MAUNAKEA_NOON = 12 + 155.47 / 15
MJD_EPOCH = date(1858, 11, 17)


def camera_at(folder, observatory):
    """DECam at another observatory."""
    assert OBSERVATORY in DECAM
    path = folder / "camera.toml"
    path.write_text(DECAM.replace(OBSERVATORY, observatory), encoding="utf-8")
    return Camera.load(str(path))


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize(
    ("mjd_obs", "night"),
    [
        (56232.49, date(2012, 10, 31)),  # 1 November 2012, 11:45 UTC: still the night before
        (56232.5, date(2012, 11, 1)),
        (56232.51, date(2012, 11, 1)),
        (56233.3, date(2012, 11, 1)),
    ],
)
def test_a_night_in_chile_runs_from_noon_to_noon_utc(name, mjd_obs, night):
    assert night_of(mjd_obs, Camera.load(name)) == night


def test_a_night_of_hawaii_has_one_date(tmp_path):
    hawaii = camera_at(tmp_path, f"observatory = {{ night_rollover_utc_h = {MAUNAKEA_NOON} }}\n")
    # Sunset of 31 October 2012 at 17:50 local time is 3:50 UTC of 1 November, sunrise at 6:30 is 16:30 UTC.
    first_of_november = (date(2012, 11, 1) - MJD_EPOCH).days
    hours = np.linspace(3.8, 16.5, 40)
    assert {night_of(first_of_november + hour / 24, hawaii) for hour in hours} == {date(2012, 10, 31)}
    assert len({night_of(first_of_november + hour / 24, Camera.decam()) for hour in hours}) == 2


@pytest.mark.parametrize("longitude_deg", range(-180, 180, 30))
def test_rollover_at_local_noon_gives_the_local_date_at_sunset(tmp_path, longitude_deg):
    noon = (12 - longitude_deg / 15) % 24
    camera = camera_at(tmp_path, f"observatory = {{ night_rollover_utc_h = {noon} }}\n")
    local_midnight = (date(2012, 11, 1) - MJD_EPOCH).days - longitude_deg / 360
    for hours in (-11, -6, 0, 6, 11):
        assert night_of(local_midnight + hours / 24, camera) == date(2012, 10, 31) + timedelta(
            days=longitude_deg == -180  # whose date is that of 180 degrees east here
        )


def test_camera_without_an_observatory_changes_the_date_at_noon_utc(tmp_path):
    camera = camera_at(tmp_path, "")
    assert [night_of(mjd, camera).day for mjd in (56232.49, 56232.5)] == [31, 1]


@pytest.mark.parametrize("hour", [0, 12, 22.36])
def test_night_and_its_middle_are_inverse(tmp_path, hour):
    camera = camera_at(tmp_path, f"observatory = {{ night_rollover_utc_h = {hour} }}\n")
    for mjd in np.linspace(56000, 60000, 7):
        night = night_of(mjd, camera)
        assert night_of(mjd_of_night(night, camera), camera) == night
        assert abs(mjd_of_night(night, camera) - mjd) <= 0.5
    assert mjd_of_night(date(2012, 10, 31), Camera.decam()) == 56232.0


@pytest.mark.parametrize("hour", ["-0.5", "24", "nan"])
def test_rollover_beyond_a_day_is_refused(tmp_path, hour):
    with pytest.raises(
        ConfigError, match=rf"observatory.night_rollover_utc_h: expected a number in \[0, 24\), got {hour}"
    ):
        camera_at(tmp_path, f"observatory = {{ night_rollover_utc_h = {hour} }}\n")


@pytest.mark.parametrize(
    "mjd_obs", [None, 0.0, -1.0, 2457828.76, 20170316.0, 1.49e9, float("nan"), float("inf"), 1e300]
)
def test_time_that_is_no_mjd_has_no_night(mjd_obs):
    assert night_of(mjd_obs, Camera.decam()) is None
