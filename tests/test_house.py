"""Folders and files stay small enough to be read; what is larger is named, with the reason."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
ENTRIES, LINES = 16, 500
FOLDERS = {
    "study/language": "a domain's files beside what has a folder of its own",
    "eval/evidence": "one estimator a file, and published numbers that sweeps read without numpy",
    "eval/report": "the page's five files beside one file for each form",
    "study/language/scores": "what foreign checkpoints and texts need beside the rule",
}
FILES: dict[str, str] = {}
PATHS = [
    path
    for name in ("study", "eval", "kernels", "bench")
    for path in (ROOT / name, *(ROOT / name).rglob("*"))
    if "__pycache__" not in path.parts
]


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _entries(folder):
    return sum(each.name != "__pycache__" for each in folder.iterdir())


def test_a_folder_has_few_entries():
    large = {_name(path) for path in PATHS if path.is_dir() and _entries(path) > ENTRIES}
    assert large == FOLDERS.keys()


def test_a_file_is_short():
    files = (path for path in PATHS if path.suffix == ".py")
    long = {_name(path) for path in files if len(path.read_text().splitlines()) > LINES}
    assert long == FILES.keys()
