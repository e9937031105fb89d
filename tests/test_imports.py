"""What a core install can do: account, verify and show, without torch and the report packages."""

import subprocess
import sys

BLOCK = (
    "import sys\n"
    "class Refuse:\n"
    "    def find_spec(self, name, path=None, target=None):\n"
    "        if name.partition('.')[0] in {'torch', 'matplotlib', 'jinja2', 'pandas', 'sklearn',\n"
    "                                      'skimage', 'PIL', 'transformers'}:\n"
    "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
    "sys.meta_path.insert(0, Refuse())\n"
)


def python(code):
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False
    )


def test_the_core_accounts_without_torch():
    done = python(
        "import privassay as pa\n"
        "event = pa.GroupwiseGaussianDpEvent(noise_stddevs=(8, 20), norm_bounds=(0.5, 1))\n"
        "print(pa.account(event, adjacency='add-remove').epsilon(1e-5).upper)\n"
        "claim = pa.PrivacyClaim(mu=1.0, adjacency='add-remove', unit='example')\n"
        "import numpy\n"
        "g = numpy.random.default_rng(0)\n"
        "print(pa.estimate(g.normal(1, 1, 500), g.normal(0, 1, 500), design='many_runs',\n"
        "                  claim=claim).mu_lower)\n"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0.26730")


def test_every_public_name_is_there():
    done = subprocess.run(
        [sys.executable, "-c", "import privassay as pa; [getattr(pa, n) for n in pa.__all__]"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_verb_that_needs_more_says_what_to_install(tmp_path):
    (tmp_path / "audit.toml").write_text("")
    done = python(
        f"sys.argv = ['privassay', 'run', {str(tmp_path / 'audit.toml')!r}]\n"
        "from privassay.audit_reports.cli.app import main\n"
        "main()\n"
    )
    assert done.returncode == 2 and "privassay[run]" in done.stderr, done
    assert "Traceback" not in done.stderr


def test_records_are_verified_without_torch(finished_record):
    done = python(f"import privassay as pa; print(pa.verify({str(finished_record)!r}))")
    assert done.returncode == 0, done.stderr


def test_importing_the_accountant_does_not_import_torch():
    done = subprocess.run(
        [sys.executable, "-c", "import privassay.accountant.account, sys; "
         "assert 'torch' not in sys.modules"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
