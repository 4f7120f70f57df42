"""Links of the pages to files of the repository, which are no part of the site."""

import re


def on_page_markdown(markdown: str, **_: object) -> str:
    """Name such a file instead of linking it."""
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+([^)]+)\)", r"\1 (`\2`)", markdown)
