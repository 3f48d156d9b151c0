"""The linters that every change must pass, as tests."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

LONGEST = 350  # lines of a module

LINTERS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "import contract": ["lint-imports"],
    "mypy": ["mypy"],
    "snakefmt": ["snakefmt", "--check", "Snakefile", "rules"],
    "snakemake lint": ["snakemake", "--lint"],
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "snakemake" in name else []) for name in LINTERS]
)
def test_linters_find_nothing(name: str) -> None:
    program, *words = LINTERS[name]
    found = subprocess.run(
        [str(Path(sysconfig.get_path("scripts"), program)), *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-3000:]


def test_the_map_of_the_house_names_what_is_there() -> None:
    """Every room of docs/house.md is a folder or module, all of them are named, and so is every module."""
    text = (ROOT / "docs" / "house.md").read_text()
    package = ROOT / "i2v3d"
    rows = text[text.index("| rooms of") : text.index("Beside the package")].splitlines()[2:]
    named = {name for row in rows if row for name in re.findall(r"`(\w+)/?`", row.split("|")[1])}
    there = {path.stem for path in package.glob("[a-z]*.py")} | {
        p.parent.name for p in package.glob("*/__init__.py")
    }
    assert named == there
    modules = [
        name for name in re.findall(r"`([\w/]+\.py)`", text) if "NAME" not in name and "GROUP" not in name
    ]
    assert len(modules) > 10 and [name for name in modules if not (package / name).is_file()] == []


def test_no_module_is_too_long_to_live_in() -> None:
    modules = [path for room in ("i2v3d", "miniature") for path in (ROOT / room).rglob("*.py")]
    modules = [path for path in modules if "tests" not in path.relative_to(ROOT).parts]
    long = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in modules}
    assert len(long) > 250 and {name: lines for name, lines in long.items() if lines > LONGEST} == {}


def test_the_rules_environment_has_the_locked_versions() -> None:
    environment = yaml.safe_load((ROOT / "rules" / "environment.yaml").read_text())
    pinned = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    lock = {
        re.sub(r"[-_.]+", "-", line).lower() for line in (ROOT / "requirements.lock").read_text().splitlines()
    }
    assert pinned and {re.sub(r"[-_.]+", "-", pin).lower() for pin in pinned} <= lock


def test_the_repository_names_no_place_of_one_machine() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".smk", ".yaml", ".md", ".toml", ".lock", ".rst"} and path.is_file():
            text = path.read_text()
            for place in ("/ro" + "ot/", "/ho" + "me/", "index-" + "url", "find-" + "links"):
                assert place not in text, f"{name} names {place}"
