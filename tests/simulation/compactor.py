"""The compactor of the model: claims, publishes, merges and cleans, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .actors import Steps
from .state import (
    ORPHAN_GRACE,
    PENDING_GRACE,
    TRASH_GRACE,
    Broken,
    ChunkKey,
    ConnectionLost,
    File,
    Slot,
    transaction,
)

if TYPE_CHECKING:
    from .world import World


class ClaimLost(Exception):
    """Another compactor was faster, or the claim was swept."""


def compactor(world: World) -> Steps:
    """Compaction, merging and the sweep, one after another."""
    while True:
        for job in (_compact, _merge, _clean_rows, _clean_files):
            try:
                yield from job(world)
            except ClaimLost:
                pass
            except ConnectionLost:
                pass
            yield


def _claim(world: World, path: str, run: str) -> File:
    database = world.database
    if database.by_path(path) is not None:
        raise ClaimLost
    now = world.now
    file = File(database.new_id(), path, run, "pending", now, now)
    database.files[file.id] = file
    return file


def _release(world: World, file: File) -> None:
    row = world.database.files.get(file.id)
    if row is not None and row.state == "pending":
        world.store.files.pop(row.path, None)
        del world.database.files[file.id]


def _claimed(world: World, run: str) -> bool:
    return any(
        file.run == run and file.state == "pending" and world.now - file.changed < PENDING_GRACE
        for file in world.database.files.values()
    )


def _compact(world: World) -> Steps:
    database = world.database
    by_run: dict[str, list[ChunkKey]] = {}
    for key in database.chunks:
        by_run.setdefault(database.run_of[key[0]], []).append(key)
    due = [
        run
        for run, keys in by_run.items()
        if (run in database.settled or len(keys) >= 4) and not _claimed(world, run)
    ]
    if not due:
        return
    run = world.random.choice(sorted(due))
    keys = by_run[run][: world.random.randint(1, 6)]
    file = _claim(world, f"{run}/" + "+".join(f"{source}.{first}" for source, first, _ in sorted(keys)), run)
    yield
    try:
        contents = [database.chunks.get(key) for key in keys]
        if None in contents:
            raise ClaimLost
        slots = frozenset(slot for part in contents if part is not None for slot in part)
        yield
        row = database.files.get(file.id)
        if Broken.CLAIM not in world.broken and (row is None or row.state != "pending"):
            raise ClaimLost
        if row is not None:
            row.changed = world.now
        yield
        world.store.files[file.path] = (slots, world.now)
        yield
        yield from _publish(world, file, slots, keys)
    except ClaimLost:
        _release(world, file)
        raise


def _publish(world: World, file: File, slots: frozenset[Slot], keys: list[ChunkKey]) -> Steps:
    database = world.database
    with transaction(database) as tx:
        row = database.files.get(file.id)
        if row is None or row.state != "pending":
            if Broken.CLAIM not in world.broken:
                raise ClaimLost
            row = database.files.setdefault(file.id, file)
        if Broken.CHUNKS not in world.broken and any(key not in database.chunks for key in keys):
            raise ClaimLost

        def go_live() -> None:
            row.state, row.slots, row.changed = "live", slots, world.now

        def drop_chunks() -> None:
            for key in keys:
                database.chunks.pop(key, None)

        tx.changes.append(go_live)
        if Broken.PUBLISH in world.broken:
            tx.commit()
            tx.changes.clear()
            yield
        tx.changes.append(drop_chunks)
        tx.commit()
    yield


def _merge(world: World) -> Steps:
    database = world.database
    runs = [run for run in sorted(world.runs) if len(database.live(run)) >= 2 and world.random.random() < 0.7]
    if not runs:
        return
    old = database.live(world.random.choice(runs))[: world.random.randint(2, 4)]
    file = _claim(world, f"{old[0].run}/merged({', '.join(item.path for item in old)})", old[0].run)
    yield
    try:
        slots: set[Slot] = set()
        for item in old:
            if item.path not in world.store.files:
                raise ClaimLost  # replaced meanwhile, and swept
            slots |= world.store.files[item.path][0]
            yield
        world.store.files[file.path] = (frozenset(slots), world.now)
        yield
        with transaction(database) as tx:
            row = database.files.get(file.id)
            if row is None or row.state != "pending":
                raise ClaimLost
            rows = [database.files.get(item.id) for item in old]
            if any(item is None or item.state != "live" for item in rows):
                raise ClaimLost

            def replace() -> None:
                row.state, row.slots, row.changed = "live", frozenset(slots), world.now
                row.created = min(item.created for item in rows if item is not None)
                for item in rows:
                    if item is not None:
                        item.state, item.changed = "trash", world.now

            tx.changes.append(replace)
            tx.commit()
        yield
    except ClaimLost:
        _release(world, file)
        raise


def _clean_rows(world: World) -> Steps:
    database = world.database
    trash_grace = 0 if Broken.TRASH in world.broken else TRASH_GRACE
    for state, grace in (("pending", PENDING_GRACE), ("trash", trash_grace)):

        def due(file: File | None, state: str = state, grace: int = grace) -> bool:
            return file is not None and file.state == state and world.now - file.changed >= grace

        ids = [file.id for file in database.files.values() if due(file)]
        yield
        for number in ids:
            file = database.files.get(number)
            if file is not None and due(file):
                world.store.files.pop(file.path, None)
                del database.files[number]
            yield


def _clean_files(world: World) -> Steps:
    database = world.database
    old = [path for path, (_, made) in world.store.files.items() if world.now - made >= ORPHAN_GRACE]
    yield
    for path in old:
        if database.by_path(path) is None:  # holding its name, so that nobody can claim it meanwhile
            world.store.files.pop(path, None)
        yield
