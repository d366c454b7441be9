"""What `featurecache doctor` found, as lines for people."""

from typing import Any

from featurecache.doctor import human_bytes


def report_text(document: dict[str, Any]) -> str:
    """Write what `examine` found for people.

    Parameters
    ----------
    document : dict
        From `examine`.

    Returns
    -------
    str
    """
    lines = [*_system_lines(document), ""]
    for title, section in (
        ("devices (native precisions)", _device_lines(document)),
        ("decoders", _decoder_lines(document)),
        ("weights on disk", _weight_lines(document)),
        (
            "free space",
            [f"{human_bytes(one['free_bytes'])}  {one['path']}" for one in document["space"]],
        ),
        ("C++ compiler", document["compiler"]),
    ):
        lines += [title, *(f"  {line}" for line in section or ["none"]), ""]
    if not document["problems"]:
        return "\n".join([*lines, "nothing is missing"])
    lines.append("missing")
    for problem in document["problems"]:
        lines += [f"  {problem['what']}", f"    -> {problem['fix']}"]
    return "\n".join(lines)


def _system_lines(document: dict[str, Any]) -> list[str]:
    system = document["system"] or {}
    packages = [f"{one['name']} {one['version'] or 'missing'}" for one in document["packages"]]
    head = [
        f"featurecache {system.get('featurecache')}",
        f"Python {system.get('python')}",
    ]
    return ["   ".join([*head, str(system.get("platform", ""))]), "  ".join(packages)]


def _device_lines(document: dict[str, Any]) -> list[str]:
    return [
        f"{one['device']:<7} {one['name']}"
        + (f", {human_bytes(one['memory_bytes'])}" if one["memory_bytes"] else "")
        + f": {', '.join(one['precisions'])}"
        + (f"  ({', '.join(one['instructions'])})" if one["instructions"] else "")
        for one in document["devices"]
    ]


def _decoder_lines(document: dict[str, Any]) -> list[str]:
    width = max((len(one["transfer_syntax"]) for one in document["decoders"]), default=0)
    return [
        "  ".join(
            (
                one["transfer_syntax"].ljust(width),
                (", ".join(one["plugins"]) or "MISSING").ljust(16),
                one["name"],
            )
        )
        for one in document["decoders"]
    ]


def _weight_lines(document: dict[str, Any]) -> list[str]:
    return [
        f"{human_bytes(one['bytes']):>8}  {one['name']}  ({one['where']})"
        for one in document["weights"]
    ]
