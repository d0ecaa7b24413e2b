"""What tests of stores share: files as a run leaves them, and files changed with their seals."""

from __future__ import annotations

from pathlib import Path

from jeffreysflow.stores.layout import Layout
from jeffreysflow.stores.sealed import seal

PROVENANCE = ("done.json", "record.json", ".lock")


def is_provenance(file: Path) -> bool:
    """Whether a file tells of hosts and times, or is the seal of one that does."""
    return file.name.removeprefix(".").removesuffix(".sha256") in PROVENANCE or (
        file.name in PROVENANCE
    )


def rewrite(file: Path, text: str) -> None:
    """Change a file as its own stage would, so that it is no damage."""
    file.write_text(text)
    store = next((part for part in file.parents if part.suffix == ".zarr"), None)
    seal(store or file)


def made(layout: Layout) -> dict[str, bytes]:
    """What the flow `f` has left, but for what tells of its making."""
    folder = layout.flow("f").folder
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and not is_provenance(file)
    }
