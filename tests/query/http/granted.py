"""A world of two workspaces and three tokens, and the model that says what each may see of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import httpx

MARKS = {"ada": "zebra-ada-5f1c", "bob": "walrus-bob-93c1"}
"""In every text of a workspace, and of no other."""
ROLES = ("read", "write", "admin")


PATHS = ("outputs/a", "outputs/b", "logs/c")
MODELS = ("m", "n")


_STATE = """
with runs_here as (select r.* from runs r join experiments e on e.id = r.experiment_id where e.workspace = $1)
select jsonb_build_object(
    'runs', (select jsonb_agg(to_jsonb(r) - 'packing' - 'settled_at' order by key) from runs_here r),
    'experiments', (select jsonb_agg(to_jsonb(e) order by id) from experiments e where workspace = $1),
    'tags', (select jsonb_agg(to_jsonb(t) order by t) from tags t where run_key in (select key from runs_here)),
    'properties', (select jsonb_agg(to_jsonb(p) order by p) from properties p where run_key in (select key from runs_here)),
    'steps', (select jsonb_agg(to_jsonb(t) order by t) from transitions t where run_key in (select key from runs_here)),
    'summaries', (select jsonb_agg(to_jsonb(s) order by s) from summaries s where run_key in (select key from runs_here)),
    'files', (select jsonb_agg(to_jsonb(a) - 'claimed_by' order by a) from artifacts a
              where run_key in (select key from runs_here) or claimed_by = $1),
    'models', (select jsonb_agg(to_jsonb(m) order by id) from models m where workspace = $1),
    'model_files', (select jsonb_agg(to_jsonb(f) order by f) from model_files f
                    where model_id in (select id from models where workspace = $1)),
    'model_names', (select jsonb_agg(to_jsonb(m) order by m) from model_names m where workspace = $1),
    'model_content', (select jsonb_agg(to_jsonb(m) order by m) from model_content m where workspace = $1),
    'environments', (select jsonb_agg(to_jsonb(e) order by id) from environments e where workspace = $1),
    'labels', (select jsonb_agg(to_jsonb(l) order by l) from environment_labels l where workspace = $1),
    'workspace', (select jsonb_agg(to_jsonb(w) order by w) from workspaces w where name = $1))::text
"""


async def state_of(pool: Any) -> dict[str, str]:
    """All that belongs to each workspace."""
    return {mark: str(await pool.fetchval(_STATE, mark)) for mark in MARKS}


@dataclass(slots=True)
class Token:
    """What one of the three may do, as its giver knows it.

    Attributes:
        session: a browser's, that began with the present secret; None: none.
    """

    name: str
    role: str
    workspace: str
    secret: str
    session: str | None = None

    def may(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass
class World:
    """A server, three tokens, and what belongs to whom."""

    http: httpx.AsyncClient
    database: Any
    owner: str
    dice: random.Random
    tokens: list[Token] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # secrets that are good no more
    runs: dict[str, str] = field(default_factory=dict)  # workspace by run
    parents: dict[str, str] = field(default_factory=dict)
    files: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)  # whose, and what
    grown: set[tuple[str, str]] = field(default_factory=set)  # of those, what was appended
    points: dict[str, int] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    coming: list[str] = field(
        default_factory=lambda: [f"run-{number}" for number in range(4)]
    )  # nobody has them yet
    contents: dict[str, bytes] = field(default_factory=dict)  # of models, whoever sent them
    registrations: list[str] = field(default_factory=list)
    allowed: int = 0
    done: list[str] = field(default_factory=list)

    # --- asking ---

    async def ask(
        self, token: Token, method: str, path: str, body: Any = None, *, may: bool, raw: bytes | None = None
    ) -> httpx.Response:
        """Ask with a token, and hold the answer and the effect against what it may.

        Args:
            may: whether its grant lets it do that; else nothing may come of it.
        """
        secret = token.session if token.session and self.dice.random() < 0.3 else token.secret
        before = await state_of(self.database.pool)
        answer = await self._send(secret, method, path, body, raw)
        what = f"{token.name} ({token.role} of {token.workspace}): {method} {path} {body or ''}"
        self.done.append(f"{what} -> {answer.status_code}")
        after = await state_of(self.database.pool)
        assert answer.status_code < 500, answer.text
        assert may or answer.status_code >= 400, f"was let through: {answer.text:.500}"
        for workspace, mark in MARKS.items():
            if workspace != token.workspace:
                assert mark.encode() not in answer.content + str(answer.headers).encode()
            if workspace != token.workspace or not may:
                assert after[workspace] == before[workspace], f"changed something of {workspace}"
        self.allowed += may and answer.status_code < 300
        return answer

    async def _send(
        self, secret: str, method: str, path: str, body: Any = None, raw: bytes | None = None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}", "Accept-Encoding": "identity"}
        return await self.http.request(method, f"/api/v1/{path}", json=body, content=raw, headers=headers)

    # --- choices ---

    def token(self) -> Token:
        return self.dice.choice(self.tokens)

    def text(self, workspace: str) -> str:
        return f"{MARKS[workspace]} {self.dice.randrange(10**6)}"

    def run(self) -> str:
        return self.dice.choice([*self.runs, *self.coming[:2], *self.gone[-1:]])

    def workspace_of(self, run: str) -> str | None:
        return self.runs.get(run)

    def query(self, token: Token) -> tuple[str, bool]:
        """A `workspace=`, or none, which is the token's own; and whether it is that."""
        author = self.dice.choice((None, "ada", "bob"))
        return ("" if author is None else f"workspace={author}"), author in (None, token.workspace)

    def family(self, roots: set[str]) -> set[str]:
        """Those runs with all below them, as far as the workspace goes."""
        tree = roots & self.runs.keys()
        while more := {
            run
            for run, parent in self.parents.items()
            if run in self.runs and run not in tree and parent in tree and self.runs[run] == self.runs[parent]
        }:
            tree |= more
        return tree

    def forget(self, runs: set[str]) -> None:
        for run in runs:
            del self.runs[run]
            self.gone.append(run)
            self.files = {key: value for key, value in self.files.items() if key[0] != run}
