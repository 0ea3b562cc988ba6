"""HTTP for the importance of parameters."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from ...importance.forest_process import NotInstalled
from ...importance.importance import Importance, param_importance
from ...importance.run_table import Statistic
from ..context import server_of
from ..endpoint import Reach, endpoint
from ..filters import Filters, run_filter
from ..responses import json_answer, problem
from ..tokens import Role


class ImportanceQuery(Filters, kw_only=True):
    name: str
    stat: Statistic = "last"


@endpoint(
    "GET /api/v1/param-importance",
    Role.READ,
    Reach.WORKSPACE,
    "Which parameters matter for a metric of the runs that pass all filters",
    answer=Importance,
)
async def importance(request: Request, asked: ImportanceQuery) -> Response:
    server, filters = server_of(request), run_filter(asked)
    seconds = server.settings.query_timeout
    async with asyncio.timeout(seconds) as waiting, server.forest_places.one(), server.forests:
        waiting.reschedule(None)  # from here on the question has its own time
        try:
            weighed = await param_importance(server.pool, filters, asked.name, asked.stat, timeout=seconds)
        except NotInstalled as error:
            return problem(501, "Not Implemented", str(error))
    return json_answer(request, weighed)


ENDPOINTS = (importance,)
