"""The tasks of Matbench v0.1 that predict a number from a structure: Dunn et al., npj Comput. Mater. 6, 138 (2020)."""

FOLDS = 5
FOLD_COLUMN = "matbench_test_fold"
SEED = 18012019  # of the shuffle before the rows are cut into folds

ROWS = {  # by the task's name, which is also that of its file
    "matbench_dielectric": 4_764,
    "matbench_jdft2d": 636,
    "matbench_log_gvrh": 10_987,
    "matbench_log_kvrh": 10_987,
    "matbench_mp_e_form": 132_752,
    "matbench_mp_gap": 106_113,
    "matbench_perovskites": 18_928,
    "matbench_phonons": 1_265,
}


def task_id(task: str, row: int) -> str:
    """What Matbench calls a row of a task, counted from 1: mb-phonons-0001."""
    return f"{task.replace('matbench', 'mb', 1).replace('_', '-')}-{row:0{len(str(ROWS[task]))}d}"
