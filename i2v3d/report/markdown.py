"""The tables of a page as Markdown, for pages that quote them."""

from __future__ import annotations

from collections.abc import Iterable

from i2v3d.report.page import Cell, Table


def tables_markdown(tables: Iterable[Table]) -> str:
    """One after the other, with headings and captions; rows that failed are left out."""
    return "\n".join(line for table in tables for line in _lines(table))


def _lines(table: Table) -> list[str]:
    heads = [", ".join(filter(None, (column.label, column.direction))) for column in table.columns]
    lines = [f"### {table.title}", "", f"| {table.first} | {' | '.join(heads)} |"]
    lines.append("| --- |" + " --- |" * len(heads))
    for row in table.rows:
        if not row.failed:
            lines.append(f"| `{row.name}` | {' | '.join(map(_text, row.cells))} |")
    return [*lines, ""]


def _text(cell: Cell) -> str:
    return f"{cell.text} [{cell.range}]" if cell.range else cell.text
