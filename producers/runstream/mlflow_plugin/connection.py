"""The service a tracking URI `runstream://` means: the one of these settings, as everywhere else."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.utils.rest_utils import MlflowHostCreds

from runstream_schemas.settings import Settings

from ..client.freshness import catch_up, reads_spool
from ..client.http import AWAY_TIMEOUT, client_for
from ..home.layout import open_home, running_service, with_local_spool


class Connection:
    """Requests of MLflow's client to the service.

    Args:
        uri: `runstream://`, with nothing behind it.

    Raises:
        MlflowException: the URI says more.
    """

    def __init__(self, uri: str) -> None:
        if urlsplit(uri)[1:] != ("", "", "", ""):
            raise MlflowException.invalid_parameter_value(
                f"tracking URI {uri!r}: expected runstream:// and nothing behind it; RUNSTREAM_URL and RUNSTREAM_TOKEN, or "
                "RUNSTREAM_HOME, say which service it is"
            )
        self.settings = settings()
        self._client = client_for(self.settings)

    def host(self) -> MlflowHostCreds:
        """Where it is now: an embedded one may have been started again, on another port."""
        if not self.settings.url and running_service(open_home(self.settings)) is None:
            self._client.find_again()
        address = self._client.address()
        return MlflowHostCreds(host=address.url, token=address.token or None)

    def reads_spool(self) -> bool:
        """Whether somebody takes what lies in this machine's spool to the service."""
        return reads_spool(self._client)

    def catch_up(self, run_id: str | None) -> None:
        """Wait until it has stored what was recorded on this machine, of a run or of all."""
        path = "/api/v1/runs" if run_id is None else f"/api/v1/runs/{run_id}"
        catch_up(self._client, path, (), AWAY_TIMEOUT)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process."""
    return with_local_spool(Settings.load())
