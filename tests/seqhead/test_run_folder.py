import signal
import subprocess
import sys
from pathlib import Path

import pytest

from seqhead.errors import RunError
from seqhead.fit import fit
from seqhead.options import parse_fit_options
from seqhead.run_folder import run_folder
from seqhead.sources import Sources


def test_a_fit_whose_number_was_taken_meanwhile_takes_the_next_one(toy, monkeypatch):
    import seqhead.run_folder as module

    honest, asked = module.next_run_path, []

    def late(folder, stem):
        path = honest(folder, stem)
        if not asked:  # another fit ends between the choice of the number and the renaming
            path.mkdir()
            (path / "config.toml").touch()
        asked.append(path.name)
        return path

    monkeypatch.setattr(module, "next_run_path", late)
    options = parse_fit_options(hidden=4, epochs=1, device="cpu")
    run = fit(Sources(toy.store, toy.labels), options, project=toy.folder).run
    assert asked == ["toy-gru-1", "toy-gru-2"]
    assert run.path.name == "toy-gru-2"
    assert sorted(p.name for p in (toy.folder / "runs").iterdir()) == ["toy-gru-1", "toy-gru-2"]


def test_two_fits_in_one_folder_have_places_of_their_own(tmp_path):
    with run_folder(None, tmp_path) as one, run_folder(None, tmp_path) as other:
        assert one.partial != other.partial
        assert one.partial.exists()
        assert other.partial.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_fit_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom seqhead.run_folder import run_folder\n"
        "with run_folder(None, Path(sys.argv[1])) as folder:\n"
        "    (folder.partial / 'x').touch(); print(folder.partial, flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as living,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed,
    ):
        held, left = (Path(one.stdout.readline().strip()) for one in (living, killed))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.exists()
        with run_folder(None, tmp_path):
            assert not left.exists()
            assert held.exists()
        living.kill()


def test_an_unwritable_place_is_found_before_any_work(toy):
    (toy.folder / "file").touch()
    sources = Sources(toy.folder / "there is no store", toy.labels)  # would be found first
    with pytest.raises(RunError, match="cannot write a run in") as error:
        fit(sources, parse_fit_options(), out=toy.folder / "file" / "run")
    assert error.value.exit_code == 2


def test_folders_made_for_a_run_that_failed_go_again(tmp_path):
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path / "a" / "b" / "run", tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
