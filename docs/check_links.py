"""Check that every relative link in the project's Markdown leads to a file, and every anchor to a heading."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(markdown: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in HEADING.findall(FENCE.sub("", markdown)):
        text = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(text.replace(" ", "-"))
    return found


def broken(page: Path) -> list[str]:
    """A complaint for each link of `page` that leads nowhere; links to other sites are not followed."""
    complaints = []
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(FENCE.sub("", text)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists():
            complaints.append(f"{page.relative_to(ROOT)}: {target}: no such file")
        elif anchor and goal.suffix == ".md" and anchor not in anchors(goal.read_text(encoding="utf-8")):
            complaints.append(f"{page.relative_to(ROOT)}: {target}: no such heading")
    return complaints


def main() -> None:
    """Print what is broken and exit with 1, or say how many pages are fine."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    complaints = [complaint for page in pages for complaint in broken(page)]
    for complaint in complaints:
        print(complaint)
    if complaints:
        sys.exit(1)
    print(f"links of {len(pages)} pages lead somewhere")


if __name__ == "__main__":
    main()
