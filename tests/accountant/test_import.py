import subprocess
import sys


def modules_after(statement):
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_accounting_imports_without_torch_and_without_the_oracle():
    names = "account calibrate allocation claim events geometry peers"
    modules = modules_after(
        "; ".join(f"import privassay.accountant.{name}" for name in names.split())
    )
    assert "privassay.accountant.account" in modules
    assert not {"torch", "prv_accountant", "matplotlib", "pandas"} & modules


def test_the_closed_forms_alone_need_only_numpy_and_scipy_special():
    modules = modules_after("import privassay.accountant.gaussian")
    assert not {"torch", "dp_accounting", "mpmath", "scipy.stats", "scipy.optimize"} & modules
