"""HTML: what a reader of the page sees, and its title."""

from bs4 import BeautifulSoup
from markdownify import MarkdownConverter

# What is in the page and not on it.
_UNSEEN = ("head", "script", "style", "template", "noscript")
# Markdown's stars would stay where a Korean particle stands behind them.
_EMPHASIS = ["b", "strong", "i", "em"]


def html_to_markdown(html: str) -> tuple[str, str]:
    """Return a page as Markdown, and its title, which may be empty."""
    page = BeautifulSoup(html, "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    for unseen in page(_UNSEEN):
        unseen.decompose()
    return str(
        MarkdownConverter(heading_style="atx", table_infer_header=True, strip=_EMPHASIS).convert_soup(page)
    ), title
