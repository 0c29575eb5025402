"""Fails if files of the package import each other in a cycle, including imports for type checking.

`python tools/import_cycles.py` prints every such group of files, and for each file those of its group that it imports.
"""

from __future__ import annotations

import sys

import grimp

PACKAGE = "active_call"


def groups(imports: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected parts of more than one file (Tarjan's algorithm, without recursion)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []
    for start in sorted(imports):
        if start in number:
            continue
        walk = [(start, iter(sorted(imports[start])))]
        number[start] = low[start] = len(number)
        stack.append(start)
        while walk:
            module, rest = walk[-1]
            for target in rest:
                if target not in number:
                    number[target] = low[target] = len(number)
                    stack.append(target)
                    walk.append((target, iter(sorted(imports[target]))))
                    break
                if target in stack:
                    low[module] = min(low[module], number[target])
            else:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[module])
                if low[module] == number[module]:
                    group = stack[stack.index(module) :]
                    del stack[stack.index(module) :]
                    if len(group) > 1:
                        found.append(sorted(group))
    return found


def main() -> int:
    """Print the cycles; returns 1 if there are any."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    circles = groups(imports)
    for group in circles:
        print(f"{len(group)} files import each other in a circle:")
        for module in group:
            print(f"  {module} imports {', '.join(sorted(imports[module] & set(group)))}")
    print(f"{len(imports)} files, {len(circles)} import circles")
    return 1 if circles else 0


if __name__ == "__main__":
    sys.exit(main())
