"""Check the project's Markdown: each link leads to a file or heading, each path and module named exists."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)(?: #+)?$", re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[A-Za-z_.][\w.-]*/[\w./*-]*")
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
    """A complaint for each path or module of the project that `page` names and that is not there.

    A path is a code span such as `carts/fold.py` or `topics/examples/*`; its first part must be a folder of
    the project, else it is the name of something else (`cart-changed/5/0`).
    """
    text = page.read_text(encoding="utf-8")
    for code in _CODE.findall(_FENCED.sub("", text)):
        if _PATH.fullmatch(code) and (root / code.split("/", 1)[0]).is_dir() and not any(root.glob(code)):
            yield f"`{code}`: no such file or folder"
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


def pages(root: Path) -> list[Path]:
    """Every Markdown file of the project, in all folders but hidden ones."""
    return sorted(
        page
        for page in root.rglob("*.md")
        if not any(part.startswith(".") for part in page.relative_to(root).parts[:-1])
    )


def complaints(root: Path) -> list[str]:
    """Everything that is wrong with the pages under `root`, a line each."""
    found = [
        f"{page.relative_to(root)}: {complaint}"
        for page in pages(root)
        for complaint in (*broken_links(page), *missing_paths(page, root))
    ]
    return [*found, *unlisted_pages(root)]


def main() -> None:
    """Print what is broken and exit with 1, or say how many pages are fine."""
    found = complaints(ROOT)
    if found:
        print("\n".join(found))
        sys.exit(1)
    print(f"links and paths of {len(pages(ROOT))} pages lead somewhere")


if __name__ == "__main__":
    main()
