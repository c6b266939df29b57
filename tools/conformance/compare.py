"""usage: compare.py PROGRAM PACKAGES DEFAULT_MODEL WORK: prints one table; exits with 1 where it must not be so."""

import sys
from importlib import metadata
from pathlib import Path

import templates
import tokens
from corpus import BROKEN_TOTAL, TOTAL, corpus, is_utf8
from program import Program

LEAST_IDENTICAL = 0.998


def print_tokens(program, packages, default_model, work):
    raws = corpus()
    assert len(raws) == TOTAL and sum(not is_utf8(raw) for raw in raws) == BROKEN_TOTAL
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tokenizers", "sentencepiece"))
    print(f"Tokenizers: {TOTAL} texts, {BROKEN_TOTAL} of them not UTF-8; {versions}")
    print(f"{'tokenizer':32}{'against':28}{'texts':>6}{'tokens':>8}  differences")
    bad = 0
    for row in tokens.rows(program, raws, packages, default_model, work):
        differences = ", ".join(f"{count} {what}" for what, count in row.differences.items())
        print(f"{row.name:32}{row.reference:28}{row.texts:>6}{row.tokens:>8}  {differences or 0}", flush=True)
        if row.example:
            print(f"    {row.example}")
        bad += bool(row.differences)
    return bad


def print_templates(program, packages):
    result = templates.compare(program, packages)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "jinja2"))
    print(f"\nChat templates: {result.templates}, {result.distinct} distinct, {result.cases} cases; {versions}")
    for kind in ("same", "different", "only ours refuses", "only Python refuses", "both refuse"):
        print(f"{kind:32}{result.counts[kind]:>6}")
    identical = result.counts["same"] / result.rendered()
    print(f"{'of those Python renders':32}{identical:>7.2%}")
    print(f"{'templates with all cases equal':32}{result.perfect:>6}")
    for (kind, name), (count, case, detail) in sorted(result.examples.items()):
        print(f"  {kind}, {count} cases of {name}, first: {case}\n    {detail[:300]}")
    return identical < LEAST_IDENTICAL or result.counts["only ours refuses"] > 0


def main():
    path, packages, default_model, work = sys.argv[1:]
    program = Program(path, work)
    bad_tokens = print_tokens(program, Path(packages), default_model, Path(work))
    bad_templates = print_templates(program, Path(packages))
    print("\nconformance:", "differs" if bad_tokens or bad_templates else "ok")
    return 1 if bad_tokens or bad_templates else 0


if __name__ == "__main__":
    sys.exit(main())
