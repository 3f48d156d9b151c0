"""The miniature's tokenizer: a CLIP byte-pair encoding in which every toy-world word is one token.

Words outside the toy world fall apart into shorter pieces, in the end single characters, always the same
ones.
"""

from __future__ import annotations

import string
from functools import cache
from itertools import pairwise
from pathlib import Path

from i2v3d.models.layout import write_json
from i2v3d.toy.world.catalogue import vocabulary

START, END = "<|startoftext|>", "<|endoftext|>"
MAX_TOKENS = 24
_WORD_END = "</w>"
_CHARACTERS = string.ascii_lowercase + string.digits + ",.!?'-_:;()"


def _merge(pieces: list[str], merges: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding: joins the neighbouring pair of lowest rank until no known pair is left."""
    while len(pieces) > 1:
        ranked = [(merges[pair], i) for i, pair in enumerate(pairwise(pieces)) if pair in merges]
        if not ranked:
            break
        _, i = min(ranked)
        pieces = [*pieces[:i], pieces[i] + pieces[i + 1], *pieces[i + 2 :]]
    return pieces


@cache
def tokenizer_files() -> tuple[dict[str, int], list[str]]:
    """The vocabulary (token -> id) and the ranked merges ("left right") of the toy world.

    Merges are added word by word: the rules so far are applied first, then what is left is joined from the
    left. Later rules rank lower, so no word that was whole before can come apart again.
    """
    merges: dict[tuple[str, str], int] = {}
    for word in vocabulary():
        pieces = _merge([*word[:-1], word[-1] + _WORD_END], merges)
        while len(pieces) > 1:
            merges[pieces[0], pieces[1]] = len(merges)
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    tokens = [*_CHARACTERS, *(c + _WORD_END for c in _CHARACTERS)]
    tokens += dict.fromkeys(left + right for left, right in merges)
    tokens += [START, END]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, [f"{a} {b}" for a, b in merges]


def write_tokenizer(path: Path) -> None:
    """The files of a transformers CLIPTokenizer of the toy world's words."""
    vocab, merges = tokenizer_files()
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "vocab.json", vocab)
    (path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    write_json(path / "special_tokens_map.json", special)
    write_json(
        path / "tokenizer_config.json",
        {
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": MAX_TOKENS,
            "do_lower_case": True,
            **special,
        },
    )
