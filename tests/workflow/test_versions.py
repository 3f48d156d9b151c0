"""A stage whose code changes must say whether its results do.

`versions.json` holds, for every stage, its version and a hash of all code that it runs: the syntax trees of its
module and of the project's modules that it imports, without comments and docstrings. When this test fails, bump the
stage's version in i2v3d/stages/registry.py if its results changed, then run `python -m tests.workflow.test_versions`.
"""

import ast
import hashlib
import json
from pathlib import Path

from i2v3d.stages.registry import STAGES

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("versions.json")
NOT_RESULTS = {
    "i2v3d.errors",
    "i2v3d.progress",
    "i2v3d.stages.context",
    "i2v3d.stages.registry",
    # Types alone; how they are built (sections) counts.
    *(f"i2v3d.config.{p.stem}" for p in (ROOT / "i2v3d" / "config").glob("*.py") if p.stem != "sections"),
}
BLENDER = "i2v3d.blender.inside.worker"  # runs in a process of its own, so that no import leads to it


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("i2v3d.") and _file(name)}


def _bare(tree: ast.AST) -> str:
    """The syntax tree without docstrings and positions."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def source_hash(module: str) -> str:
    """Hash of all code that a stage module runs."""
    waiting, seen = [module], {}
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in seen or name in NOT_RESULTS or path is None:
            continue
        tree = ast.parse(path.read_text())
        waiting += sorted(_imports(tree))
        if name.startswith("i2v3d.blender"):
            waiting.append(BLENDER)
        seen[name] = _bare(tree)
    return hashlib.sha256("".join(f"{n}\n{seen[n]}" for n in sorted(seen)).encode()).hexdigest()[:16]


def current() -> dict[str, dict[str, object]]:
    """Version and code hash of every stage as it is now."""
    return {
        s.name: {"version": s.version, "source": source_hash(s.entry.split(":")[0])} for s in STAGES.values()
    }


def test_changed_stages_say_whether_their_results_changed() -> None:
    recorded = json.loads(RECORD.read_text())
    changed = [name for name, now in current().items() if recorded.get(name) != now]
    assert not changed, f"the code of {', '.join(changed)} changed; see the top of {Path(__file__).name}"


def test_the_hash_sees_code_and_not_comments() -> None:
    one, two, three = (
        "def f():\n    '''A.'''\n    return 1",
        "def f():  # b\n    return 1",
        "def f():\n    return 2",
    )
    assert _bare(ast.parse(one)) == _bare(ast.parse(two)) != _bare(ast.parse(three))


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=1) + "\n")
