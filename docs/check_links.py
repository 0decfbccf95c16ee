"""Check pages and code: each link leads to a file or heading, each path and module that is named exists."""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)(?: #+)?$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[A-Za-z_.][\w.-]*/[\w./*-]*")
_FILE = re.compile(r"(?<![\w./:<{-])[a-z_]+/[\w./-]*\w\.(?:py|lua|sql|md|json|html|txt)\b")
_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
_OF_OTHERS = {"build", "node_modules"}
"""What is fetched for tests and by npm."""
_MODULE = re.compile(r"python -m ([a-z_]+(?:\.[a-z_]+)*)")


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them: a heading that comes again gets a number."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub("", markdown)):
        text = re.sub(r"[^\w\- ]", "", _shown(heading).strip().lower()).replace(" ", "-")
        anchor, number = text, 0
        while anchor in found:
            number += 1
            anchor = f"{text}-{number}"
        found.add(anchor)
    return found


def _shown(heading: str) -> str:
    """The text of a heading: of a link only its words."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)


def links(markdown: str) -> list[str]:
    """The targets of a page's links; what stands in code is none."""
    return _LINK.findall(_CODE.sub("", _FENCED.sub("", markdown)))


def broken_links(page: Path) -> Iterator[str]:
    """A complaint for each link of `page` that leads nowhere; links to other sites are not followed."""
    text = page.read_text(encoding="utf-8")
    for target in links(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists():
            yield f"{target}: no such file"
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            yield f"{target}: no such heading"


def missing_paths(page: Path, root: Path) -> Iterator[str]:
    """A complaint for each path, test or module of the project that `page` names and that is not there.

    A path is a code span such as `carts/fold.py` or `topics/examples/*`; its first part must be a folder of
    the project, else it is the name of something else (`cart-changed/5/0`).
    """
    text = page.read_text(encoding="utf-8")
    for code in _CODE.findall(_FENCED.sub("", text)):
        if _PATH.fullmatch(code) and (root / code.split("/", 1)[0]).is_dir() and not any(root.glob(code)):
            yield f"`{code}`: no such file or folder"
    for file, name in _TEST.findall(text):
        path = root / file
        if not path.is_file() or f"def {name}(" not in path.read_text(encoding="utf-8"):
            yield f"{file}::{name}: no such test"
    yield from _missing_modules(text, root)


def missing_paths_of_code(file: Path, root: Path) -> Iterator[str]:
    """A complaint for each file or module that a comment or docstring names and that is not there.

    Only files of the project, as for pages; a file is told from other words by its ending.
    """
    text = "\n".join(prose(file.read_text(encoding="utf-8")))
    for path in _FILE.findall(text):
        if (root / path.split("/", 1)[0]).is_dir() and not (root / path).exists():
            yield f"{path}: no such file"
    yield from _missing_modules(text, root)


def prose(code: str) -> Iterator[str]:
    """The docstrings and comments of a module; a string that stands alone is one, too."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def _missing_modules(text: str, root: Path) -> Iterator[str]:
    for module in _MODULE.findall(text):
        path = root / module.replace(".", "/")
        if path.parts[len(root.parts)] in _folders(root) and not (
            path.is_dir() or path.with_suffix(".py").is_file()
        ):
            yield f"python -m {module}: no such module"


def unlisted_pages(root: Path) -> Iterator[str]:
    """A complaint for each page of docs/ to which the index, docs/README.md, has no link."""
    index = root / "docs" / "README.md"
    listed = {
        (index.parent / target.partition("#")[0]).resolve() for target in links(index.read_text("utf-8"))
    }
    for page in sorted(root.glob("docs/**/*.md")):
        if page != index and page.resolve() not in listed:
            yield f"{page.relative_to(root)}: not in docs/README.md"


def _folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()}


def files(root: Path, ending: str) -> list[Path]:
    """Every file of the project with this ending, in all folders but hidden ones and those of others."""
    return sorted(
        file
        for file in root.rglob(f"*{ending}")
        if not any(part.startswith(".") or part in _OF_OTHERS for part in file.relative_to(root).parts[:-1])
    )


def complaints(root: Path) -> list[str]:
    """Everything that is wrong with the pages and the code under `root`, a line each."""
    of_pages = {page: (*broken_links(page), *missing_paths(page, root)) for page in files(root, ".md")}
    of_code = {file: missing_paths_of_code(file, root) for file in files(root, ".py")}
    found = [
        f"{file.relative_to(root)}: {complaint}"
        for file, told in (of_pages | of_code).items()
        for complaint in told
    ]
    return [*found, *unlisted_pages(root)]


def main() -> None:
    """Print what is broken and exit with 1, or say how many pages are fine."""
    found = complaints(ROOT)
    if found:
        print("\n".join(found))
        sys.exit(1)
    pages, modules = len(files(ROOT, ".md")), len(files(ROOT, ".py"))
    print(f"links and paths of {pages} pages and {modules} modules lead somewhere")


if __name__ == "__main__":
    main()
