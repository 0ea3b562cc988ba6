"""The SQL about snapshots of source folders and the blobs they share, by what it answers."""

from __future__ import annotations

from typing import Final

ADD_BLOB: Final = """
insert into blobs (sha256, size) values ($1, $2) on conflict (sha256) do nothing returning sha256
"""

BLOB_SIZES: Final = "select sha256, size from blobs where sha256 = any($1::text[])"

ADD_SNAPSHOT: Final = """
insert into source_snapshots (id, files, size) values ($1, $2, $3) on conflict (id) do nothing returning id
"""

ADD_SNAPSHOT_FILES: Final = """
insert into source_files (snapshot_id, path, sha256, executable)
select $1, w.path, w.sha256, w.executable from unnest($2::text[], $3::text[], $4::bool[]) as w (path, sha256, executable)
"""

# Snapshots without a run are deleted after a day; this one is about to get one.
KEEP_SNAPSHOT: Final = """
update source_snapshots set used_up = uptime() where id = $1 and used_up < uptime() - 43200
"""

SNAPSHOT: Final = "select * from source_snapshots where id = $1"

SNAPSHOT_FILES: Final = """
select f.path, f.sha256, f.executable, b.size
from source_files f join blobs b on b.sha256 = f.sha256
where f.snapshot_id = $1 and ($2::text is null or f.path = $2)
order by f.path
"""
