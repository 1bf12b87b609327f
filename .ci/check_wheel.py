"""Check that a wheel has every file of the package and of the models: the tests run from the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile

# Where hatchling puts them: [tool.hatch.build.targets.wheel] in pyproject.toml.
PLACES = {"cascade/": "cascade/", "models/": "cascade/zoo/"}


def main(wheel: str) -> None:
    """End with a message if a file of the repository is not in the wheel."""
    tracked = subprocess.run(["git", "ls-files", *PLACES], capture_output=True, text=True, check=True).stdout.split()
    expected = {PLACES[f"{folder}/"] + rest for folder, rest in (path.split("/", 1) for path in tracked)}
    with zipfile.ZipFile(wheel) as archive:
        missing = expected - set(archive.namelist())
    if missing:
        sys.exit(f"{wheel}: expected every file of cascade/ and models/, lacks {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main(sys.argv[1])
