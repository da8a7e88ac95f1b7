"""What a folder of sentence-transformers has beside its BERT: how vectors of tokens become one."""

import json
from pathlib import Path

_OF_FOLDER = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)


def sentence_transformers_files(folder: Path) -> dict[str, bytes]:
    """The files to keep with the model, by their paths in the folder; none in other folders.

    They are handed on as they are: pooling, normalisation, the length texts are cut
    to. `Pretrained.embed` does what it is told, whatever they say.
    """
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        places = [Path(str(module["path"])).name for module in modules]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    paths = [folder / name for name in _OF_FOLDER]
    for place in filter(None, places):
        paths += sorted((folder / place).glob("*"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }
