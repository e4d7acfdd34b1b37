import nbformat
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bump_diffusion import cli
from bump_diffusion.files import ROOT
from bump_diffusion.plain_yaml import read_yaml

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.from_regex(r"[a-z][a-z_ -]*[a-z]", fullmatch=True).filter(
    lambda word: word not in ("true", "false", "null")
)


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    """Runs the command line with a store of its own, which must stay unmade."""
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.main, [str(a) for a in arguments])


def yaml_file(tmp_path, text):
    path = tmp_path / "mine.yml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--set", "width=7"], "width is 7, it should be a multiple of 8."),
        (["train", "--set", "widht=8"], "'widht' is not a field of a configuration (did you mean"),
        (["train", "--set", "width"], "'width' is not a setting; allowed: NAME=VALUE."),
        (["train", "--set", "sigma=wide"], "sigma is 'wide', it should be a valid number"),
        (["train", "--set", "sigma={"], "sigma is '{', it must be a number, a word or a list."),
        (["train", "--profile", "quik"], "'quik' is not a profile (did you mean 'quick'?)"),
        (["train", "no.yml"], "no.yml cannot be read: No such file or directory."),
        (["run", "three-phase"], "'three-phase' is not an experiment (did you mean 'three-phases'"),
        (["run", "three-phases", "--seeds", "0"], "seeds is 0, it must be a whole number"),
        (["run", "three-phases", "--set", "seed=[]"], "seed varies over [], it must have at least"),
        (["run", "three-phases", "--workers", "0"], "'--workers': 0 is not in the range x>=1."),
        (["book", "phase"], "'phase' is not a chapter that is a notebook (did you mean 'phases'?)"),
        (
            ["book", "larger", "-p", "profile=[medium,paper]"],
            "profile is ['medium', 'paper'], they",
        ),
        (["book", "phases", "-p", "seedz=1"], "'seedz' is not a parameter of chapter phases"),
        (["book", "-p", "nothing=1"], "'nothing' is not a parameter of any chapter"),
        (["verify", "none"], "'none' is not a record; allowed: "),
        (["verify", "none", "--checksums"], "'none' is not a record; allowed: "),
        (["run", "three-phases", "--set", "profile=smoke"], "'profile' is not a field"),
        (["run", "three-phases", "--profile", ""], "'' is not a profile"),
        (["train", "--set", "sigma=2001-99-99"], "sigma is '2001-99-99', it should be a valid"),
        (["train", "--set", "sigma=[&a 1, *a]"], "sigma is '[&a 1, *a]', it must be a number"),
        (["train", "--set", "sigma=!!pairs [a: 1]"], "it must be a number, a word or a list."),
        (["train", "--set", "seed=" + 5000 * "9"], "9', it must be a number, a word or a list."),
        (["train", "--set", "seed=0x" + 5000 * "f"], "seed is '0xfff"),
        (["train", "--set", "steps=1:30"], "steps is '1:30', it should be a valid integer"),
        (["train", "--set", "seed=1", "--set", "seed=2"], "seed is set twice."),
        (
            ["run", "three-phases", "--set", f"width={[8] * 1000}", "--set", f"steps={[1] * 1000}"],
            "The fields that vary give 15,000,000 runs; allowed: 100,000.",
        ),
        (["train", "--set", "spacing=1"], "'spacing' is not a field"),
        (["run", "density", "--set", "spacing=wide"], "spacing is 'wide', it must be a number"),
        (["run", "three-phases", "--set", "sigma="], "sigma is empty, it must have a value."),
        (["run", "claim"], "'claim' is not an experiment (did you mean 'claims'?)"),
        (["run", "nope", "--until-decided"], "'nope' is not an experiment"),
        (["train", "three-phases"], "three-phases describes 15 runs; train takes one, use run."),
        (["train", "--set", "beta_start=0"], "beta_start is 0, it should be greater than or equal"),
        (["train", "--set", "beta_end=0.9"], "beta_end is 0.9, it must be so low that"),
        (["train", "--set", "d_x=0.01", "--set", "d_y=0.01"], "d_x is 0.01 and d_y is 0.01, they"),
        (["run", "three-phases", "--scheduler", "here"], "scheduler is 'here', where no Dask"),
        (
            ["run", "three-phases", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"],
            "workers is 2 and scheduler is 'tcp://127.0.0.1:1'; only one of them is allowed",
        ),
        (["ship", "samplers"], "3 of the 3 records are not there ("),
        (["book", "about", "-p", "N=1"], "'N' is not a parameter of chapter about, which has none"),
        (["trian"], "No such command 'trian'"),
    ],
)
def test_bad_input_gets_one_sentence_and_nothing_starts(invoke, tmp_path, arguments, sentence):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("profil: quick", "'profil' is not a field of experiment"),
        ("set: {sigma: -1}", "sigma is -1, it should be greater than or equal to 0.25."),
        ("set: {sgima: 1}", "'sgima' is not a field of a configuration (did you mean 'sigma'?)"),
        ("vary: {seed: 3}", "vary.seed is 3, it should be a valid list."),
        ("profile: [quick]", "profile is ['quick'], it should be a valid string."),
        ("- quick", "it must be a mapping of fields."),
        ("set: {sigma: 1", "is not YAML at line"),
        ("set: {seed: 1, seed: 2}", "has a key twice, or one that is not a word, at line 1."),
        ("set: {seed: 1}\nset: {}", "has a key twice, or one that is not a word, at line 2."),
        ("a: &a [x, x]\nset: {b: *a}", "has an alias or a tag at line 2."),
        ("set: !!set {a}", "has an alias or a tag at line 1."),
        ("tied: {sigma: seeed}", "'seeed' is not a field of a configuration (did you mean 'seed'"),
        ("extras: [weight]", "'weight' is not an extra of experiment"),
        ("set: {spacing: 1" + 99 * "0" + "}", "it must be a number from 0.01 to 64 (pixels)."),
        ("set: {spacing: 1" + 999 * "0" + "}", "has a number of 1000 digits at line 1."),
        ("vary: " + str({f: [1] * 100 for f in "abc"}), "give 1,000,000 runs; allowed: 100,000."),
        ("[" * 9999, "is nested too deeply at line 1."),
        ("\x00", "is not YAML."),
    ],
)
@pytest.mark.parametrize("command", ["run", "train"])
def test_bad_yaml_gets_one_sentence(invoke, tmp_path, command, text, sentence):
    result = invoke(command, yaml_file(tmp_path, text))
    assert result.exit_code == 2
    assert sentence in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("seeds", ["[]", "[[1]]", "[x, 2]"])
def test_seeds_are_counted_from_whole_numbers_alone(invoke, tmp_path, seeds):
    result = invoke("run", yaml_file(tmp_path, f"vary: {{seed: {seeds}}}"), "--seeds", "2")
    assert result.exit_code == 2
    assert result.output.startswith("Error: seed is [")


def test_train_takes_a_file_of_one_run_only(invoke, tmp_path):
    path = yaml_file(tmp_path, "profile: smoke\nvary: {seed: [0, 1]}")
    assert "describes 2 runs; train takes one, use run." in invoke("train", path).output


def test_numbers_are_decimal_however_yaml_reads_them():
    parsed = cli.parse_settings(("a=1e-3", "b=010", "c=[1, -2.]", "d=dark", "e=yes", "f='1'"))
    assert parsed == {"a": 0.001, "b": 10, "c": [1, -2.0], "d": "dark", "e": "yes", "f": "1"}
    assert cli.parse_settings(["a=true", "b=", "c=1_0"]) == {"a": True, "b": None, "c": "1_0"}


@given(
    st.recursive(NUMBERS | st.booleans() | WORDS, lambda x: st.lists(x) | st.dictionaries(WORDS, x))
)
def test_what_yaml_writes_is_read_back(value):
    assert read_yaml(yaml.safe_dump(value)) == value


def test_help_names_every_command(invoke):
    text = invoke("--help").output
    for command in ("train", "run", "book", "verify", "list"):
        assert command in text
        assert "Usage:" in invoke(command, "--help").output


def test_commands_that_do_not_train_do_not_wait_for_torch(run):
    code = "import sys, bump_diffusion.cli; assert 'torch' not in sys.modules"
    run("python", "-c", code, check=0)


def test_train_list_and_load_in_processes_of_their_own(run, tmp_path):
    path = yaml_file(tmp_path, "profile: smoke\nset: {steps: 4, evaluations: 1}")
    first = run("bump-diffusion", "train", path, check=0)
    id = first.stdout.split()[0]
    listed = run("bump-diffusion", "list", check=0).stdout
    assert id in listed and "sinusoidal" in listed
    second = run("bump-diffusion", "train", path, check=0)
    assert second.stdout == first.stdout
    assert "step" not in second.stderr  # nothing was trained


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (["-p", "seeds", "0"], "seeds is 0, it must be a whole number from 1 to 1000."),
        (
            ["-p", "seedz", "1"],
            "'seedz' is not a parameter of this chapter (did you mean 'seeds'?)",
        ),
        (["-p", "spacing", "wide"], "spacing is 'wide', it must be a number."),
        (["-p", "conditioning", "3"], "conditioning is 3, it must be a list of words."),
        (["-p", "sigma", "-1"], "sigma is -1, it should be greater than or equal to 0.25."),
        (["-y", "seeds: []"], "seeds is [], it must have at least one value."),
    ],
)
def test_papermill_ends_in_the_sentence(run, tmp_path, parameters, sentence):
    chapter = ROOT / "book" / "phases.ipynb"
    done = run("papermill", "--no-progress-bar", chapter, tmp_path / "out.ipynb", *parameters)
    assert done.returncode == 2
    assert f"Error: {sentence}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "store").exists()


def test_papermill_gives_the_chapter_with_other_parameters(run, tmp_path):
    parameters = ["-p", "profile", "smoke", "-p", "seeds", "1", "-p", "spacing", "2.0"]
    parameters += ["-p", "conditioning", "table"]
    chapter = ROOT / "book" / "phases.ipynb"
    run("papermill", chapter, tmp_path / "out.ipynb", *parameters, check=0)
    made = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    pages = [
        output["data"]["text/html"]
        for cell in made.cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    drawings = [page for page in pages if 'class="drawing"' in page]
    assert len(drawings) >= 8
    assert all("d_x 2.0, d_y 2.0" in page and "Provenance" in page for page in drawings)
    assert all("conditioning table" in page for page in drawings)
    assert len(list((tmp_path / "store").glob("*/checksums.json"))) == 1
