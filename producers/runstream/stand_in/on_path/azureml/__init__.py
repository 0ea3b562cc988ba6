"""Found when a process imports `azureml` that runstream started, or whose parent it started: see `runstream.stand_in`.

Gives way to azureml-core where it is installed, else to runstream; in a Python that has neither, it is an empty package.
"""

import sys

try:
    from runstream.stand_in.finder import install
except ImportError:
    pass
else:
    from importlib import import_module

    del sys.modules[__name__]
    install()
    import_module(__name__)
