"""The source tree, as the tests of its order look at it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def entries(folder: Path) -> list[Path]:
    """Files and folders of `folder` that are part of the project."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__pycache__")))


def modules_in(room: str) -> list[str]:
    """Dotted names of all modules under the folder `room`."""
    paths = sorted((ROOT / room).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
