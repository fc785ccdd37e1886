from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmstrix.config import Effective, EmbeddedSettings, Places, Settings, load_settings
from lmstrix.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "deep" / "below"
    folder.mkdir(parents=True)
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def user_file(places: Places, text: str) -> Path:
    return write(places.settings_file, text)


def load(places: Places, **options: Any) -> Effective:
    return load_settings(places, **{"environ": {}, **options})


def refused(places: Places, **options: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(places, **options)
    return caught.value


def test_without_any_source_the_defaults_hold(places: Places) -> None:
    effective = load(places)
    assert effective.settings == Settings()
    assert set(effective.origins.values()) == {"default"}
    assert effective.origins["embedded.ttl_s"] == "default"
    assert effective.notes == ()


def test_each_layer_wins_over_the_one_below(places: Places, project: Path) -> None:
    user = user_file(places, "server = 'user'")
    profile = write(places.config / "profiles" / "fast.toml", "server = 'profile'")
    found = write(project.parents[1] / ".lmstrix.toml", "\n\nserver = 'project'")
    environ = {"LMSTUDIO_BASE_URL": "lm studio"}
    steps: list[tuple[dict[str, Any], str, str]] = [
        ({}, "user", f"{user}:1"),
        ({"profile": "fast"}, "profile", f"{profile}:1"),
        ({"project_folder": project}, "project", f"{found}:3"),
        ({"environ": environ}, "lm studio", "LMSTUDIO_BASE_URL"),
        ({"environ": {**environ, "LMSTRIX_SERVER": "own"}}, "own", "LMSTRIX_SERVER"),
        ({"overrides": {"server": "written"}}, "written", "command line"),
    ]
    options: dict[str, Any] = {}
    for more, value, origin in steps:
        options |= more
        effective = load(places, **options)
        assert (effective.settings.server, effective.origins["server"]) == (value, origin)


_LAYERS = ("user", "profile", "project", "environment", "command line")


@settings(max_examples=60, deadline=None)
@given(
    given_by=st.dictionaries(
        st.tuples(st.sampled_from(_LAYERS), st.sampled_from(["threads", "parallel", "ttl_s"])),
        st.integers(1, 1000),
    )
)
def test_whatever_is_set_where_the_highest_layer_wins_key_by_key(
    tmp_path_factory: pytest.TempPathFactory, given_by: dict[tuple[str, str], int]
) -> None:
    home = tmp_path_factory.mktemp("any")
    places = Places.locate({"LMSTRIX_HOME": str(home)})
    by_layer: dict[str, dict[str, int]] = {layer: {} for layer in _LAYERS}
    for (layer, key), value in given_by.items():
        by_layer[layer][key] = value

    def tables(layer: str) -> str:
        lines = [f"{key} = {value}" for key, value in by_layer[layer].items()]
        return "\n".join(["[embedded]", *lines])

    user_file(places, tables("user"))
    write(home / "profiles" / "p.toml", tables("profile"))
    write(home / "project" / ".lmstrix.json", msgspec.json.encode(
        {"embedded": by_layer["project"]}).decode())  # fmt: skip
    effective = load_settings(
        places,
        environ={
            f"LMSTRIX_EMBEDDED__{key.upper()}": str(value)
            for key, value in by_layer["environment"].items()
        },
        project_folder=home / "project",
        profile="p",
        overrides={f"embedded.{key}": value for key, value in by_layer["command line"].items()},
    )
    for key in ("threads", "parallel", "ttl_s"):
        expected = getattr(EmbeddedSettings(), key)
        for layer in _LAYERS:
            expected = by_layer[layer].get(key, expected)
        assert getattr(effective.settings.embedded, key) == expected
        is_default = all(key not in by_layer[layer] for layer in _LAYERS)
        assert (effective.origins[f"embedded.{key}"] == "default") is is_default


def test_aliases_of_all_layers_are_merged_by_name(places: Places, project: Path) -> None:
    user = user_file(places, '[aliases]\nsmall = "a"\n"my.big" = "b"')
    found = write(project / ".lmstrix.json", '{\n"aliases": {"small": "c"}\n}')
    effective = load(
        places, project_folder=project, environ={"LMSTRIX_ALIASES__TINY": "shipped/tiny"}
    )
    assert effective.settings.aliases == {"small": "c", "my.big": "b", "tiny": "shipped/tiny"}
    assert effective.origins["aliases.small"] == f"{found}:2"
    assert effective.origins["aliases.my.big"] == f"{user}:3"
    assert effective.origins["aliases.tiny"] == "LMSTRIX_ALIASES__TINY"


def test_the_environment_writes_numbers_truth_values_sizes_and_lists(places: Places) -> None:
    environ = {
        "LMSTRIX_EMBEDDED__THREADS": "6",
        "LMSTRIX_EMBEDDED__MEMORY_LIMIT_BYTES": "512MiB",
        "LMSTRIX_TIMEOUTS__LOAD_S": "1.5",
        "LMSTRIX_SHIPPED_MODELS": "true",
        "LMSTRIX_COLOR": "0",
        "LMSTRIX_MODEL_FOLDERS": os.pathsep.join(["/a b", "/c"]),
        "LMSTRIX_SERVER": "",
    }
    found = load(places, environ=environ).settings
    assert found.embedded.threads == 6
    assert found.embedded.memory_limit_bytes == 512 * 2**20
    assert found.timeouts.load_s == 1.5
    assert found.shipped_models is True
    assert found.color is False
    assert found.model_folders == ("/a b", "/c")
    assert found.server is None


def test_overrides_that_were_not_given_change_nothing(places: Places) -> None:
    user_file(places, "server = 'user'")
    overrides = {"server": None, "embedded": {"threads": "2", "parallel": None}}
    effective = load(places, overrides=overrides)
    assert effective.settings.server == "user"
    assert effective.settings.embedded == EmbeddedSettings(threads=2)
    assert effective.origins["embedded.parallel"] == "default"


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ('\n[embedded]\nthreads = "four"', 3, 'embedded.threads must be {count}, not "four".'),
        ("[embedded]\nthreads = 0", 2, "embedded.threads must be {count}, not 0."),
        ("[embedded]\nthreads = 1.5", 2, "embedded.threads must be {count}, not 1.5."),
        ('test.reserve_bytes = "big"', 1, 'test.reserve_bytes must be {size}, not "big".'),
        ("test.reserve_bytes = -1", 1, "test.reserve_bytes must be {size}, not -1."),
        ("timeouts = {load_s = -1}", 1, "timeouts.load_s must be {seconds}, not -1."),
        ("timeouts = {load_s = nan}", 1, "timeouts.load_s must be {seconds}, not nan."),
        ("model_folders = '/a'", 1, 'model_folders must be a list of texts, not "/a".'),
        ("shipped_models = 'yes'", 1, 'shipped_models must be true or false, not "yes".'),
        ("shipped_models = 1", 1, "shipped_models must be true or false, not 1."),
        ("embedded = 5", 1, "embedded must be a table, not 5."),
        ("[aliases]\n\nsmall = 5", 3, "aliases.small must be a text, not 5."),
    ],
)
def test_a_wrong_value_is_named_with_file_line_key_wish_and_finding(
    places: Places, text: str, line: int, told: str
) -> None:
    path = user_file(places, text)
    error = refused(places)
    assert (error.source, error.key, error.line) == (str(path), told.split(maxsplit=1)[0], line)
    told = told.format(
        count="a whole number of at least 1",
        size='a size such as 4294967296, "4GB" or "512MiB"',
        seconds="a number of seconds above 0",
    )
    assert error.message == f"In {path}, line {line}: {told}"


def test_an_unknown_key_is_refused_with_the_nearest_one(places: Places) -> None:
    user_file(places, "[embeded]\nthreads = 4")
    error = refused(places)
    assert "there is no setting embeded.threads" in error.message
    assert error.line == 2
    assert error.hint == "Did you mean embedded.threads?"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("config.toml", "server = 'a'\nserver = \n", 2),
        ("config.toml", "server = 'a'\n[never closed", 2),
        ("config.json", '{\n"server": "a",\n}', 3),
        ("config.json", '{\n"server": "a"', 2),
        ("config.json", "[1]", 1),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_line(
    places: Places, tmp_path: Path, name: str, text: str, line: int
) -> None:
    path = write(tmp_path / name, text)
    error = refused(places, config_file=path)
    assert (error.source, error.line) == (str(path), line)
    assert f"{path} cannot be read at line {line}" in error.message


def test_a_file_that_is_no_text_is_named_with_the_line(places: Places, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"server = 'a'\nprovider = '\xff'\n")
    error = refused(places, config_file=path)
    assert error.line == 2
    assert "UTF-8" in error.message


def test_a_named_file_that_is_not_there_is_an_error(places: Places, tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert str(missing) in refused(places, config_file=missing).message
    assert str(missing) in refused(places, environ={"LMSTRIX_CONFIG": str(missing)}).message


def test_a_settings_file_that_may_not_be_read_is_an_error_and_not_passed_over(
    places: Places,
) -> None:
    places.settings_file.mkdir(parents=True)
    assert "cannot be read" in refused(places).message


def test_an_empty_table_sets_nothing(places: Places) -> None:
    user_file(places, "[embedded]\n[aliases]")
    effective = load(places)
    assert effective.settings == Settings()
    assert effective.origins == load(places, config_file=user_file(places, "")).origins


def test_a_byte_order_mark_is_no_error(places: Places) -> None:
    user_file(places, "\ufeffserver = 'a'")
    assert load(places).settings.server == "a"


def test_a_wrong_variable_is_named(places: Places) -> None:
    error = refused(places, environ={"LMSTRIX_EMBEDDED__PARALLEL": "many"})
    assert error.source == "LMSTRIX_EMBEDDED__PARALLEL"
    assert "embedded.parallel must be a whole number of at least 1, not" in error.message


def test_a_variable_of_no_setting_is_noted_without_its_value(places: Places) -> None:
    effective = load(places, environ={"LMSTRIX_EMBEDED__THREADS": "secret", "LMSTRIX_DEBUG": "1"})
    (note,) = effective.notes
    assert "LMSTRIX_EMBEDED__THREADS" in note
    assert "Did you mean embedded.threads?" in note
    assert "secret" not in note


def test_a_wrong_option_is_told_as_such(places: Places) -> None:
    error = refused(places, overrides={"embedded.threads": 0})
    assert error.source == "command line"
    assert error.message.startswith("On the command line: embedded.threads must be")


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(places: Places) -> None:
    write(places.config / "profiles" / "fast.toml", "")
    assert refused(places, profile="fats").hint == "Profiles there: fast."
    assert refused(places, environ={"LMSTRIX_PROFILE": "fats"}).key == "profile"


def test_a_profile_is_a_name_and_not_a_path(places: Places, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.toml", "server = 'x'")
    write(places.config / "profiles" / "fast.toml", "")
    path = os.path.relpath(outside.with_suffix(""), places.config / "profiles")
    assert "no profile" in refused(places, profile=path).message


def test_the_nearest_project_file_is_taken_alone(places: Places, project: Path) -> None:
    write(project.parent / ".lmstrix.toml", "provider = 'far'\nserver = 'far'")
    write(project / ".lmstrix.json", '{"server": "near"}')
    found = load(places, project_folder=project).settings
    assert (found.server, found.provider) == ("near", None)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="files are given away by root")
def test_a_project_file_of_another_user_is_passed_over_and_noted(
    places: Places, project: Path
) -> None:
    planted = write(project / ".lmstrix.toml", "server = 'http://elsewhere'")
    os.chown(planted, 65534, -1)
    effective = load(places, project_folder=project)
    assert effective.settings.server is None
    assert effective.notes == (f"{planted} was passed over: it belongs to another user.",)


def test_folders_in_a_file_are_taken_from_where_the_file_is(
    places: Places, project: Path, home: Path
) -> None:
    absolute = str(home / "absolute")
    folders = msgspec.json.encode(["models", "~/mine", absolute]).decode()
    write(project / ".lmstrix.toml", f"model_folders = {folders}")
    found = load(places, project_folder=project, environ=os.environ).settings.model_folders
    assert found == (str(project / "models"), str(home / "mine"), absolute)


def test_a_1x_file_is_read_and_what_means_nothing_now_is_noted(places: Places) -> None:
    old = write(
        places.legacy / "config.json",
        '{"server": "old", "default_model": "x", "timeouts": 5, "embedded": {"threads": 3}}',
    )
    effective = load(places)
    assert effective.settings.server == "old"
    assert effective.settings.embedded.threads == 3
    assert effective.origins["server"] == f"{old}:1"
    (note,) = effective.notes
    assert "default_model, timeouts" in note


def test_a_damaged_1x_file_is_noted_and_stops_nothing(places: Places) -> None:
    write(places.legacy / "config.json", "{")
    effective = load(places)
    assert effective.settings == Settings()
    assert "1.x" in effective.notes[0]


def test_a_1x_file_is_not_read_where_there_is_a_new_one(places: Places) -> None:
    write(places.legacy / "config.json", '{"server": "old"}')
    user_file(places, "")
    assert load(places).settings.server is None


def test_no_source_can_put_a_token_into_the_settings(places: Places) -> None:
    environ = {"LM_API_TOKEN": "s3cret", "LMSTUDIO_API_TOKEN": "s3cret", "LMSTRIX_TOKEN": "s3cret"}
    assert "s3cret" not in repr(load(places, environ=environ))


def test_a_server_has_a_table_of_its_own(places: Places) -> None:
    places.settings_file.parent.mkdir(parents=True, exist_ok=True)
    places.settings_file.write_text(
        '[servers.office]\nurl = "https://llm.example/base"\nheaders = { X-Team = "a.b" }\n'
    )
    found = load_settings(places, environ={})
    server = found.settings.servers["office"]
    assert server.url == "https://llm.example/base"
    assert server.headers == {"X-Team": "a.b"}
    assert found.origins["servers.office.url"].endswith(f"{places.settings_file.name}:2")


@pytest.mark.parametrize("line", ['urls = "http://x"', 'url = "ftp://x"', "headers = 3"])
def test_a_wrong_setting_of_a_server_is_named(places: Places, line: str) -> None:
    places.settings_file.parent.mkdir(parents=True, exist_ok=True)
    places.settings_file.write_text(f"[servers.office]\n{line}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(places, environ={})
    assert caught.value.key.startswith("servers.office.")
    assert caught.value.line == 2


@pytest.mark.parametrize("table", ["[servers.office]\n", "[servers.office]\ntoken_env = 'T'\n"])
def test_a_server_without_an_address_is_named_with_its_place(
    places: Places, tmp_path: Path, table: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f"discover = true\n{table}")
    with pytest.raises(SettingsError, match=r"servers\.office has no url") as caught:
        load_settings(places, config_file=file)
    assert caught.value.source == str(file)
    assert caught.value.line in (2, 3)
    assert caught.value.key == "servers.office.url"
