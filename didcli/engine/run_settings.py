"""The settings of a run, as its folder has them: in its checkpoint, and in `config.yaml`."""

from collections.abc import Mapping
from pathlib import Path

from didcli.config import CONFIG_NAME, Layer, RunConfig, build, load_file
from didcli.engine import checkpoint as checkpoints
from didcli.engine import reports
from didcli.errors import DidError, RunError, UsageError


def settings_of(folder: Path) -> RunConfig:
    """Settings as the checkpoint has them, covered by its integrity; where there is none, those of
    `config.yaml`.

    Raises RunError where they are lost, or another version's.
    """
    if reports.has_checkpoint(folder):
        described = checkpoints.describe(folder / checkpoints.FILE_NAME)
        return checked_settings(folder, described.get("config", {}), described.get("versions", {}))
    return checked_settings(folder, _config_file(folder))


def checked_settings(
    folder: Path, settings: Layer, versions: Mapping[str, str] | None = None
) -> RunConfig:
    """Settings of a run as they were found. Raises RunError if this version does not know them.

    versions: of what wrote them, where that is known.
    """
    try:
        return build([settings])
    except DidError as error:
        writer = (versions or {}).get("didcli", "unknown")
        raise RunError(
            f"the settings of {folder} cannot be used: {error}",
            hint=f"They are of another version: didcli {writer}. Use that one, or train it again.",
        ) from error


def read_settings(folder: Path) -> Layer | None:
    """Settings of a run to go on with: `config.yaml`, or where that is lost its checkpoint's.

    None where there is neither. Whether they are those of the checkpoint is seen on resuming.
    Raises RunError for a damaged file.
    """
    if (folder / CONFIG_NAME).exists():
        return _config_file(folder)
    if reports.has_checkpoint(folder):
        settings: Layer = checkpoints.describe(folder / checkpoints.FILE_NAME)["config"]
        return settings
    return None


def _config_file(folder: Path) -> Layer:
    try:
        return load_file(folder / CONFIG_NAME)
    except UsageError as error:
        instead = (
            f"Delete {CONFIG_NAME}: the checkpoint has the settings, too."
            if reports.has_checkpoint(folder)
            else "Put it back, or train the run again."
        )
        raise RunError(f"the settings of {folder} are lost: {error}", hint=instead) from error
