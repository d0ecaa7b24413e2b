from jeffreysflow.cli import run_as_rank

run_as_rank()
