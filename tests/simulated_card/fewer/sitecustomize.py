"""Of more than twenty arrangements of frameworks that share a card, each of which imports two,
one of each sort. On a run's path only where a test puts it there."""

import importlib.abc
import importlib.machinery
import sys

MODULE = "switchyard.runner.arrangements"


class Finder(importlib.abc.MetaPathFinder):
    """Lets the module be what it is, and then changes it."""

    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.ARRANGEMENTS = (
                *module.ALONE,
                *module.ENOUGH,
                module.Arrangement((module.TENSORFLOW,), growth=False),
                module.Arrangement(module.REVERSED, 2, growth=False),
                module.Arrangement(between="emptied", expandable=True, cap=1.0),
                module.Arrangement(cap=0.25),
                module.Arrangement(processes=2),
            )

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
