"""Reports the epochs of a trial to its study from another process than the one that asked for the trial."""

import os

import optuna
from prefect import get_run_logger

from storage.errors import InputError, WorldError
from tasks.database_url import masked
from tasks.optuna_study import Plan, pruner_of, report
from tasks.study_storage import answering, open_storage


class StudyWatch:
    """What `SharedStudy.report` is, for a training in a Dask worker: it is sent there, and opens the study there.

    `address` is the URL of the study's storage, without a password, or `$NAME`: the worker's environment variable NAME
    has the URL. If the worker cannot open the storage, or it stops to answer, one line in the log says so, and the
    training is not ended early.
    """

    def __init__(self, address: str, study: str, number: int, plan: Plan) -> None:
        self._address, self._study, self._number, self._plan = address, study, number, plan
        self._trial: optuna.Trial | None = None
        self._gave_up = False

    def __call__(self, epoch: int, error: float) -> bool:
        """Note the validation error after an epoch; returns whether the pruner would end the training."""
        if self._gave_up:
            return False
        try:
            url = self._url()
            with answering(url):
                if self._trial is None:
                    self._trial = self._open(url)
                return report(self._trial, epoch, error, self._plan.epochs)
        except (InputError, WorldError) as reason:
            self._gave_up = True
            get_run_logger().warning("this training is not ended early: %s", reason)
            return False

    def _url(self) -> str:
        if not self._address.startswith("$"):
            return self._address
        name = self._address[1:]
        if not os.environ.get(name):
            raise InputError(f"{name} is not set in the environment of this worker")
        return os.environ[name]

    def _open(self, url: str) -> optuna.Trial:
        storage, sampler = open_storage(url, create=False), optuna.samplers.RandomSampler()
        try:
            study = optuna.load_study(
                storage=storage, study_name=self._study, sampler=sampler, pruner=pruner_of(self._plan)
            )
        except KeyError:
            raise InputError(f"storage {masked(url)}: has no study {self._study}") from None
        return optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(study._study_id, self._number))
