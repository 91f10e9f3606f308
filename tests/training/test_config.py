"""Settings: which layer wins, what is refused and how, and the way to a file and back."""

import dataclasses
import itertools
import tomllib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import elman.reproduce  # noqa: F401 - registers its batchings
from elman.config import RENAMED, DataSettings, RunSettings, TrainSettings, from_toml, to_toml
from elman.data.batches import BATCHINGS
from elman.data.cleaning import CLEANINGS
from elman.data.sources import SOURCES
from elman.errors import ConfigError
from elman.models.build import settings_classes
from elman.training.config import CHOSEN, RECIPES, Config


def refusal(*layers) -> str:
    with pytest.raises(ConfigError) as caught:
        Config.resolve(*layers)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- layers


@pytest.mark.parametrize(
    ("layers", "family", "cell"),
    [
        ([{"cell": "gru"}, {"cell": "mlp"}], "gru", "gru"),
        ([{"cell": "mlp"}, {"cell": "gru"}], "mlp", None),
        ([{"model": "mlp"}, {"cell": "lstm"}], "mlp", None),
        ([{"cell": "lstm"}, {"model": "mlp"}], "lstm", "lstm"),
        ([{"cell": "lstm"}, {"hidden": 4}, {"model": "mlp"}], "lstm", "lstm"),
        ([{"hidden": 4}, {"cell": "lstm"}, {"model": "mlp"}], "lstm", "lstm"),
        ([{"model": "recurrent"}, {"cell": "lstm"}], "gru", None),
    ],
)
def test_a_cell_or_a_model_replaces_what_weaker_layers_say_of_both(layers, family, cell):
    config = Config.resolve(*zip(("flags", "environment", "file"), layers, strict=False))
    assert config.network_name == family
    if cell is not None:
        assert config.cell == cell


@pytest.mark.parametrize("off", [None, "", 0, 0.0, "0", "0.0", False])
def test_a_removed_setting_that_is_off_is_no_fault(off):
    assert Config.resolve(("environment", {"token_noise": off, "average": off})) == Config.resolve()


@pytest.mark.parametrize("on", [0.1, "0.1", 1, True])
def test_a_removed_setting_that_is_on_is_refused(on):
    assert "was removed" in refusal(("environment", {"token_noise": on}))


def test_groups_of_settings_take_their_names_of_0_1_as_keywords():
    with pytest.warns(DeprecationWarning, match="level is now tokens"):
        assert DataSettings(level="byte") == DataSettings(tokens="byte")
    with pytest.warns(DeprecationWarning, match="keep is now final_weights"):
        assert TrainSettings(keep="last") == TrainSettings(final_weights="last")
    with pytest.warns(DeprecationWarning, match="reports is now num_reports"):
        assert TrainSettings(reports=3) == TrainSettings(num_reports=3)


def test_the_first_layer_wins_and_the_recipe_gives_the_rest():
    config = Config.resolve(
        ("flags", {"hidden": 1}),
        ("environment", {"hidden": 2, "lr": 0.2}),
        ("file", {"hidden": 3, "lr": 0.3, "window": 33, "recipe": "lecture"}),
    )
    assert (config.hidden, config.lr, config.window) == (1, 0.2, 33)
    assert (config.recipe, config.clip, config.cell) == ("lecture", 0.01, "elman")
    assert config.layers == 1


@pytest.mark.parametrize(("saved", "asked"), list(itertools.permutations(["elman", "alone", "lecture", "notes"], 2)))
def test_all_settings_of_one_recipe_are_not_called_another(saved, asked):
    file = Config.resolve(("command line", {"recipe": saved})).values()
    with pytest.raises(ConfigError, match=rf"c\.toml is for the recipe {saved} and sets .*: .* leave out the recipe"):
        Config.resolve(("command line", {"recipe": asked}), ("c.toml", file))
    kept = {k: v for k, v in file.items() if k in {"recipe", "seed", "copy_window", "engine"}}
    assert Config.resolve(("command line", {"recipe": asked}), ("c.toml", kept)).recipe == asked
    again = Config.resolve(("command line", {"recipe": saved, "seed": 3}), ("c.toml", file))
    assert again == Config.resolve(("c.toml", file | {"seed": 3}))


def test_a_file_that_0_1_wrote_means_its_defaults():
    """It wrote all settings, given or not: one layer beside a list of widths, a tenth beside a source with a split."""
    old = {"clean": "none", "keep": "best", "reports": 3, "hidden": [4, 5], "layers": 1, "held_out": 0.1, "test": 0.0}
    config = Config.resolve(("file", old))
    assert (config.hidden, config.layers, config.held_out) == ((4, 5), 2, None)
    written = Config.resolve(("file", {"hidden": [4, 5], "held_out": 0.1}))
    assert (written.layers, written.held_out) == (2, 0.1)
    assert Config.resolve(("again", written.values())) == written
    assert Config.resolve(("file", old | {"test": 0.2})).held_out == 0.1


def test_a_setting_of_the_network_means_the_defaults_for_ten_epochs_or_three_minutes():
    config = Config.resolve(("flags", {"hidden": 256}))
    assert config == Config(minutes=3.0, epochs=10)
    assert (config.recipe, config.steps) == ("elman", None)


@pytest.mark.parametrize("name", sorted(CHOSEN))
def test_any_setting_of_a_network_or_its_training_keeps_the_text_from_choosing(name):
    value = getattr(Config(), name)
    assert Config.resolve(("flags", {name: value})).recipe == "elman"
    assert f"flags: recipe auto chooses {name} from the text: leave out the recipe" in refusal(
        ("flags", {name: value, "recipe": "auto"})
    )


def test_without_any_the_text_chooses_and_the_budget_is_open():
    layer = {
        "sources": ["x"],
        "seed": 4,
        "engine": "loop",
        "limit": 9,
        "final_weights": "last",
        "num_reports": 3,
        "patience": 2,
    }
    assert Config.resolve(("flags", layer)).recipe == "auto"
    config = Config.resolve()
    assert (config.recipe, config.epochs, config.steps, config.minutes) == ("auto", None, None, None)
    assert not CHOSEN & config.values().keys()
    assert Config.resolve(("flags", {"minutes": 2.0})).minutes == 2.0


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (({"steps": 5}, {"epochs": 9}), {"steps": 5}),
        (({}, {"epochs": 9}, {"minutes": 1.0}), {"epochs": 9}),
        (({"minutes": 0.5}, {"recipe": "lecture"}), {"minutes": 0.5}),
        (({"recipe": "lecture"},), {"epochs": 500}),
        (({"steps": None}, {"epochs": 4}), {"epochs": 4}),
        (({"steps": None, "lr": 0.1},), {"epochs": 10, "minutes": 3.0}),
        (({"steps": None},), {}),
        (({"steps": 5, "epochs": 2}, {"minutes": 1.0}), {"steps": 5, "epochs": 2}),
    ],
)
def test_a_budget_replaces_every_budget_below_it(layers, expected):
    config = Config.resolve(*((f"layer {i}", values) for i, values in enumerate(layers)))
    budget = {k: getattr(config, k) for k in ("steps", "epochs", "minutes")}
    assert {k: v for k, v in budget.items() if v is not None} == expected


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_a_configuration(recipe):
    config = Config.resolve(("flags", {"recipe": recipe}))
    assert config.recipe == recipe
    assert config.batching in BATCHINGS
    assert config.normalize in CLEANINGS
    assert set(config.sources) <= set(SOURCES)
    for key, value in RECIPES[recipe].items():
        assert getattr(config, key) == value


def test_the_recipes_are_those_of_the_sources():
    """500 epochs, batch 32: 64 steps, rate 100, clip 0.01 (Smola and Li 2019); 35 steps, rate 1, clip 1
    (notes on Zhang et al. 2021)."""
    lecture, notes, concise = (Config.resolve(("", {"recipe": r})) for r in ("lecture", "notes", "notes-concise"))
    for config in (lecture, notes, concise):
        assert (config.epochs, config.batch, config.optimizer) == (500, 32, "sgd")
        assert config.limit - config.held_out == 10_000
    assert (lecture.window, lecture.lr, lecture.clip, lecture.hidden) == (64, 100.0, 0.01, 512)
    assert (notes.window, notes.lr, notes.clip, notes.hidden) == (35, 1.0, 1.0, 512)
    assert (concise.hidden, concise.init) == (256, "torch")


# --- refusals


def test_an_unknown_recipe_lists_those_there_are():
    assert refusal(("flags", {"recipe": "d2l"})) == (
        "there is no recipe 'd2l': choose one of auto, elman, alone, lecture, notes, notes-concise"
    )


def test_an_unknown_setting_names_its_layer_and_the_nearest():
    assert refusal(("flags", {}), ("elman.toml", {"hiden": 3})) == (
        "elman.toml: there is no setting 'hiden' (did you mean hidden?)"
    )
    assert refusal(("flags", {"qqqq": 3})) == "flags: there is no setting 'qqqq'"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden", 0),
        ("hidden", 70_000),
        ("hidden", 2.5),
        ("layers", -1),
        ("layers", 65),
        ("embedding", -1),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("batch", 0),
        ("window", 10**7),
        ("lr", -1.0),
        ("lr", float("nan")),
        ("lr", float("inf")),
        ("warmup", 1.5),
        ("final_lr", -0.5),
        ("clip", float("inf")),
        ("epochs", 0),
        ("steps", -3),
        ("minutes", 0.0),
        ("minutes", float("nan")),
        ("patience", 0),
        ("num_reports", 0),
        ("seed", -1),
        ("held_out", -0.1),
        ("limit", 0),
        ("min_count", 0),
        ("tokens", "letter"),
        ("optimizer", "adam"),
        ("schedule", "linear"),
        ("final_weights", "all"),
        ("errors", "ignore"),
        ("sources", 5),
        ("sample_length", -1),
        ("unknown", "perhaps"),
    ],
)
def test_a_value_out_of_range_names_layer_key_and_value(key, value):
    told = refusal(("flags", {}), ("elman.toml", {key: value}), ("other", {"hidden": 5}))
    assert told.startswith(f"elman.toml: {key} = {value!r}: ")


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config.resolve().hidden = 3


# --- parts and values


def test_the_parts_together_are_the_whole():
    config = Config.resolve(("flags", {"hidden": 7, "lr": 0.5, "limit": 99}))
    assert (config.network["hidden"], config.network["model"], config.network["cell"]) == (7, "recurrent", "gru")
    assert config.part(TrainSettings) == TrainSettings(lr=0.5, epochs=10, minutes=3.0)
    assert config.part(DataSettings) == DataSettings(limit=99)


def test_every_setting_has_its_help():
    for kind in (DataSettings, *settings_classes(), TrainSettings, RunSettings, Config):
        for name in kind.__annotations__:  # what the class itself declares
            assert kind.__pydantic_fields__[name].description, name


# --- the file

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.fixed_dictionaries(
    {},
    optional={
        "sources": st.lists(texts, min_size=1).map(tuple),
        "prompts": st.lists(texts).map(tuple),
        "cell": texts,
        "device": texts,
        "hidden": st.integers(1, 65536),
        "lr": st.floats(0, 1e300),
        "clip": st.floats(0, 1),
        "dropout": st.floats(0, 1, exclude_max=True),
        "tied": st.booleans(),
        "seed": st.integers(0, 2**62),
        "steps": st.integers(1, 2**40),
        "recipe": st.sampled_from(sorted(RECIPES)),
    },
)


@given(values)
def test_a_configuration_survives_its_file(layer):
    assume(layer.get("recipe") != "auto" or not CHOSEN & layer.keys())
    config = Config.resolve(("flags", layer))
    assert Config.resolve(("file", tomllib.loads(to_toml(config.values())))) == config


@given(
    st.dictionaries(
        st.sampled_from(["a", "b-c", "d_9"]),
        st.one_of(texts, st.lists(texts), st.integers(-(2**60), 2**60), st.booleans()),
    )
)
def test_any_strings_survive_toml(flat):
    assert tomllib.loads(to_toml(flat)) == flat


def test_every_control_character_survives_toml():
    text = "".join(map(chr, range(0x100))) + "\u2028\ufeff🙂"
    assert tomllib.loads(to_toml({"x": text})) == {"x": text}


def test_a_file_is_read_or_refused(tmp_path):
    path = tmp_path / "elman.toml"
    path.write_text('cell = "lstm"\nprompts = ["a b"]\n', encoding="utf-8")
    assert from_toml(path) == {"cell": "lstm", "prompts": ["a b"]}
    with pytest.raises(ConfigError, match=r"nothing\.toml.*cannot be read"):
        from_toml(tmp_path / "nothing.toml")
    path.write_text("cell = \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"elman\.toml.*is not TOML.*line 1"):
        from_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        from_toml(path)


# --- the names of 0.1


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_means_the_new_setting_and_both_are_refused(old):
    new = RENAMED[old]
    value = {"level": "word", "clean": "lower", "teacher": 0.5, "learn_initial": True, "keep": "last"}.get(old, 3)
    assert getattr(Config.resolve(("file", {old: value})), new) == value
    assert f"{old} is the old name of {new}: give one of them" in refusal(("file", {old: value, new: value}))


@pytest.mark.parametrize("name", ["average", "token_noise"])
def test_a_setting_that_was_removed_may_stand_there_if_it_was_off(name):
    assert Config.resolve(("file", {name: 0.0, "hidden": 7})).hidden == 7
    assert f"the setting {name} was removed" in refusal(("file", {name: 0.5}))


def test_the_windowed_network_was_a_cell_once():
    assert Config.resolve(("flags", {"cell": "mlp", "context": 3})).network_name == "mlp"
