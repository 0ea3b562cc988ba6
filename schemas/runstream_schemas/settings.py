"""Every setting, its default and its meaning, as one dataclass read from the environment.

A plain dataclass and not pydantic-settings: the client reads it on the way to the first `log()`, and that library alone
takes three times as long to import as the rest of the client.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

from .errors import SettingsError

PREFIX = "RUNSTREAM_"
CONFIG_FOLDERS = (".runstream", ".azureml", "aml_config")
"""Folders of a project that hold its config file."""


def default_home() -> Path:
    """The user's data directory for runstream, by the platform's custom."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "runstream"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local"))) / "runstream"
    data = os.environ.get("XDG_DATA_HOME", "")
    # A relative one is passed over, as the specification asks for.
    return (Path(data) if os.path.isabs(data) else Path.home() / ".local" / "share") / "runstream"


PATHS = (
    "home", "spool", "store", "kafka_ca_file", "kafka_cert_file", "kafka_key_file", "database_ca_file", "tls_cert_file",
    "tls_key_file", "token_file", "kafka_password_file", "database_file", "store_key_file", "store_secret_file",
    "alert_receivers_file",
)  # fmt: skip
"""Settings that are paths. They are made absolute when they are read: a program may change its directory afterwards."""


SECRETS = ("token", "kafka_password", "database", "store_key", "store_secret", "alert_receivers")
"""Settings that are secrets, or hold one. Each can be given by the name of a file (`<name>_file`): the environment and the
command line of a process are seen by more people, and by the processes it starts."""
MAX_SECRET_BYTES = 64 << 10


def absolute(path: str) -> str:
    """A path from the root on, seen from the working directory. An address (s3://...) stays.

    Raises:
        SettingsError: the working directory was deleted.
    """
    if not path or "://" in path:
        return path
    try:
        return os.path.abspath(os.path.expanduser(path))
    except FileNotFoundError:
        raise SettingsError(
            f"the path {path} is relative, and the working directory was deleted; make it absolute"
        ) from None


_path = lru_cache(64)(Path)  # each run asks for them again


def _doc(text: str, default: Any) -> Any:
    return field(default=default, metadata={"doc": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. `Settings.load()` reads `RUNSTREAM_<NAME>`; the same names, in lower case, are keys of config.json."""

    home: str = _doc("Everything of the embedded mode; default: the user's data directory", "")
    spool: str = _doc("Directory of the spool, on a local disk; default: `spool` in the home", "")
    url: str = _doc("Address of a server to use instead of the embedded one", "")
    token: str = _doc("Token sent to that server", "")
    token_file: str = _doc("File that holds the token", "")
    autostart: bool = _doc("Start the embedded service, or the agent, on first use", True)
    idle_timeout: float = _doc(
        "Seconds without a live run or an open page after which a service started by itself ends", 600.0
    )
    local_runs: int = _doc(
        "Submitted runs the compute target local executes at once; 0: as many as there are processors, at least 4",
        0,
    )
    provide_azureml: bool = _doc(
        "Commands, submitted scripts and trials that import azureml get runstream where azureml-core is not installed",
        True,
    )
    provide_mlflow: bool = _doc(
        "Commands and submitted scripts that use MLflow record at this service, unless MLFLOW_TRACKING_URI is set",
        True,
    )
    follow_tools: bool = _doc(
        "Commands and submitted scripts that use W&B (offline, unless WANDB_MODE is set) or event files are followed",
        True,
    )
    workspace: str = _doc("Workspace used when no config file names one", "default")

    kafka: str = _doc("Bootstrap servers, host:port[,host:port]; empty: embedded mode, no broker", "")
    kafka_security_protocol: str = _doc("PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", "PLAINTEXT")
    kafka_sasl_mechanism: str = _doc("PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "PLAIN")
    kafka_username: str = _doc("SASL user", "")
    kafka_password: str = _doc("SASL password", "")
    kafka_password_file: str = _doc("File that holds the SASL password", "")
    kafka_ca_file: str = _doc("Certificate authority that signed the brokers' certificates (PEM)", "")
    kafka_cert_file: str = _doc("Client certificate (PEM)", "")
    kafka_key_file: str = _doc("Key of the client certificate (PEM)", "")
    topic_prefix: str = _doc("Prefix of the topics' names", "runstream")
    topic_partitions: int = _doc("Partitions of a topic that has to be created", 16)
    topic_replication: int = _doc("Replicas of a topic that has to be created", 1)
    topic_retention_hours: int = _doc("Retention of a topic that has to be created", 168)
    consumer_group: str = _doc("Consumer group of the stored state", "runstream")

    database: str = _doc("Postgres address (postgresql://...); empty: the embedded server", "")
    database_file: str = _doc("File that holds the Postgres address, with its password", "")
    database_ca_file: str = _doc(
        "Certificate authority of the Postgres server (PEM); sets sslmode verify-full", ""
    )
    database_pgbouncer: bool = _doc(
        "Behind PgBouncer in transaction mode: no prepared statements, no LISTEN", False
    )
    database_pool: int = _doc("Most connections a process opens", 8)

    store: str = _doc(
        "Where Parquet and artifacts lie: a directory or an fsspec address (s3://...); default: `store` in the home",
        "",
    )
    store_endpoint: str = _doc("Endpoint of an S3-compatible store", "")
    store_key: str = _doc("Access key of the store; default: the store library's own way", "")
    store_key_file: str = _doc("File that holds the access key", "")
    store_secret: str = _doc("Secret of the access key", "")
    store_secret_file: str = _doc("File that holds the secret of the access key", "")

    host: str = _doc("Address the HTTP server listens on", "127.0.0.1")
    port: int = _doc("Port of the HTTP server; 0: a free one, written to service.json", 0)
    tls_cert_file: str = _doc("Certificate of the HTTP server, with its chain (PEM); empty: plain HTTP", "")
    tls_key_file: str = _doc("Key of that certificate (PEM)", "")
    allow_no_token: bool = _doc(
        "Let the HTTP server listen on an address other machines reach while it has no token: anyone may do anything",
        False,
    )
    allowed_hosts: str = _doc(
        "Names the HTTP server answers to, name[,name]; default: on loopback this machine's, else any while it has a token",
        "",
    )
    trusted_proxies: str = _doc(
        "Addresses of proxies in front of the HTTP server whose X-Forwarded-For and -Proto are believed, address[,address]",
        "",
    )
    owner_access: bool = _doc(
        "Embedded, on Linux: connections of the user whose service it is need no token. 0 where a program of that user "
        "brings requests of others: browsers need a ticket then",
        True,
    )
    metrics_host: str = _doc("Address a role's own /metrics listens on", "127.0.0.1")
    metrics_port: int = _doc(
        "Port of it, for Prometheus, without a token; 0: none. `up --kafka` counts on from it, role by role",
        0,
    )
    rate_limit: float = _doc(
        "Requests a second one token, or one address, may send to the HTTP server on average; 0: any number",
        0.0,
    )

    alert_receivers: str = _doc(
        "Who alerts are sent to: name=address[ name=address], as apprise has addresses (mailto://, slack://, json:// ...)",
        "",
    )
    alert_receivers_file: str = _doc("File that holds the receivers, with their passwords", "")

    upload_quota: int = _doc(
        "Most bytes of unfinished uploads of one token that the HTTP server holds", 256 << 30
    )

    snapshot_limit: int = _doc("Most bytes a snapshot of a source folder may have", 300 << 20)
    git_diff: bool = _doc("Keep what a source folder has that its git commit has not, up to 1 MiB", True)
    spool_quota: int = _doc(
        "Most bytes the spool may take; beyond it points are dropped and counted", 64 << 30
    )
    flush_interval: float = _doc(
        "Seconds a point waits at most when few runs log; grows to 1.5 s with thousands of runs", 0.1
    )
    heartbeat_interval: float = _doc("Seconds between a live run's heartbeats", 30.0)
    console: bool = _doc("Keep what runs print, as a file of each", True)
    console_limit: int = _doc("Most bytes kept of what one run prints", 100 << 20)
    system_metrics: bool = _doc(
        "Sample what the processes of live runs use of this machine: CPU, memory, disk, network, GPUs", True
    )
    system_interval: float = _doc("Seconds between two samples; runs shorter than that have none", 10.0)
    consumer_memory: int = _doc("Bytes of events a consumer holds at most", 64 << 20)
    agent_idle_timeout: float = _doc(
        "Seconds without a live run after which an agent started by itself ends", 60.0
    )
    compact_after: float = _doc("Seconds after a run settled until its points go to Parquet", 20.0)
    compact_bytes: int = _doc("Hot bytes of a run beyond which it is compacted while it runs", 64 << 20)
    compact_interval: float = _doc("Seconds between two looks of the compactor", 5.0)
    compact_claim_grace: float = _doc(
        "Seconds without a sign of life after which another compactor takes over: longer than writing one file takes",
        120.0,
    )
    trash_grace: float = _doc("Seconds a replaced file is kept: longer than the longest query", 900.0)
    iceberg_interval: float = _doc(
        "Seconds between two snapshots of the Iceberg tables that the compactor publishes; 0: there are no such tables",
        0.0,
    )
    query_timeout: float = _doc("Seconds after which a query is ended", 60.0)
    sql_memory: str = _doc("Memory of one SQL query, as DuckDB writes it", "2GB")
    log_level: str = _doc("Level of the services' logs: DEBUG, INFO, WARNING, ERROR", "INFO")
    safe_directory: str = _doc(
        "Folders, with a colon between them, whose config.json is used though it belongs to another user; *: any",
        "",
    )

    def __hash__(self) -> int:
        # Of a few of them: a process asks thousands of times a second, and rarely knows two.
        return hash((self.home, self.spool, self.url, self.database))

    def __post_init__(self) -> None:
        for name in PATHS:
            object.__setattr__(self, name, absolute(getattr(self, name)))

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
        """Read the settings: keyword arguments win over the environment, that over the defaults.

        Args:
            environ: variables to read instead of `os.environ`.
            **overrides: values by field name; None means not given.

        Raises:
            SettingsError: a value that cannot be read, or a field that does not exist.
        """
        if environ is None:
            environ = os.environ
            make_paths_absolute()
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for item in fields(cls):
            raw = environ.get(PREFIX + item.name.upper())
            if raw is not None and raw != "":
                values[item.name] = _parse(PREFIX + item.name.upper(), raw, hints[item.name])
        _only_one_way(values, lambda name: PREFIX + name.upper())
        given: dict[str, Any] = {}
        for name, value in overrides.items():
            if name not in hints:
                raise SettingsError(f"no setting is called {name!r}; `runstream doctor` lists them")
            if value is not None:
                given[name] = _parse(name, value, hints[name]) if isinstance(value, str) else value
        _only_one_way(given, lambda name: name)
        for name in SECRETS:
            if name in given or f"{name}_file" in given:  # wins over either way in the environment
                values.pop(name, None)
                values.pop(f"{name}_file", None)
        values |= given
        for name in SECRETS:
            if path := values.get(f"{name}_file"):
                values[name] = read_secret(f"{PREFIX}{name.upper()}_FILE", absolute(path))
        return cls(**values)

    def with_secrets_in_place(self) -> Settings:
        """The same with the secrets themselves where they came from files, for a machine that has no such files."""
        no_files: dict[str, Any] = {f"{name}_file": "" for name in SECRETS}
        return replace(self, **no_files)

    @property
    def home_path(self) -> Path:
        """Root of the embedded mode's files."""
        return _path(self.home) if self.home else default_home()

    @property
    def spool_path(self) -> Path:
        """Directory of the spool."""
        return _path(self.spool or f"{self.home_path}/spool")

    @property
    def store_url(self) -> str:
        """Root of Parquet files and artifacts: a path or an fsspec address."""
        return self.store or str(self.home_path / "store")

    def environment(self) -> dict[str, str]:
        """The settings that differ from their defaults, as environment variables for a process to start.

        A secret that was read from a file is handed on as the file's name. The other way of giving it is emptied: these
        variables may be laid over an environment that has it.
        """
        result = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                result[PREFIX + item.name.upper()] = (
                    str(int(value)) if isinstance(value, bool) else str(value)
                )
        for name in SECRETS:
            if getattr(self, f"{name}_file"):
                result[PREFIX + name.upper()] = ""
            elif getattr(self, name):
                result[f"{PREFIX}{name.upper()}_FILE"] = ""
        return result


def _only_one_way(values: Mapping[str, Any], shown: Callable[[str], str]) -> None:
    for name in SECRETS:
        if values.get(name) and values.get(f"{name}_file"):
            raise SettingsError(
                f"{shown(name)} and {shown(name + '_file')} are both set; leave one of them out"
            )


def read_secret(name: str, path: str) -> str:
    """A secret from a file, without the line end behind it.

    Args:
        name: the name of the setting that names the file.

    Raises:
        SettingsError: it cannot be read, holds no single line of text, or anyone may write to it.
    """
    try:
        with open(path, "rb") as file:
            rights = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"{name}={path}: cannot be read ({error.strerror}); name a file that holds the secret"
        ) from None
    if stat.S_ISREG(rights) and rights & stat.S_IWOTH and os.name == "posix":
        raise SettingsError(
            f"{name}={path}: anyone may write to this file, and so choose the secret; chmod 600 it"
        )
    try:
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = "\0"
    if not text or len(content) > MAX_SECRET_BYTES or any(mark in text for mark in "\0\r\n"):
        raise SettingsError(f"{name}={path}: expected a file with one line, which is the secret")
    return text


def make_paths_absolute() -> None:
    """Make the paths in this process's environment absolute, once: for itself wherever it goes, and for its children."""
    for name in PATHS:
        given = os.environ.get(PREFIX + name.upper(), "")
        if given and (path := absolute(given)) != given:
            os.environ[PREFIX + name.upper()] = path


def _parse(name: str, raw: str, kind: type) -> Any:
    try:
        if kind is bool:
            return {
                "1": True,
                "true": True,
                "yes": True,
                "on": True,
                "0": False,
                "false": False,
                "no": False,
                "off": False,
            }[raw.strip().lower()]
        return kind(raw)
    except (KeyError, ValueError):
        expected = {bool: "1 or 0", int: "a whole number", float: "a number"}[kind]
        raise SettingsError(f"{name}={raw!r}: expected {expected}") from None


PROJECT_KEYS = frozenset(
    {
        "workspace", "url", "autostart", "idle_timeout", "local_runs", "provide_azureml",
        "provide_mlflow", "follow_tools", "snapshot_limit", "git_diff", "flush_interval", "heartbeat_interval", "log_level",
    }
)  # fmt: skip
"""Settings a project's config file may hold. A file that came with somebody's code may not say where data and secrets go:
an address it names is never sent the environment's token (`runstream.home.workspace_config`)."""


def read_config(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Settings held by a config.json: those that are taken, and the names of those that are not.

    Raises:
        SettingsError: the file is not a JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows write a mark in front
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read as JSON ({error}); mend it, or remove it") from None
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected a JSON object")
    known = {item.name for item in fields(Settings)}
    taken = {key: value for key, value in data.items() if key in PROJECT_KEYS}
    return taken, sorted(key for key in data if key in known and key not in PROJECT_KEYS)
