"""A stage whose own code changes must say whether its results do.

`versions.json` holds, for every stage, its version and a hash of the code that is its own: its module, and the modules
of the method (ROOMS) that it names; comments, docstrings and imports do not count. When this test fails, bump the
stage's version in i2v3d/stages/registry.py if its results changed, then run `python -m tests.workflow.test_versions`.
"""

import ast
import hashlib
import json
from pathlib import Path

from i2v3d.stages.registry import STAGES

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("versions.json")
ROOMS = ("i2v3d.guidance.", "i2v3d.customise.", "i2v3d.diffusion.")


def _tree(module: str) -> ast.Module:
    return ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text())


def _named(tree: ast.AST) -> set[str]:
    """Modules of the method that a module imports."""
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name for name in found if name.startswith(ROOMS)}


def _bare(tree: ast.AST) -> str:
    """The syntax tree without docstrings, imports and positions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[1:] if ast.get_docstring(node) is not None else node.body
            node.body = [line for line in first if not isinstance(line, ast.Import | ast.ImportFrom)]
    return ast.dump(tree)


def source_hash(module: str) -> str:
    """Hash of the code that is a stage's own."""
    own = _tree(module)
    code = [_bare(_tree(name)) for name in sorted(_named(own))]
    return hashlib.sha256("".join([_bare(own), *code]).encode()).hexdigest()[:16]


def current() -> dict[str, dict[str, object]]:
    """Version and code hash of every stage as it is now."""
    return {
        s.name: {"version": s.version, "source": source_hash(s.entry.split(":")[0])} for s in STAGES.values()
    }


def test_changed_stages_say_whether_their_results_changed() -> None:
    recorded = json.loads(RECORD.read_text())
    changed = [name for name, now in current().items() if recorded.get(name) != now]
    assert not changed, f"the code of {', '.join(changed)} changed; see the top of {Path(__file__).name}"


def test_the_hash_sees_code_and_neither_comments_nor_imports() -> None:
    one, two, three = (
        "import a\ndef f():\n    '''A.'''\n    return 1",
        "def f():  # b\n    from c import d\n    return 1",
        "def f():\n    return 2",
    )
    assert _bare(ast.parse(one)) == _bare(ast.parse(two)) != _bare(ast.parse(three))


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=1) + "\n")
