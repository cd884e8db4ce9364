"""The page of the example notebook: its text and its code, as they are."""

import json
from pathlib import Path

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def pages() -> dict[str, str]:
    """The notebook as a page."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    title, *rest = map(_as_markdown, cells)
    return {"notebook.md": "\n\n".join([title, f"[The notebook itself]({NOTEBOOK.name})", *rest]) + "\n"}


def _as_markdown(cell: dict) -> str:
    text = "".join(cell["source"])
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text
