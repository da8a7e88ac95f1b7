import ast
from pathlib import Path

import pytest

from bert_jax.config import check_arguments, check_config, load_config, plain
from bert_jax.errors import UserError
from bert_jax.model.sizes import SIZES
from bert_jax.recipe import SECTIONS, Recipe

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
TINY = str(ROOT / "configs" / "tiny.py")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_the_arguments_of_what_it_feeds(path: Path) -> None:
    config = plain(load_config(str(path), []))
    check_config(config, Recipe, SECTIONS)
    assert f"--config configs/{path.name}" in (ast.get_docstring(ast.parse(path.read_text())) or "")


def test_every_size_has_a_config() -> None:
    for name, size in SIZES.items():
        model = load_config(str(ROOT / "configs" / f"{name}.py"), []).model
        assert {key: model[key] for key in size} == size


def test_base_is_the_papers_recipe() -> None:
    base = load_config(str(ROOT / "configs" / "base.py"), [])
    assert (base.total_steps, base.batch_size) == (1_000_000, 256)
    assert base.schedule.to_dict() == {
        "peak_learning_rate": 1e-4,
        "warmup_steps": 10_000,
        "power": 1.0,
    }
    assert (base.model.dropout, base.model.attention_dropout) == (0.1, 0.1)
    assert (base.optimizer.b1, base.optimizer.b2, base.optimizer.weight_decay) == (0.9, 0.999, 0.01)
    assert (base.masking.rate, base.tokenizer.vocab_size) == (0.15, 30_522)


def test_overrides_are_typed_by_the_config() -> None:
    config = load_config(
        TINY,
        [
            "--config.total_steps=7",
            "--config.schedule.peak_learning_rate=1",
            "--config.data.source=text:a/*.txt",
            "--noconfig.pairs.nsp",
            "--config.masking.whole_word",
            "True",
            "--config.model.width",
            "64",
        ],
    )
    assert config.total_steps == 7
    assert config.schedule.peak_learning_rate == 1.0
    assert config.data.source == "text:a/*.txt"
    assert (config.pairs.nsp, config.masking.whole_word) == (False, True)
    assert config.model.width == 64


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("--config.totl_steps=5", "no key 'totl_steps'; did you mean 'total_steps'?"),
        ("--config.model.widht=5", "no key 'model.widht'; did you mean 'model.width'?"),
        ("--config.seq_len=64", "no key 'seq_len'; did you mean 'pairs.seq_len'?"),
        ("--config.total_steps=1e6", "a whole number is wanted, written out: 1000000"),
        ("--config.total_steps=5.5", "--config.total_steps=5.5: a whole number is wanted"),
        ("--config.total_steps=many", "--config.total_steps=many: a whole number is wanted"),
        ("--config.masking.rate=high", "--config.masking.rate=high: a number is wanted"),
        ("--config.pairs.nsp=maybe", "--config.pairs.nsp=maybe: True or False is wanted"),
        ("--config.total_steps", "Missing value for flag --config.total_steps"),
        ("--confg.total_steps=5", "unknown flag --confg.total_steps"),
        ("extra", "unexpected argument 'extra'"),
    ],
)
def test_wrong_overrides_get_one_line(override: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(TINY, [override])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def get_config(): return 1 +", "cannot be loaded: SyntaxError"),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        ("def get_config(): return {'a': 1}", "does not return a ConfigDict"),
    ],
)
def test_broken_config_files_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UserError, match=f"broken.py {complaint}") as caught:
        load_config(str(path), [])
    assert str(path) in str(caught.value)


def test_a_missing_file_is_looked_for() -> None:
    with pytest.raises(UserError, match=r"no config file .*tinny\.py; did you mean .*tiny\.py\?"):
        load_config(str(ROOT / "configs" / "tinny.py"), [])
    with pytest.raises(UserError, match="there is no folder /nowhere"):
        load_config("/nowhere/tiny.py", [])


def function(*, steps: int, rate: float = 0.1, section: dict | None = None) -> None:
    del steps, rate, section


def part(given: str, *, width: int = 3, name: str = "") -> None:
    del given, width, name


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"steps": 3, "section": {}, "rat": 0.2}, "unknown key 'rat'; did you mean 'rate'"),
        ({"section": {}}, "config lacks 'steps'"),
        ({"steps": 3.5, "section": {}}, "config.steps is 3.5, which is no int"),
        (
            {"steps": 3, "rate": float("nan"), "section": {}},
            "config.rate is nan, which is no float",
        ),
        ({"steps": True, "section": {}}, "config.steps is True, which is no int"),
        ({"steps": 3, "section": {"wdth": 1}}, "config.section has an unknown key 'wdth'"),
        ({"steps": 3, "section": {"given": "x"}}, "config.section has an unknown key 'given'"),
        (
            {"steps": 3, "section": {"name": 1}},
            "config.section.name is 1, which is no str",
        ),
        ({"steps": 3, "section": 1}, "config.section is 1, which is no dict"),
        ({"steps": 3, "sectoin": {}}, "unknown key 'sectoin'; did you mean 'section'"),
    ],
)
def test_a_config_that_fits_no_function_is_refused(config: dict, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        check_config(config, function, {"section": (part, {"given"})})
    assert complaint in str(caught.value)


def test_a_whole_number_will_do_for_a_float() -> None:
    check_config({"steps": 3, "rate": 1, "section": {}}, function, {"section": (part, {"given"})})


def test_a_section_may_be_absent_if_it_needs_nothing() -> None:
    check_config({"steps": 3}, function, {"section": (part, {"given"})})
    with pytest.raises(UserError, match=r"config.section lacks 'given'"):
        check_config({"steps": 3}, function, {"section": (part, set())})


PHASES = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({"steps": 5, "phases": ({"steps": 3, "rate": 0.1}, {"steps": 2})})
"""


def test_entries_of_a_list_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "phases.py"
    path.write_text(PHASES)

    def load(*overrides: str) -> list:
        return plain(load_config(str(path), overrides))["phases"]

    assert load() == [{"steps": 3, "rate": 0.1}, {"steps": 2}]
    assert load("--config.phases[0].steps=100", "--config.phases[0].rate=1") == [
        {"steps": 100, "rate": 1.0},
        {"steps": 2},
    ]
    assert load() == [{"steps": 3, "rate": 0.1}, {"steps": 2}]
    assert load("--config.phases=({'steps': 7},)") == [{"steps": 7}]
    assert load("--config.phases", "[{'steps': 7}, {'steps': 1}]") == [{"steps": 7}, {"steps": 1}]
    assert load("--config.phases=()") == []
    for override, complaint in (
        ("phases[0].stps=1", r"no key 'phases\[0\].stps'; did you mean 'phases\[0\].steps'\?"),
        ("phases[1].rate=1", r"no key 'phases\[1\].rate'; did you mean 'phases\[0\].rate'\?"),
        ("phases[2].steps=1", r"no key 'phases\[2\].steps'; did you mean"),
        ("phases[0]=1", r"no key 'phases\[0\]'; did you mean"),
        ("phases=[1, 2", "a list is wanted, such as"),
        ("zzz=1", "no key 'zzz'; it has phases, steps"),
        ("phases[0].steps=1e6", r"phases\[0\].steps=1e6: a whole number is wanted, .*: 1000000"),
    ):
        with pytest.raises(UserError, match=complaint):
            load(f"--config.{override}")


def test_an_entry_that_is_no_section_is_named() -> None:
    with pytest.raises(UserError, match=r"config.phases\[0\] is 'abc', which is not a section"):
        check_arguments("config.phases[0]", "abc", function, set())
