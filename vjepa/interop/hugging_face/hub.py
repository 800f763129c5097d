"""Models of the Hugging Face hub by name, e.g. `facebook/vjepa2-vitl-fpc64-256`, through `huggingface_hub`.

Files come from its cache or, where there is a network, are downloaded into it. The cache keeps large files under the
sha256 that the hub states for them; each is checked against its content before it is read.
"""

import hashlib
import re
from pathlib import Path

FILES = ["config.json", "*.safetensors", "model.safetensors.index.json", "*preprocessor_config.json", "model.yaml"]


def is_hub_name(name: str) -> bool:
    """Whether a name that is no path can be one of the hub, "owner/model"."""
    owner, _, _ = name.partition("/")
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None and not Path(owner).exists()


def hub_folder(name: str) -> Path:
    """The local folder of a model of the hub. Raises ValueError where it can't be had, or a file is damaged."""
    from huggingface_hub import snapshot_download  # late: it is slow to import
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=FILES))
    except GatedRepoError:
        raise ValueError(
            f"{name} must be applied for at https://huggingface.co/{name}; then log in: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise ValueError(
            f"there is no file, folder or recipe {name}, and no model of this name on the Hugging Face hub"
        ) from None
    except (HfHubHTTPError, OSError):  # and LocalEntryNotFoundError, which is a FileNotFoundError
        raise ValueError(
            f"there is no file, folder or recipe {name}; the Hugging Face hub, which may have it, can't be reached, "
            f"and its cache on this machine does not hold it: where there is a network, run `hf download {name} "
            f"--local-dir FOLDER` and give that folder"
        ) from None
    for file in sorted(folder.iterdir()):
        require_stated_hash(file)
    return folder


def require_stated_hash(file: Path) -> None:
    """Raise ValueError where a file of the cache is not what the hub's sha256 says; small files have none."""
    stated = file.resolve().name
    if not re.fullmatch("[0-9a-f]{64}", stated):
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != stated:
        raise ValueError(
            f"{file} is damaged: its sha256 is {found[:12]}..., the hub states {stated[:12]}...; delete "
            f"{file.resolve()} and try again"
        )
