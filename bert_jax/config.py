"""Configs: a Python file with `get_config()`, overrides, and one-line complaints.

A config is the keyword arguments of a function, and each section those of
another, so a misspelt key has nowhere to go and a dead one cannot exist.
"""

import difflib
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from absl import flags
from ml_collections import ConfigDict, config_flags

from bert_jax.errors import UserError

_PROJECT = Path(__file__).resolve().parent.parent


def load_config(path: str, overrides: Sequence[str]) -> ConfigDict:
    """The config of a file, with overrides such as `--config.model.width=256` applied.

    Raises:
      UserError: the file cannot be loaded, or an override has no such key or type.
    """
    if not Path(path).is_file():
        raise UserError(f"no config file {path}{_nearest_file(path)}")
    config = plain(_parse(path, []))
    keys = _keys(config)
    overrides = _join_switches(overrides)
    for override in overrides:
        name = override.partition("=")[0].removeprefix("--").removeprefix("no")
        key = name.removeprefix("config.")
        if name.startswith("config.") and key not in keys:
            raise UserError(f"the config has no key {key!r}{_nearest(key, keys)}")
    return _parse(path, overrides)


def _join_switches(overrides: Sequence[str]) -> list[str]:
    """Takes `--config.x False` as `--config.x=False`, which absl does for all but booleans."""
    joined: list[str] = []
    for override in overrides:
        if override.lower() in ("true", "false") and joined and "=" not in joined[-1]:
            joined[-1] += f"={override}"
        else:
            joined.append(override)
    return joined


def _parse(path: str, overrides: Sequence[str]) -> ConfigDict:
    """Lets `config_flags` load and override, on flags of its own instead of the process's."""
    # Configs import one another as `configs.base`, whatever the working directory; a user's own
    # file elsewhere imports the project's.
    before = sys.path[:]
    sys.path[:0] = [str(Path(path).resolve().parent.parent), str(_PROJECT)]
    arguments = ["", f"--config={path}", *overrides]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    try:
        stray = values(arguments)[1:]
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"unknown flag --{error.flagname}; see --help") from None
    except flags.IllegalFlagValueError as error:
        raise UserError(_explain_value(str(error))) from None
    except flags.Error as error:
        raise UserError(str(error)) from None
    except Exception as error:
        raise UserError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from None
    finally:
        sys.path[:] = before
    if stray:
        raise UserError(f"unexpected argument {stray[0]!r}; see --help")
    if not isinstance(config.value, ConfigDict):
        raise UserError(f"get_config() of {path} does not return a ConfigDict")
    return config.value


def _explain_value(message: str) -> str:
    """Turns absl's "flag --config.x=1e6: invalid literal for int() …" into advice."""
    flag, _, reason = message.removeprefix("flag ").partition(": ")
    value = flag.partition("=")[2]
    if "int()" in reason:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        written = f", written out: {int(number)}" if number.is_integer() else ""
        return f"{flag}: a whole number is wanted{written}"
    if "float" in reason:
        return f"{flag}: a number is wanted"
    if "oolean" in reason:
        return f"{flag}: True or False is wanted"
    if "as tuple" in reason:
        return f'{flag}: a list is wanted, such as "[{{\'steps\': 1000}}]" or "()" for none'
    return f"{flag}: {reason}"


def _keys(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in config.items():
        found.append(prefix + key)
        if isinstance(value, Mapping):
            found += _keys(value, f"{prefix}{key}.")
        elif isinstance(value, list):  # perhaps of sections
            for index, entry in enumerate(value):
                if isinstance(entry, Mapping):
                    found += _keys(entry, f"{prefix}{key}[{index}].")
    return found


def _nearest(key: str, keys: Sequence[str]) -> str:
    """Such as "; did you mean 'model.width'?", by the whole path or by its last part."""
    last_parts = {name.rpartition(".")[2]: name for name in reversed(keys)}
    by_path = difflib.get_close_matches(key, keys, n=1, cutoff=0.75)
    by_last = difflib.get_close_matches(key.rpartition(".")[2], last_parts, n=1)
    guess = by_path[0] if by_path else last_parts[by_last[0]] if by_last else None
    sections = sorted({re.split(r"[.\[]", name)[0] for name in keys})
    return f"; did you mean {guess!r}?" if guess else f"; it has {', '.join(sections)}"


def _nearest_file(path: str) -> str:
    folder = Path(path).parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    present = [str(file) for file in sorted(folder.glob("*.py"))]
    guess = difflib.get_close_matches(path, present, n=1)
    return f"; did you mean {guess[0]}?" if guess else ""


def check_config(
    config: Mapping[str, Any],
    function: Callable[..., object],
    sections: Mapping[str, tuple[Callable[..., object], set[str]]],
) -> None:
    """Checks that a config is the keyword arguments of a function, and each section another's.

    An absent section is one without keys.

    Args:
      config: the config, plain data.
      function: what the whole config is passed to.
      sections: what each section is passed to, and which of its arguments come
        from elsewhere.

    Raises:
      UserError: a key that is not an argument, a missing one, or a value of another type.
    """
    check_arguments("config", config, function, set())
    for name, (section_function, given) in sections.items():
        check_arguments(f"config.{name}", config.get(name, {}), section_function, given)


def check_arguments(
    where: str, config: object, function: Callable[..., object], given: set[str]
) -> None:
    """As `check_config`, of one section, which `where` names."""
    if not isinstance(config, Mapping):
        raise UserError(f"{where} is {config!r}, which is not a section")
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in given
    }
    for key, value in config.items():
        if key not in parameters:
            raise UserError(f"{where} has an unknown key {key!r}{_nearest(key, list(parameters))}")
        wanted = parameters[key].annotation
        if not _fits(value, wanted):
            raise UserError(f"{where}.{key} is {value!r}{_wanted(wanted)}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in config:
            raise UserError(f"{where} lacks {name!r}")


def _fits(value: object, annotation: object) -> bool:
    if annotation is float and isinstance(value, int | float):
        return math.isfinite(value) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if get_origin(annotation) in (Union, UnionType):
        return any(_fits(value, alternative) for alternative in get_args(annotation))
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    return not isinstance(annotation, type) or isinstance(value, annotation)


def _wanted(annotation: Any) -> str:
    """Such as "; choose from a, b" or ", which is no int"."""
    kinds = get_args(annotation) or (annotation,)
    choices = [choice for kind in (annotation, *kinds) for choice in get_args(kind)]
    names = [text for text in choices if isinstance(text, str)]
    if names:
        return f"; choose from {', '.join(dict.fromkeys(names))}"
    return f", which is no {kinds[0].__name__}"


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON would give it back."""
    return json.loads(config.to_json_best_effort())
