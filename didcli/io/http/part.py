"""A file that is still coming in: NAME.part, with NAME.part.json to say whose bytes those are."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from didcli.io.http.headers import Entity


@dataclass(frozen=True)
class Part:
    """NAME.part and its sidecar."""

    path: Path

    @property
    def sidecar(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def entity(self) -> Entity | None:
        """Identity of the bytes; None when it is not known: then they are of no use."""
        try:
            return Entity(**json.loads(self.sidecar.read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def begin(self, entity: Entity) -> None:
        # Emptied first: were the process killed in between, old bytes would get a new name.
        self.path.write_bytes(b"")
        self.sidecar.write_text(json.dumps(asdict(entity)), "utf-8")

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        """Move the bytes to `path`, once they are on the disk: a name must not promise more."""
        with self.path.open("r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())
        self.path.replace(path)
        self.discard()
