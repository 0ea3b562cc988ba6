"""msgpack from strangers, read within bounds: nobody's few bytes may take much memory."""

from __future__ import annotations

from typing import Any

import msgpack

from ..errors import CorruptEvent, lacks_memory
from ..limits import MAX_EVENT_OBJECTS

_CONTAINER = 4  # of the same unit as MAX_EVENT_OBJECTS, besides what it holds


def unpack(data: bytes) -> Any:
    """The object in `data`, with lists for arrays and keys of any type.

    A first look builds nothing: every length that is claimed is there, and no list is made for elements that never come.
    Then what is built is counted container by container.

    Raises:
        CorruptEvent: not one msgpack object, nested deeper than msgpack reads, or more than `MAX_EVENT_OBJECTS`.
    """
    held = 0

    def count(container: Any) -> Any:
        nonlocal held
        held += _CONTAINER + len(container)
        if held > MAX_EVENT_OBJECTS:
            raise CorruptEvent(f"{len(data)} bytes hold more than {MAX_EVENT_OBJECTS} objects")
        return container

    try:
        look = msgpack.Unpacker(None, max_buffer_size=max(len(data), 1))
        look.feed(data)
        look.skip()
        return msgpack.unpackb(data, strict_map_key=False, list_hook=count, object_hook=count)
    except CorruptEvent:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise CorruptEvent(f"{len(data)} bytes are not msgpack ({type(error).__name__}: {error})") from None
