"""Stripping a source text: formatting and comments of what stays are kept.

The decisions are those of the import hook (analysis.py); the text is changed through
LibCST.  What comes out is parsed again and must be the tree that the hook would compile.
A comment on a line of its own stays; one in or behind a call that is taken out goes too.
"""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass

from gpu_narration._errors import GpuNarrationError, MissingExtraError
from gpu_narration.stripping.analysis import MENTION, Findings, Use, analyse
from gpu_narration.stripping.transform import strip_tree


class StripError(GpuNarrationError):
    """A source could not be stripped truly; it was not written."""

    slug = "strip-failed"


@dataclass(frozen=True, slots=True)
class Stripped:
    """A source without what could be taken out.

    taken, kept: uses of our names, in the text that was given.
    """

    text: bytes
    taken: tuple[Use, ...] = ()
    kept: tuple[Use, ...] = ()


def look_at_source(source: bytes) -> Stripped:
    """What could be taken out of a source, and what not; its text stays.

    Raises SyntaxError for what is no Python source.
    """
    if MENTION not in source:
        return Stripped(source)
    return _of(source, analyse(ast.parse(source)))


def _of(text: bytes, findings: Findings) -> Stripped:
    taken = tuple(use for use in findings.uses if not use.kept)
    kept = tuple(use for use in findings.uses if use.kept)
    return Stripped(text, taken, kept)


def text_of(source: bytes) -> str:
    """A source decoded as Python decodes it, with every line ending as one character."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return io.TextIOWrapper(io.BytesIO(source), encoding).read()


def strip_source(source: bytes) -> Stripped:
    """Takes out of a source what can be.

    Raises SyntaxError for what is no Python source, :class:`MissingExtraError` without
    LibCST, :class:`StripError` if the new text would mean something else.
    """
    if MENTION not in source:
        return Stripped(source)
    findings = analyse(ast.parse(source))
    if not findings:
        return _of(source, findings)
    text = _rewrite(source, findings)
    wanted = ast.parse(source)
    strip_tree(wanted)
    try:
        same = ast.dump(ast.parse(text)) == ast.dump(wanted)
    except SyntaxError:
        same = False
    if not same:
        raise StripError(
            "the text without the calls would not mean what the program without them does",
            meaning="this is a bug of gpu_narration; of this file nothing was written",
            next_step="report it with the source, and strip at import meanwhile",
        )
    return _of(text, findings)


def _rewrite(source: bytes, findings: Findings) -> bytes:
    try:
        import libcst as cst
    except ImportError as error:
        raise MissingExtraError(
            "sources are stripped through LibCST, which is not installed",
            next_step="pip install 'gpu-narration[strip]'",
        ) from error
    from gpu_narration.stripping.rewriting import Places, Rewriter

    try:
        module = cst.parse_module(source)
    except (cst.ParserSyntaxError, ValueError, LookupError) as error:
        raise StripError(
            "LibCST cannot read this source, which Python can",
            meaning=" ".join(str(error).split()),
            next_step="upgrade libcst, or strip at import",
        ) from error
    wrapper = cst.MetadataWrapper(module, unsafe_skip_copy=True)
    return wrapper.visit(Rewriter(Places.of(text_of(source), findings))).bytes
